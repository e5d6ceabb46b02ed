-- From version 3 to version 4: nothing has to be undone for a plain entry, and a system wallet is written once for many.
-- The rows stay as they are. Only the text of the two tables changes, and SQLite has no other way to change it.

DROP TRIGGER entry_is_in_order;
DROP TRIGGER wallet_balance_has_its_entry;
DROP INDEX entry_from;
DROP INDEX entry_to;

PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = 'CREATE TABLE wallet (
    id         TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    balance    INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0 OR id >= ''@'' AND id < ''A''),
    entries    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    newest     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID' WHERE type = 'table' AND name = 'wallet';
UPDATE sqlite_schema SET sql = 'CREATE TABLE entry (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    from_wallet  TEXT NOT NULL REFERENCES wallet (id) DEFERRABLE INITIALLY DEFERRED,
    to_wallet    TEXT NOT NULL REFERENCES wallet (id) DEFERRABLE INITIALLY DEFERRED CHECK (to_wallet <> from_wallet),
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
    hash         BLOB NOT NULL
) STRICT' WHERE type = 'table' AND name = 'entry';
PRAGMA writable_schema = RESET;

UPDATE wallet SET newest = (SELECT coalesce(max(id), 0) FROM entry) WHERE id >= '@' AND id < 'A';

CREATE INDEX entry_from ON entry (from_wallet) WHERE from_wallet <> '@bank';
CREATE INDEX entry_to ON entry (to_wallet) WHERE to_wallet <> '@bank';

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
    THEN RAISE(FAIL, 'somebody holds the lock of this wallet')
    WHEN NEW.fence IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM lock WHERE fence = NEW.fence AND secret_hash IS NOT NULL
                     AND (id IN ('wallet/' || NEW.from_wallet, 'wallet/' || NEW.to_wallet) OR id < 'wallet/' OR id >= 'wallet0'))
    THEN RAISE(FAIL, 'an entry cannot be made under a foreign fence')
END; END;

CREATE TRIGGER wallet_balance_has_its_entry BEFORE UPDATE ON wallet
WHEN NEW.id <> OLD.id OR NEW.created_at <> OLD.created_at
  OR CASE WHEN NEW.id >= '@' AND NEW.id < 'A' THEN
       NEW.newest IS NOT (SELECT id FROM entry ORDER BY id DESC LIMIT 1)
    OR (NEW.balance - OLD.balance, NEW.entries - OLD.entries) IS NOT
       (SELECT coalesce(sum(CASE to_wallet WHEN NEW.id THEN amount ELSE -amount END), 0), count(*)
        FROM entry WHERE id > OLD.newest AND NEW.id IN (from_wallet, to_wallet))
    OR NEW.balance <> coalesce((SELECT CASE to_wallet WHEN NEW.id THEN to_balance ELSE from_balance END
                                FROM entry WHERE id > OLD.newest AND NEW.id IN (from_wallet, to_wallet)
                                ORDER BY id DESC LIMIT 1), OLD.balance)
     ELSE
       NEW.newest <> OLD.newest OR NEW.entries <> OLD.entries + 1
    OR NOT coalesce((SELECT from_wallet = NEW.id AND from_balance = NEW.balance OR to_wallet = NEW.id AND to_balance = NEW.balance
                     FROM entry ORDER BY id DESC LIMIT 1), 0)
     END
BEGIN SELECT RAISE(FAIL, 'a balance changes only as the newest entry says'); END;
