-- The parts of the schema that the upgrade to version 9 changes, as they were before it.

CREATE TABLE entry (
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
    hash         BLOB NOT NULL
) STRICT;

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
