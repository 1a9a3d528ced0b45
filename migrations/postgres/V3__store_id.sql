-- The twin of the SQLite schema's: which store this is, for what is outside of it and belongs to it.
CREATE TABLE store (
    single BOOLEAN NOT NULL PRIMARY KEY DEFAULT TRUE CHECK (single),
    id UUID NOT NULL
);

INSERT INTO store (id) VALUES (gen_random_uuid());
