-- The triggers that step 10 changes, as they were before, with their tables.

CREATE TABLE hold (
    id          INTEGER PRIMARY KEY REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED,
    wallet      TEXT NOT NULL,
    coupon      TEXT,
    captured    INTEGER NOT NULL DEFAULT 0 CHECK (captured >= 0),
    amount_left INTEGER NOT NULL CHECK (amount_left >= 0),
    ended       TEXT CHECK (ended IN ('captured', 'voided', 'expired')),
    until       INTEGER NOT NULL,
    due_ms      INTEGER NOT NULL
) STRICT;

CREATE TABLE lock (
    id          TEXT PRIMARY KEY,
    fence       INTEGER NOT NULL,
    secret_hash BLOB CHECK (length(secret_hash) = 32),
    holder      TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    renew_time  INTEGER NOT NULL,
    expire_ms   INTEGER NOT NULL CHECK (expire_ms >= 0),
    grace_ms    INTEGER NOT NULL CHECK (grace_ms >= 0),
    max_hold_ms INTEGER CHECK (max_hold_ms > 0),
    ids         INTEGER NOT NULL,
    renewals    INTEGER NOT NULL DEFAULT 0,
    restarted   INTEGER NOT NULL DEFAULT 0,      -- whether a server's start has already made this lease whole again
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER hold_changes_with_its_entries BEFORE UPDATE ON hold
WHEN (NEW.id, NEW.wallet, NEW.coupon, NEW.due_ms) IS NOT (OLD.id, OLD.wallet, OLD.coupon, OLD.due_ms)
  OR OLD.ended IS NOT NULL AND NEW.ended IS NOT OLD.ended
  OR (NEW.id, NEW.captured - OLD.captured, OLD.amount_left - NEW.amount_left) IS NOT
     (SELECT hold, CASE kind WHEN 'capture' THEN amount WHEN 'release' THEN 0 END, amount FROM entry ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(FAIL, 'a hold changes only as the newest entry says'); END;

CREATE TRIGGER lock_fence_only_grows BEFORE UPDATE ON lock
WHEN NEW.fence < OLD.fence OR NEW.fence > (SELECT fence FROM lock_seq) OR NEW.renew_time < OLD.renew_time
BEGIN SELECT RAISE(ABORT, 'a lock changes hands only to a higher fence from the counter'); END;
