-- The twin of the SQLite schema's. Keys get an id, an end, and what they reach; keys that are
-- there get a UUIDv7 of the time they were made.
DROP TRIGGER tell_of_keys ON keys;

ALTER TABLE keys
    ADD COLUMN id UUID,
    ADD COLUMN expires_at BIGINT,
    ADD COLUMN last_used_at BIGINT,
    -- JSON lists of globs; NULL is everything.
    ADD COLUMN modules TEXT,
    ADD COLUMN jobs TEXT;

UPDATE keys SET id = (lpad(to_hex(created_at / 1000), 12, '0') || '7'
                      || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid;

ALTER TABLE keys DROP CONSTRAINT keys_pkey;
ALTER TABLE keys ADD PRIMARY KEY (id), ADD UNIQUE (prefix);

-- All columns but the last use of a key, which happens all the time and concerns nobody else.
CREATE TRIGGER tell_of_keys
    AFTER INSERT OR DELETE OR UPDATE OF id, prefix, hash, name, role, created_at, expires_at, modules, jobs ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();

CREATE TABLE audit (
    id UUID NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "C",
    action TEXT COLLATE "C" NOT NULL,
    resource TEXT NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    -- A JSON object.
    detail TEXT NOT NULL,
    request_id TEXT,
    address TEXT
);

-- Each list is read out of one of these, newest first.
CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_actor ON audit (actor, at, id);
CREATE INDEX audit_by_action ON audit (action, at, id);
