-- The tables and the trigger that step 8 changes, as they were before.

CREATE TABLE coupon_kind (
    kind        TEXT PRIMARY KEY,
    amount_off  INTEGER CHECK (amount_off > 0),
    percent_off INTEGER CHECK (percent_off BETWEEN 1 AND 100),
    threshold   INTEGER NOT NULL CHECK (threshold >= 0),
    single_use  INTEGER NOT NULL CHECK (single_use IN (0, 1)),
    earned_zh   TEXT NOT NULL,
    earned_en   TEXT NOT NULL,
    CHECK ((amount_off IS NULL) <> (percent_off IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE coupon (
    code        TEXT PRIMARY KEY,
    user        TEXT NOT NULL REFERENCES wallet (id),
    kind        TEXT NOT NULL,
    amount_off  INTEGER,
    percent_off INTEGER,
    threshold   INTEGER NOT NULL,
    single_use  INTEGER NOT NULL,
    granted_at  INTEGER NOT NULL,
    earned_by   INTEGER REFERENCES entry (id),
    uses        INTEGER NOT NULL DEFAULT 0 CHECK (uses >= 0 AND (uses <= 1 OR NOT single_use)),
    taken_by    INTEGER REFERENCES entry (id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER coupon_keeps_its_terms BEFORE UPDATE ON coupon
WHEN (NEW.code, NEW.user, NEW.kind, NEW.threshold, NEW.single_use, NEW.granted_at)
      <> (OLD.code, OLD.user, OLD.kind, OLD.threshold, OLD.single_use, OLD.granted_at)
  OR NEW.amount_off IS NOT OLD.amount_off OR NEW.percent_off IS NOT OLD.percent_off OR NEW.earned_by IS NOT OLD.earned_by
BEGIN SELECT RAISE(ABORT, 'a coupon keeps the terms it was granted under'); END;
