-- The twin of the SQLite schema. Times are microseconds since 1970 in UTC. Text can't
-- hold U+0000 here: what may have one is JSON, which escapes it, or bytes.

CREATE TABLE modules (
    id UUID NOT NULL PRIMARY KEY,
    -- Four bytes for an execution to refer to, instead of sixteen.
    number INTEGER NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    -- Names compare byte by byte, whatever the database's language.
    name TEXT COLLATE "C" NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    -- Compares byte by byte as semver orders versions: see store::version_key.
    version_key BYTEA NOT NULL,
    -- JSON, as are `functions` to `warnings`: read and written whole, never searched.
    description TEXT NOT NULL,
    -- The description without case, for a search, in UTF-8.
    description_folded BYTEA NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    sha256 BYTEA NOT NULL,
    size_bytes BIGINT NOT NULL,
    functions TEXT NOT NULL,
    imports TEXT NOT NULL,
    permissions TEXT NOT NULL,
    limits TEXT NOT NULL,
    signature TEXT,
    warnings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);

-- One version once, and the order of the list. The key is as distinct as the text.
CREATE UNIQUE INDEX modules_by_name ON modules (name, version_key DESC);
CREATE INDEX modules_by_kind ON modules (kind, name, version_key DESC);
CREATE INDEX modules_by_digest ON modules (sha256);

-- Thousands of rows a second arrive here: each index below is paid for by each, and a
-- foreign key would be asked for each. Whoever inserts locks the modules' rows instead.
-- An id begins with the time of the start (UUIDv7), so the key's index is in the order of
-- the lists and grows at its end.
CREATE TABLE executions (
    id UUID NOT NULL PRIMARY KEY,
    -- modules.number
    module INTEGER NOT NULL,
    function TEXT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    duration_us BIGINT,
    fuel BIGINT,
    memory_bytes BIGINT,
    -- JSON.
    error TEXT,
    lines_dropped BIGINT NOT NULL,
    -- JSON. NULL where there are none; long ones are kept outside of the row.
    lines TEXT,
    -- Which gateway runs it; NULL when it has ended.
    gateway UUID
);

-- Serves the filter, and the deletion of a module.
CREATE INDEX executions_by_module ON executions (module, id);
-- Nearly all executions complete: they cost no entry here, and a list of the
-- completed ones is quick by start.
CREATE INDEX executions_by_status ON executions (status, id) WHERE status <> 'completed';

CREATE TABLE keys (
    prefix TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    hash BYTEA NOT NULL,
    name TEXT NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

-- Gateways that are, or were, on this database, and when each was last heard of.
CREATE TABLE gateways (
    id UUID NOT NULL PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);

-- One row: a number that every change of modules or keys increases, for gateways
-- that could not listen. It is locked from the change to its commit, so who reads it
-- has read every change that it counts.
CREATE TABLE changes (
    single BOOLEAN NOT NULL PRIMARY KEY DEFAULT TRUE CHECK (single),
    number BIGINT NOT NULL
);
INSERT INTO changes (number) VALUES (0);

CREATE FUNCTION tell_of_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changes SET number = number + 1;
    PERFORM pg_notify('sluice_changes', TG_TABLE_NAME);
    RETURN NULL;
END
$$;

CREATE TRIGGER tell_of_modules AFTER INSERT OR UPDATE OR DELETE ON modules
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();
-- What is noted of a key's use concerns nobody else, so those columns are not among these.
CREATE TRIGGER tell_of_keys AFTER INSERT OR DELETE OR UPDATE OF prefix, hash, name, role ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change();
