-- The twin of the SQLite schema's: jobs, their runs, and who is told of them.

CREATE TABLE jobs (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- The newest. It goes on counting where a job was deleted and is made again.
    revision BIGINT NOT NULL,
    is_deleted BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL
);

CREATE TRIGGER tell_of_jobs AFTER INSERT OR UPDATE OR DELETE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();

CREATE TABLE job_revisions (
    job TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (job, revision)
);

-- Sessions of gateways: what one holds is its alone until then, by the database's clock.
CREATE TABLE workers (
    id UUID NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL
);

CREATE INDEX workers_by_end ON workers (until);

CREATE TABLE runs (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    job TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    -- JSON: the ids of all steps in order. Steps that nothing happened to have no row of their own.
    step_ids TEXT NOT NULL,
    error TEXT,
    last_event BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    retry_requested BOOLEAN NOT NULL,
    -- The session that holds it.
    worker UUID,
    -- When somebody has to look at it; NULL where nobody has to any more.
    due_at BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    traceparent TEXT,
    -- The data: in the row, or among the run's blobs. The last column, since it may be long.
    data_digest BYTEA,
    data_bytes BIGINT,
    data TEXT
);

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
    run BIGINT NOT NULL PRIMARY KEY REFERENCES runs (number) ON DELETE CASCADE,
    digest BYTEA,
    bytes BIGINT,
    text TEXT
);

CREATE TABLE run_steps (
    run BIGINT NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    id TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    -- JSON from here: read and written whole.
    error TEXT,
    errors TEXT,
    next TEXT,
    is_taken BOOLEAN NOT NULL,
    due_at BIGINT,
    tries BIGINT NOT NULL,
    completion BIGINT,
    attempts TEXT NOT NULL,
    output_digest BYTEA,
    output_bytes BIGINT,
    output TEXT,
    PRIMARY KEY (run, id)
);

CREATE TABLE run_events (
    run BIGINT NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    id BIGINT NOT NULL,
    -- NULL: the run itself.
    step TEXT COLLATE "C",
    status TEXT COLLATE "C" NOT NULL,
    attempts BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run, id)
);

CREATE TABLE idempotency_keys (
    scope TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,
    run UUID NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);

CREATE INDEX idempotency_keys_by_end ON idempotency_keys (expires_at);

-- Runs whose rows are gone and whose blobs may not be.
CREATE TABLE runs_gone (id UUID NOT NULL PRIMARY KEY);

CREATE TABLE deliveries (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id UUID NOT NULL UNIQUE,
    job TEXT COLLATE "C" NOT NULL,
    run_id UUID NOT NULL,
    revision BIGINT NOT NULL,
    notify_index BIGINT NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    -- JSON, the last of them.
    attempts TEXT NOT NULL,
    tries BIGINT NOT NULL,
    due_at BIGINT,
    worker UUID,
    created_at BIGINT NOT NULL,
    delivered_at BIGINT,
    body TEXT NOT NULL
);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE worker IS NULL AND due_at IS NOT NULL;
CREATE INDEX deliveries_held ON deliveries (worker) WHERE worker IS NOT NULL;
CREATE INDEX deliveries_by_job ON deliveries (job, id);
CREATE INDEX deliveries_by_status ON deliveries (status, id);
CREATE INDEX deliveries_by_run ON deliveries (run_id);

-- Who answered 410 wants nothing more of this job.
CREATE TABLE closed_endpoints (
    job TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (job, url)
);

-- Of executions that are steps of runs.
ALTER TABLE executions ADD COLUMN run_id UUID;
ALTER TABLE executions ADD COLUMN job TEXT COLLATE "C";
CREATE INDEX executions_by_run ON executions (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX executions_by_job ON executions (job, id) WHERE job IS NOT NULL;
