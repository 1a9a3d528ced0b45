-- The twin of the SQLite schema's: what versions tried and may not, each thing once, with how often.
CREATE TABLE denials (
    module INTEGER NOT NULL REFERENCES modules (number) ON DELETE CASCADE,
    permission TEXT COLLATE "C" NOT NULL,
    -- SHA-256 of the resource, which may be longer than an index takes.
    digest BYTEA NOT NULL,
    resource TEXT NOT NULL,
    count BIGINT NOT NULL,
    -- Starts of executions.
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    -- The last one. It may be gone.
    execution UUID NOT NULL,
    PRIMARY KEY (module, permission, digest)
);

-- The order of the list.
CREATE INDEX denials_by_module ON denials (module, last_at, permission, digest);
-- For the sweep of what is old.
CREATE INDEX denials_by_time ON denials (last_at);
