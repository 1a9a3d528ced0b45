-- Which store this is, for what is outside of it and belongs to it: a UUIDv4, made once.
CREATE TABLE store (
    id BLOB NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

INSERT INTO store (id)
VALUES (unhex(hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2) || '8' || substr(hex(randomblob(2)), 2)
              || hex(randomblob(6))));
