-- The part of the schema that the upgrade to version 5 changes, as it was before it.

CREATE TABLE access_token (
    id          TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    role        TEXT NOT NULL CHECK (role IN ('user', 'teller', 'auditor', 'admin')),
    user        TEXT CHECK ((user IS NOT NULL) = (role = 'user')),
    note        TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

