-- From version 5 to version 6: the trigger of `entry` reads the wallets that its foreign keys looked up once more, and a
-- system wallet that no entry has moved is found so by the indexes. The rows stay as they are.

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
    hash         BLOB NOT NULL
) STRICT' WHERE type = 'table' AND name = 'entry';
PRAGMA writable_schema = RESET;

DROP TRIGGER wallet_balance_has_its_entry;
CREATE TRIGGER wallet_balance_has_its_entry BEFORE UPDATE ON wallet
WHEN NEW.id <> OLD.id OR NEW.created_at <> OLD.created_at
  OR CASE WHEN NEW.id < '@' OR NEW.id >= 'A' THEN
       NEW.newest <> OLD.newest OR NEW.entries <> OLD.entries + 1
    OR NEW.balance IS NOT (SELECT CASE NEW.id WHEN from_wallet THEN from_balance WHEN to_wallet THEN to_balance END
                           FROM entry ORDER BY id DESC LIMIT 1)
     ELSE
       NEW.newest IS NOT (SELECT id FROM entry ORDER BY id DESC LIMIT 1)
    OR (NEW.balance - OLD.balance, NEW.entries - OLD.entries) IS NOT (SELECT coalesce(sum(change), 0), count(*) FROM (
         SELECT CASE to_wallet WHEN '@bank' THEN amount ELSE -amount END AS change FROM entry
          WHERE NEW.id = '@bank' AND id > OLD.newest AND (to_wallet = '@bank' OR from_wallet = '@bank')
         UNION ALL SELECT amount FROM entry WHERE to_wallet = NEW.id AND to_wallet <> '@bank' AND id > OLD.newest
         UNION ALL SELECT -amount FROM entry WHERE from_wallet = NEW.id AND from_wallet <> '@bank' AND id > OLD.newest))
    OR NEW.entries <> OLD.entries AND NEW.balance IS NOT
       (SELECT CASE to_wallet WHEN NEW.id THEN to_balance ELSE from_balance END FROM entry
        WHERE id > OLD.newest AND (to_wallet = NEW.id OR from_wallet = NEW.id) ORDER BY id DESC LIMIT 1)
     END
BEGIN SELECT RAISE(FAIL, 'a balance changes only as the newest entry says'); END;
