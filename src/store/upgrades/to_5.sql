-- From version 4 to version 5: an access token can get another secret. Its table is made anew, because SQLite cannot change
-- the roles that a CHECK names.

ALTER TABLE access_token RENAME TO access_token_before;
CREATE TABLE access_token (
    id          TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    role        TEXT NOT NULL CHECK (role IN ('user', 'teller', 'auditor', 'admin', 'locker')),
    user        TEXT CHECK ((user IS NOT NULL) = (role = 'user')),
    note        TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER,
    prefix      TEXT CHECK (prefix IS NULL OR role = 'locker'),
    at_start    INTEGER UNIQUE CHECK (at_start = 1)
) STRICT, WITHOUT ROWID;
INSERT INTO access_token (id, secret_hash, role, user, note, created_at, expires_at, revoked_at)
SELECT id, secret_hash, role, user, note, created_at, expires_at, revoked_at FROM access_token_before;
DROP TABLE access_token_before;
UPDATE access_token SET at_start = 1 WHERE id = (
    SELECT id FROM access_token WHERE note = 'given at start' AND role = 'admin' ORDER BY created_at DESC, id LIMIT 1);

CREATE TABLE replaced_secret (
    secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    token       TEXT NOT NULL REFERENCES access_token (id),
    valid_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replaced_secret_of ON replaced_secret (token);
