-- From version 8 to version 9: holds. Entries get three columns, NULL in those that are there.

DROP TRIGGER entry_is_in_order;

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE entry (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    from_wallet  TEXT NOT NULL,
    to_wallet    TEXT NOT NULL CHECK (to_wallet <> from_wallet),
    amount       INTEGER NOT NULL CHECK (amount > 0),
    from_balance INTEGER NOT NULL,
    to_balance   INTEGER NOT NULL,
    made_by      TEXT NOT NULL,
    coupon       TEXT,
    gross        INTEGER CHECK (gross = amount + discount),
    discount     INTEGER CHECK (discount >= 0),
    refunds      INTEGER REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED CHECK (refunds < id),
    reference    TEXT,
    metadata     TEXT,
    fence        INTEGER,
    hash         BLOB NOT NULL,
    hold         INTEGER,
    hold_to      TEXT,
    hold_until   INTEGER
) STRICT' WHERE type = 'table' AND name = 'entry';
PRAGMA writable_schema = RESET;

CREATE INDEX entry_hold ON entry (hold) WHERE hold IS NOT NULL;

CREATE TRIGGER entry_is_in_order BEFORE INSERT ON entry
BEGIN SELECT CASE
    WHEN (SELECT id, at <= NEW.at FROM entry ORDER BY id DESC LIMIT 1) IS NOT (NEW.id - 1, 1)
     AND (NEW.id <> 1 OR EXISTS (SELECT 1 FROM entry))
    THEN RAISE(FAIL, 'an entry comes after the last one, in number and in time')
    WHEN NEW.from_balance + NEW.amount IS NOT CASE WHEN NEW.from_wallet >= '@' AND NEW.from_wallet < 'A' THEN coalesce(
           (SELECT CASE NEW.from_wallet WHEN to_wallet THEN to_balance WHEN from_wallet THEN from_balance END
            FROM entry WHERE id = NEW.id - 1),
           (SELECT CASE NEW.from_wallet WHEN to_wallet THEN to_balance ELSE from_balance END FROM entry
            WHERE id > (SELECT newest FROM wallet WHERE id = NEW.from_wallet) AND NEW.from_wallet IN (from_wallet, to_wallet)
            ORDER BY id DESC LIMIT 1),
           (SELECT balance FROM wallet WHERE id = NEW.from_wallet))
         ELSE (SELECT balance FROM wallet WHERE id = NEW.from_wallet) END
      OR NEW.to_balance - NEW.amount IS NOT CASE WHEN NEW.to_wallet >= '@' AND NEW.to_wallet < 'A' THEN coalesce(
           (SELECT CASE NEW.to_wallet WHEN to_wallet THEN to_balance WHEN from_wallet THEN from_balance END
            FROM entry WHERE id = NEW.id - 1),
           (SELECT CASE NEW.to_wallet WHEN to_wallet THEN to_balance ELSE from_balance END FROM entry
            WHERE id > (SELECT newest FROM wallet WHERE id = NEW.to_wallet) AND NEW.to_wallet IN (from_wallet, to_wallet)
            ORDER BY id DESC LIMIT 1),
           (SELECT balance FROM wallet WHERE id = NEW.to_wallet))
         ELSE (SELECT balance FROM wallet WHERE id = NEW.to_wallet) END
    THEN RAISE(FAIL, 'an entry states both balances after it')
    WHEN NEW.fence IS NULL
     AND ((NEW.from_wallet < '@' OR NEW.from_wallet >= 'A') AND EXISTS (SELECT 1 FROM lock WHERE id = 'wallet/' || NEW.from_wallet)
       OR (NEW.to_wallet < '@' OR NEW.to_wallet >= 'A') AND EXISTS (SELECT 1 FROM lock WHERE id = 'wallet/' || NEW.to_wallet))
    THEN RAISE(FAIL, 'another client holds the lock of this wallet')
    WHEN NEW.fence IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM lock WHERE fence = NEW.fence AND secret_hash IS NOT NULL
                     AND (id IN ('wallet/' || NEW.from_wallet, 'wallet/' || NEW.to_wallet) OR id < 'wallet/' OR id >= 'wallet0'))
    THEN RAISE(FAIL, 'an entry cannot be made under a foreign fence')
    WHEN (NEW.hold IS NOT NULL OR NEW.from_wallet = '@holds' OR NEW.to_wallet = '@holds' OR NEW.kind IN ('hold', 'capture', 'release'))
     AND CASE NEW.kind
         WHEN 'hold' THEN NEW.hold = NEW.id AND NEW.to_wallet = '@holds' AND NEW.hold_to IS NOT NULL AND NEW.hold_until > NEW.at
         WHEN 'capture' THEN NEW.from_wallet = '@holds' AND NEW.from_balance >= 0
          AND NEW.amount <= (SELECT amount_left FROM hold WHERE id = NEW.hold AND ended IS NULL)
          AND NEW.to_wallet = (SELECT hold_to FROM entry WHERE id = NEW.hold)
         WHEN 'release' THEN NEW.from_wallet = '@holds' AND NEW.from_balance >= 0
          AND NEW.amount <= (SELECT amount_left FROM hold WHERE id = NEW.hold AND wallet = NEW.to_wallet)
         END IS NOT 1
    THEN RAISE(FAIL, 'reserved money goes to the receiver of its hold, or back')
END; END;

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
CREATE INDEX hold_of_wallet ON hold (wallet);
CREATE INDEX hold_left_of_wallet ON hold (wallet) WHERE amount_left > 0;
CREATE INDEX hold_until ON hold (until) WHERE amount_left > 0;
CREATE INDEX hold_coupon ON hold (coupon) WHERE coupon IS NOT NULL AND amount_left > 0;

CREATE TRIGGER hold_has_its_entry BEFORE INSERT ON hold
WHEN (NEW.id, 'hold', NEW.wallet, NEW.coupon, NEW.amount_left, NEW.until, NEW.captured, NEW.ended) IS NOT
     (SELECT id, kind, from_wallet, coupon, amount, hold_until, 0, NULL FROM entry ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(FAIL, 'a hold is made with its entry'); END;

CREATE TRIGGER hold_changes_with_its_entries BEFORE UPDATE ON hold
WHEN (NEW.id, NEW.wallet, NEW.coupon, NEW.due_ms) IS NOT (OLD.id, OLD.wallet, OLD.coupon, OLD.due_ms)
  OR OLD.ended IS NOT NULL AND NEW.ended IS NOT OLD.ended
  OR (NEW.id, NEW.captured - OLD.captured, OLD.amount_left - NEW.amount_left) IS NOT
     (SELECT hold, CASE kind WHEN 'capture' THEN amount WHEN 'release' THEN 0 END, amount FROM entry ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(FAIL, 'a hold changes only as the newest entry says'); END;

CREATE TRIGGER hold_is_never_deleted BEFORE DELETE ON hold
BEGIN SELECT RAISE(ABORT, 'a hold is never deleted'); END;
