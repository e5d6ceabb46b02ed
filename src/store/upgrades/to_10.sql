-- From version 9 to version 10. A hold ends when its newest entry says, a lock keeps its secret as long as its fence,
-- and rests after its release. The journal begins; its first lines are the program's.

DROP TRIGGER hold_changes_with_its_entries;

CREATE TRIGGER hold_changes_with_its_entries BEFORE UPDATE ON hold
WHEN (NEW.id, NEW.wallet, NEW.coupon, NEW.due_ms) IS NOT (OLD.id, OLD.wallet, OLD.coupon, OLD.due_ms)
  OR OLD.ended IS NOT NULL AND NEW.ended IS NOT OLD.ended
  OR (NEW.id, NEW.captured - OLD.captured, OLD.amount_left - NEW.amount_left, NEW.until) IS NOT
     (SELECT hold, CASE kind WHEN 'capture' THEN amount WHEN 'release' THEN 0 END, amount, coalesce(hold_until, OLD.until)
      FROM entry ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(FAIL, 'a hold changes only as the newest entry says'); END;

DROP TRIGGER lock_fence_only_grows;

CREATE TRIGGER lock_fence_only_grows BEFORE UPDATE ON lock
WHEN NEW.fence < OLD.fence OR NEW.fence > (SELECT fence FROM lock_seq) OR NEW.renew_time < OLD.renew_time
  OR NEW.id <> OLD.id OR NEW.fence = OLD.fence AND NEW.secret_hash IS NOT NULL AND NEW.secret_hash IS NOT OLD.secret_hash
BEGIN SELECT RAISE(ABORT, 'a lock changes hands only to a higher fence from the counter'); END;

ALTER TABLE lock ADD COLUMN min_hold_ms INTEGER CHECK (min_hold_ms IS NULL OR min_hold_ms > 0 AND substr(id, 1, 7) <> 'wallet/');

CREATE TABLE journal (
    seq     INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    what    TEXT NOT NULL,
    subject TEXT,
    entry   INTEGER NOT NULL,
    detail  TEXT NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX journal_subject ON journal (subject, seq) WHERE subject IS NOT NULL;
CREATE INDEX journal_what ON journal (what, seq);

CREATE TRIGGER journal_is_in_order BEFORE INSERT ON journal
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM journal)
  OR NEW.at < (SELECT at FROM journal ORDER BY seq DESC LIMIT 1)
  OR NEW.entry IS NOT (SELECT coalesce(max(id), 0) FROM entry)
BEGIN SELECT RAISE(ABORT, 'a line of the journal comes after the last one and names the newest entry'); END;

CREATE TRIGGER journal_is_never_edited BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'a line of the journal is never edited'); END;

CREATE TRIGGER journal_is_never_deleted BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'a line of the journal is never deleted'); END;
