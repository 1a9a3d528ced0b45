-- Times are microseconds since 1970 in UTC, ids the 16 bytes of a UUID, digests
-- the 32 bytes of a SHA-256.

CREATE TABLE modules (
    -- What executions say instead of the id: one byte or two in each of many rows.
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    -- Compares byte by byte as semver orders versions: see store::version_key.
    version_key BLOB NOT NULL,
    description TEXT NOT NULL,
    -- The description without case, because SQLite knows case in ASCII only.
    description_folded TEXT NOT NULL,
    kind TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    -- JSON from here: read and written whole, never searched.
    functions TEXT NOT NULL,
    imports TEXT NOT NULL,
    limits TEXT NOT NULL,
    signature TEXT,
    warnings TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

-- One version once, and the order of the list. The key is as distinct as the text.
CREATE UNIQUE INDEX modules_by_name ON modules (name, version_key DESC);
CREATE INDEX modules_by_kind ON modules (kind, name, version_key DESC);
CREATE INDEX modules_by_digest ON modules (sha256);

CREATE TABLE module_permissions (
    module_id BLOB NOT NULL REFERENCES modules (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    permission TEXT NOT NULL,
    resource TEXT NOT NULL,
    PRIMARY KEY (module_id, position)
) STRICT, WITHOUT ROWID;

-- Thousands of rows a second arrive here: each index below is paid for by each.
-- An id begins with the time of the start (UUIDv7), so the table is in the order of
-- its lists and new rows are appended.
CREATE TABLE executions (
    id BLOB NOT NULL PRIMARY KEY,
    module INTEGER NOT NULL REFERENCES modules (number) ON DELETE CASCADE,
    function TEXT NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    duration_us INTEGER,
    fuel INTEGER,
    memory_bytes INTEGER,
    error_code TEXT,
    error_message TEXT,
    error_origin TEXT,
    lines_dropped INTEGER NOT NULL,
    -- JSON; NULL where there are none. The last column: what doesn't fit into the
    -- row's page lies on others, which lists don't read.
    lines TEXT
) STRICT, WITHOUT ROWID;

-- Serves the filter, and the cascade from modules.
CREATE INDEX executions_by_module ON executions (module, id);
-- Nearly all executions complete: they cost no entry here, and a list of the
-- completed ones is quick by start.
CREATE INDEX executions_by_status ON executions (status, id) WHERE status <> 'completed';

CREATE TABLE keys (
    prefix TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
