-- Keys get an id, an end, and what they reach. Their table is made anew, because the id is
-- to be the key of the table; keys that are there get a UUIDv7 of the time they were made.
CREATE TABLE keys_with_id (
    id BLOB NOT NULL PRIMARY KEY,
    prefix TEXT NOT NULL UNIQUE,
    hash BLOB NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    -- JSON lists of globs; NULL is everything.
    modules TEXT,
    jobs TEXT
) STRICT;

INSERT INTO keys_with_id (id, prefix, hash, name, role, created_at)
SELECT unhex(printf('%012x', created_at / 1000) || '7' || substr(hex(randomblob(2)), 2) || '8'
             || substr(hex(randomblob(2)), 2) || hex(randomblob(6))),
       prefix, hash, name, role, created_at
FROM keys;

DROP TABLE keys;
ALTER TABLE keys_with_id RENAME TO keys;

CREATE TABLE audit (
    id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT,
    action TEXT NOT NULL,
    resource TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- A JSON object.
    detail TEXT NOT NULL,
    request_id TEXT,
    address TEXT
) STRICT, WITHOUT ROWID;

-- Each list is read out of one of these, newest first.
CREATE INDEX audit_by_time ON audit (at);
CREATE INDEX audit_by_actor ON audit (actor, at);
CREATE INDEX audit_by_action ON audit (action, at);
