-- From version 7 to version 8: settings of wallets, and more terms of coupons. The rows stay as they are.

CREATE TABLE wallet_setting (
    wallet            TEXT PRIMARY KEY REFERENCES wallet (id) CHECK (wallet < '@' OR wallet >= 'A'),
    name              TEXT CHECK (length(name) BETWEEN 1 AND 100),
    status            TEXT NOT NULL CHECK (status IN ('open', 'frozen', 'closed')),
    metadata          TEXT,
    limit_per_payment INTEGER CHECK (limit_per_payment > 0),
    limit_per_day     INTEGER CHECK (limit_per_day > 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX wallet_setting_name ON wallet_setting (name) WHERE name IS NOT NULL;
CREATE INDEX wallet_setting_status ON wallet_setting (status) WHERE status <> 'open';
CREATE INDEX wallet_setting_rule ON wallet_setting (wallet)
    WHERE status <> 'open' OR limit_per_payment IS NOT NULL OR limit_per_day IS NOT NULL;

CREATE TRIGGER wallet_is_closed_empty BEFORE INSERT ON wallet_setting
WHEN NEW.status = 'closed' AND (SELECT balance FROM wallet WHERE id = NEW.wallet) <> 0
BEGIN SELECT RAISE(ABORT, 'only an empty wallet is closed'); END;

CREATE TRIGGER wallet_is_closed_empty_later BEFORE UPDATE ON wallet_setting
WHEN NEW.wallet <> OLD.wallet OR NEW.status = 'closed' AND (SELECT balance FROM wallet WHERE id = NEW.wallet) <> 0
BEGIN SELECT RAISE(ABORT, 'only an empty wallet is closed'); END;

CREATE TABLE day_spending (
    wallet TEXT PRIMARY KEY REFERENCES wallet_setting (wallet),
    day    INTEGER NOT NULL,
    spent  INTEGER NOT NULL CHECK (spent >= 0)
) STRICT, WITHOUT ROWID;

ALTER TABLE coupon_kind ADD COLUMN max_off INTEGER CHECK (max_off IS NULL OR max_off > 0 AND amount_off IS NULL);
ALTER TABLE coupon_kind ADD COLUMN valid_days INTEGER CHECK (valid_days > 0);
ALTER TABLE coupon_kind ADD COLUMN valid_from INTEGER;
ALTER TABLE coupon_kind ADD COLUMN valid_until INTEGER;
ALTER TABLE coupon_kind ADD COLUMN limit_total INTEGER CHECK (limit_total > 0);
ALTER TABLE coupon_kind ADD COLUMN limit_per_user INTEGER CHECK (limit_per_user > 0);
ALTER TABLE coupon_kind ADD COLUMN claim_code TEXT CHECK (length(claim_code) BETWEEN 3 AND 32);
CREATE UNIQUE INDEX coupon_kind_claim_code ON coupon_kind (claim_code) WHERE claim_code IS NOT NULL;

CREATE TABLE coupon_given (
    kind  TEXT PRIMARY KEY REFERENCES coupon_kind (kind),
    given INTEGER NOT NULL CHECK (given >= 0)
) STRICT, WITHOUT ROWID;

ALTER TABLE coupon ADD COLUMN max_off INTEGER;
ALTER TABLE coupon ADD COLUMN expires_at INTEGER;
CREATE INDEX coupon_of_kind ON coupon (kind, user);

DROP TRIGGER coupon_keeps_its_terms;
CREATE TRIGGER coupon_keeps_its_terms BEFORE UPDATE ON coupon
WHEN (NEW.code, NEW.user, NEW.kind, NEW.threshold, NEW.single_use, NEW.granted_at)
      <> (OLD.code, OLD.user, OLD.kind, OLD.threshold, OLD.single_use, OLD.granted_at)
  OR NEW.amount_off IS NOT OLD.amount_off OR NEW.percent_off IS NOT OLD.percent_off OR NEW.earned_by IS NOT OLD.earned_by
  OR NEW.max_off IS NOT OLD.max_off OR NEW.expires_at IS NOT OLD.expires_at
BEGIN SELECT RAISE(ABORT, 'a coupon keeps the terms it was granted under'); END;
