-- What versions tried and may not: each thing once, with how often. Rows are bounded for each version.
CREATE TABLE denials (
    module INTEGER NOT NULL REFERENCES modules (number) ON DELETE CASCADE,
    permission TEXT NOT NULL,
    -- SHA-256 of the resource, which may be long.
    digest BLOB NOT NULL,
    resource TEXT NOT NULL,
    count INTEGER NOT NULL,
    -- Starts of executions.
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    -- The last one. It may be gone.
    execution BLOB NOT NULL,
    PRIMARY KEY (module, permission, digest)
) STRICT, WITHOUT ROWID;

-- The order of the list. The key is at its end.
CREATE INDEX denials_by_module ON denials (module, last_at);
-- For the sweep of what is old.
CREATE INDEX denials_by_time ON denials (last_at);
