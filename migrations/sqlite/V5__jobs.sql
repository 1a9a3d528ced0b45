-- Jobs, their runs, and who is told of them. Times are microseconds since 1970, ids the 16 bytes of a UUID.

CREATE TABLE jobs (
    name TEXT NOT NULL PRIMARY KEY,
    -- The newest. It goes on counting where a job was deleted and is made again.
    revision INTEGER NOT NULL,
    is_deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE job_revisions (
    job TEXT NOT NULL,
    revision INTEGER NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (job, revision)
) STRICT;

-- The session that lives: what it holds is its alone. One process has the file, so there is one at most.
CREATE TABLE workers (id BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    job TEXT NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    -- JSON: the ids of all steps in order. Steps that nothing happened to have no row of their own.
    step_ids TEXT NOT NULL,
    error TEXT,
    last_event INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL,
    retry_requested INTEGER NOT NULL,
    -- The session that holds it.
    worker BLOB,
    -- When somebody has to look at it; NULL where nobody has to any more.
    due_at INTEGER,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    traceparent TEXT,
    -- The data: in the row, or among the run's blobs. The last column, since it may be long.
    data_digest BLOB,
    data_bytes INTEGER,
    data TEXT
) STRICT;

-- What may be taken, by job, so that one with very many runs keeps no other's waiting.
CREATE INDEX runs_due ON runs (job, due_at, number) WHERE worker IS NULL AND due_at IS NOT NULL;
CREATE INDEX runs_due_by_time ON runs (due_at) WHERE worker IS NULL AND due_at IS NOT NULL;
CREATE INDEX runs_held ON runs (worker) WHERE worker IS NOT NULL;
-- The lists, newest first.
CREATE INDEX runs_by_job ON runs (job, id);
CREATE INDEX runs_by_status ON runs (status, id);
-- Whether a revision is needed.
CREATE INDEX runs_by_revision ON runs (job, revision);
CREATE INDEX runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;

-- A row of its own: the run's is written again with each step.
CREATE TABLE run_triggers (
    run INTEGER NOT NULL PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
    digest BLOB,
    bytes INTEGER,
    text TEXT
) STRICT;

CREATE TABLE run_steps (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    -- JSON from here: read and written whole.
    error TEXT,
    errors TEXT,
    next TEXT,
    is_taken INTEGER NOT NULL,
    due_at INTEGER,
    tries INTEGER NOT NULL,
    completion INTEGER,
    attempts TEXT NOT NULL,
    output_digest BLOB,
    output_bytes INTEGER,
    output TEXT,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_events (
    run INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    id INTEGER NOT NULL,
    -- NULL: the run itself.
    step TEXT,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    run BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at);

-- Runs whose rows are gone and whose blobs may not be.
CREATE TABLE runs_gone (id BLOB NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    job TEXT NOT NULL,
    run_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    notify_index INTEGER NOT NULL,
    url TEXT NOT NULL,
    status TEXT NOT NULL,
    -- JSON, the last of them.
    attempts TEXT NOT NULL,
    tries INTEGER NOT NULL,
    due_at INTEGER,
    worker BLOB,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE worker IS NULL AND due_at IS NOT NULL;
CREATE INDEX deliveries_held ON deliveries (worker) WHERE worker IS NOT NULL;
CREATE INDEX deliveries_by_job ON deliveries (job, id);
CREATE INDEX deliveries_by_status ON deliveries (status, id);
CREATE INDEX deliveries_by_run ON deliveries (run_id);

-- Who answered 410 wants nothing more of this job.
CREATE TABLE closed_endpoints (
    job TEXT NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (job, url)
) STRICT, WITHOUT ROWID;

-- Of executions that are steps of runs. They lie behind the lines; where they are NULL, nobody reads so far.
ALTER TABLE executions ADD COLUMN run_id BLOB;
ALTER TABLE executions ADD COLUMN job TEXT;
CREATE INDEX executions_by_run ON executions (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX executions_by_job ON executions (job, id) WHERE job IS NOT NULL;
