-- The parts of the schema that the upgrade to version 4 changes, as they were before it.

CREATE TABLE wallet (
    id         TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    balance    INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0 OR substr(id, 1, 1) = '@'),
    entries    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE entry (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    from_wallet  TEXT NOT NULL REFERENCES wallet (id),
    to_wallet    TEXT NOT NULL REFERENCES wallet (id) CHECK (to_wallet <> from_wallet),
    amount       INTEGER NOT NULL CHECK (amount > 0),
    from_balance INTEGER NOT NULL,
    to_balance   INTEGER NOT NULL,
    made_by      TEXT NOT NULL,
    coupon       TEXT,
    gross        INTEGER CHECK (gross = amount + discount),
    discount     INTEGER CHECK (discount >= 0),
    refunds      INTEGER REFERENCES entry (id) CHECK (refunds < id),
    reference    TEXT,
    metadata     TEXT,
    fence        INTEGER,
    hash         BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE INDEX entry_from ON entry (from_wallet);

CREATE INDEX entry_to ON entry (to_wallet);

CREATE TRIGGER entry_is_in_order BEFORE INSERT ON entry
BEGIN SELECT CASE
    WHEN (SELECT id, at <= NEW.at FROM entry ORDER BY id DESC LIMIT 1) IS NOT (NEW.id - 1, 1)
     AND (NEW.id <> 1 OR EXISTS (SELECT 1 FROM entry))
    THEN RAISE(ABORT, 'an entry comes after the last one, in number and in time')
    WHEN NEW.from_balance IS NOT (SELECT balance - NEW.amount FROM wallet WHERE id = NEW.from_wallet)
      OR NEW.to_balance IS NOT (SELECT balance + NEW.amount FROM wallet WHERE id = NEW.to_wallet)
    THEN RAISE(ABORT, 'an entry states both balances after it')
    WHEN NEW.fence IS NULL
     AND (EXISTS (SELECT 1 FROM lock WHERE id = 'wallet/' || NEW.from_wallet)
       OR EXISTS (SELECT 1 FROM lock WHERE id = 'wallet/' || NEW.to_wallet))
    THEN RAISE(ABORT, 'somebody holds the lock of this wallet')
    WHEN NEW.fence IS NOT NULL
     AND NOT EXISTS (SELECT 1 FROM lock WHERE fence = NEW.fence AND secret_hash IS NOT NULL
                     AND (id IN ('wallet/' || NEW.from_wallet, 'wallet/' || NEW.to_wallet) OR substr(id, 1, 7) <> 'wallet/'))
    THEN RAISE(ABORT, 'an entry cannot be made under a foreign fence')
END; END;

CREATE TRIGGER wallet_balance_has_its_entry BEFORE UPDATE ON wallet
WHEN NEW.id <> OLD.id OR NEW.created_at <> OLD.created_at OR NEW.entries <> OLD.entries + 1
  OR NOT coalesce((SELECT from_wallet = NEW.id AND from_balance = NEW.balance OR to_wallet = NEW.id AND to_balance = NEW.balance
                   FROM entry ORDER BY id DESC LIMIT 1), 0)
BEGIN SELECT RAISE(ABORT, 'a balance changes only as the newest entry says'); END;
