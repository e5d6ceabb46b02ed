-- The parts of the schema that the upgrade to version 6 changes, as they were before it.

CREATE TABLE wallet (
    id         TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    balance    INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0 OR id >= '@' AND id < 'A'),
    entries    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    newest     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
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
) STRICT;

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
