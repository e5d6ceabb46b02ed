-- The second line in PostgreSQL: the database refuses changes that the program never makes, with the words of schema.sql.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END $$;

CREATE FUNCTION is_system(wallet TEXT) RETURNS BOOLEAN LANGUAGE SQL IMMUTABLE
    RETURN wallet COLLATE "C" >= '@' AND wallet COLLATE "C" < 'A';

CREATE FUNCTION wallet_is_closed_empty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.wallet <> OLD.wallet
        OR NEW.status = 'closed' AND (SELECT balance FROM wallet WHERE id = NEW.wallet) <> 0 THEN
        RAISE EXCEPTION 'only an empty wallet is closed';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wallet_is_closed_empty BEFORE INSERT OR UPDATE ON wallet_setting
    FOR EACH ROW EXECUTE FUNCTION wallet_is_closed_empty();

-- The balance of a wallet before the next entry. A user's wallet has what its row says; a system wallet what its last entry
-- says, mostly the newest of all.
CREATE FUNCTION balance_before(own TEXT, newest entry) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    found_balance BIGINT;
BEGIN
    IF is_system(own) THEN
        IF newest.to_wallet = own THEN
            RETURN newest.to_balance;
        ELSIF newest.from_wallet = own THEN
            RETURN newest.from_balance;
        END IF;
        SELECT CASE own WHEN e.to_wallet THEN e.to_balance ELSE e.from_balance END INTO found_balance FROM entry AS e
            WHERE e.id > (SELECT w.newest FROM wallet AS w WHERE w.id = own) AND own IN (e.from_wallet, e.to_wallet)
            ORDER BY e.id DESC LIMIT 1;
        IF FOUND THEN
            RETURN found_balance;
        END IF;
    END IF;
    SELECT w.balance INTO found_balance FROM wallet AS w WHERE w.id = own;
    RETURN found_balance;
END $$;

CREATE FUNCTION entry_is_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest entry;
BEGIN
    SELECT * INTO newest FROM entry ORDER BY id DESC LIMIT 1;
    IF FOUND AND (newest.id <> NEW.id - 1 OR newest.at > NEW.at) OR NOT FOUND AND NEW.id <> 1 THEN
        RAISE EXCEPTION 'an entry comes after the last one, in number and in time';
    END IF;
    IF NEW.from_balance + NEW.amount IS DISTINCT FROM balance_before(NEW.from_wallet, newest)
        OR NEW.to_balance - NEW.amount IS DISTINCT FROM balance_before(NEW.to_wallet, newest) THEN
        RAISE EXCEPTION 'an entry states both balances after it';
    END IF;
    IF NEW.fence IS NULL AND EXISTS (SELECT 1 FROM lock
            WHERE id = 'wallet/' || NEW.from_wallet AND NOT is_system(NEW.from_wallet)
               OR id = 'wallet/' || NEW.to_wallet AND NOT is_system(NEW.to_wallet)) THEN
        RAISE EXCEPTION 'another client holds the lock of this wallet';
    END IF;
    IF NEW.fence IS NOT NULL AND NOT EXISTS (SELECT 1 FROM lock WHERE fence = NEW.fence AND secret_hash IS NOT NULL
            AND (id IN ('wallet/' || NEW.from_wallet, 'wallet/' || NEW.to_wallet) OR id < 'wallet/' OR id >= 'wallet0')) THEN
        RAISE EXCEPTION 'an entry cannot be made under a foreign fence';
    END IF;
    IF (NEW.hold IS NOT NULL OR NEW.from_wallet = '@holds' OR NEW.to_wallet = '@holds'
            OR NEW.kind IN ('hold', 'capture', 'release'))
        AND (CASE NEW.kind
            WHEN 'hold' THEN NEW.hold = NEW.id AND NEW.to_wallet = '@holds' AND NEW.hold_to IS NOT NULL AND NEW.hold_until > NEW.at
            WHEN 'capture' THEN NEW.from_wallet = '@holds' AND NEW.from_balance >= 0
                AND NEW.amount <= (SELECT h.amount_left FROM hold AS h WHERE h.id = NEW.hold AND h.ended IS NULL)
                AND NEW.to_wallet = (SELECT e.hold_to FROM entry AS e WHERE e.id = NEW.hold)
            WHEN 'release' THEN NEW.from_wallet = '@holds' AND NEW.from_balance >= 0
                AND NEW.amount <= (SELECT h.amount_left FROM hold AS h WHERE h.id = NEW.hold AND h.wallet = NEW.to_wallet)
        END) IS NOT TRUE THEN
        RAISE EXCEPTION 'reserved money goes to the receiver of its hold, or back';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER entry_is_in_order BEFORE INSERT ON entry FOR EACH ROW EXECUTE FUNCTION entry_is_in_order();
CREATE TRIGGER entry_is_never_edited BEFORE UPDATE ON entry
    FOR EACH ROW EXECUTE FUNCTION refuse('an entry is never edited: refund it');
CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION refuse('an entry is never deleted');

CREATE TRIGGER wallet_starts_empty BEFORE INSERT ON wallet
    FOR EACH ROW WHEN (NEW.balance <> 0 OR NEW.entries <> 0) EXECUTE FUNCTION refuse('a wallet starts empty, once');

CREATE FUNCTION wallet_balance_has_its_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest entry;
    own entry;
    change NUMERIC;
    moves BIGINT;
BEGIN
    SELECT * INTO newest FROM entry ORDER BY id DESC LIMIT 1;
    IF NEW.id <> OLD.id OR NEW.created_at <> OLD.created_at THEN
        RAISE EXCEPTION 'a balance changes only as the newest entry says';
    END IF;
    IF NOT is_system(NEW.id) THEN
        IF NEW.newest <> OLD.newest OR NEW.entries <> OLD.entries + 1 OR NEW.balance IS DISTINCT FROM
            (CASE NEW.id WHEN newest.from_wallet THEN newest.from_balance WHEN newest.to_wallet THEN newest.to_balance END) THEN
            RAISE EXCEPTION 'a balance changes only as the newest entry says';
        END IF;
        RETURN NEW;
    END IF;
    SELECT coalesce(sum(CASE e.to_wallet WHEN NEW.id THEN e.amount ELSE -e.amount END), 0), count(*) INTO change, moves
        FROM entry AS e WHERE e.id > OLD.newest AND NEW.id IN (e.from_wallet, e.to_wallet);
    SELECT * INTO own FROM entry AS e WHERE e.id > OLD.newest AND NEW.id IN (e.from_wallet, e.to_wallet)
        ORDER BY e.id DESC LIMIT 1;
    IF NEW.newest IS DISTINCT FROM newest.id OR NEW.balance - OLD.balance <> change OR NEW.entries - OLD.entries <> moves
        OR NEW.entries <> OLD.entries AND NEW.balance IS DISTINCT FROM
            (CASE NEW.id WHEN own.to_wallet THEN own.to_balance WHEN own.from_wallet THEN own.from_balance END) THEN
        RAISE EXCEPTION 'a balance changes only as the newest entry says';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wallet_balance_has_its_entry BEFORE UPDATE ON wallet
    FOR EACH ROW EXECUTE FUNCTION wallet_balance_has_its_entry();
CREATE TRIGGER wallet_is_never_deleted BEFORE DELETE ON wallet
    FOR EACH ROW EXECUTE FUNCTION refuse('a wallet is never deleted');

CREATE TRIGGER coupon_keeps_its_terms BEFORE UPDATE ON coupon FOR EACH ROW
    WHEN ((NEW.code, NEW."user", NEW.kind, NEW.threshold, NEW.single_use, NEW.granted_at, NEW.amount_off, NEW.percent_off,
           NEW.earned_by, NEW.max_off, NEW.expires_at) IS DISTINCT FROM
          (OLD.code, OLD."user", OLD.kind, OLD.threshold, OLD.single_use, OLD.granted_at, OLD.amount_off, OLD.percent_off,
           OLD.earned_by, OLD.max_off, OLD.expires_at))
    EXECUTE FUNCTION refuse('a coupon keeps the terms it was granted under');
CREATE TRIGGER coupon_is_never_deleted BEFORE DELETE ON coupon
    FOR EACH ROW EXECUTE FUNCTION refuse('a coupon is never deleted');

CREATE FUNCTION hold_has_its_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest entry;
BEGIN
    SELECT * INTO newest FROM entry ORDER BY id DESC LIMIT 1;
    IF (NEW.id, 'hold', NEW.wallet, NEW.coupon, NEW.amount_left, NEW.until, NEW.captured, NEW.ended) IS DISTINCT FROM
        (newest.id, newest.kind, newest.from_wallet, newest.coupon, newest.amount, newest.hold_until, 0::BIGINT, NULL::TEXT) THEN
        RAISE EXCEPTION 'a hold is made with its entry';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold_has_its_entry BEFORE INSERT ON hold FOR EACH ROW EXECUTE FUNCTION hold_has_its_entry();

CREATE FUNCTION hold_changes_with_its_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    newest entry;
BEGIN
    SELECT * INTO newest FROM entry ORDER BY id DESC LIMIT 1;
    IF (NEW.id, NEW.wallet, NEW.coupon, NEW.due_ms) IS DISTINCT FROM (OLD.id, OLD.wallet, OLD.coupon, OLD.due_ms)
        OR OLD.ended IS NOT NULL AND NEW.ended IS DISTINCT FROM OLD.ended
        OR (NEW.id, NEW.captured - OLD.captured, OLD.amount_left - NEW.amount_left, NEW.until) IS DISTINCT FROM
           (newest.hold, CASE newest.kind WHEN 'capture' THEN newest.amount WHEN 'release' THEN 0 END, newest.amount,
            coalesce(newest.hold_until, OLD.until)) THEN
        RAISE EXCEPTION 'a hold changes only as the newest entry says';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold_changes_with_its_entries BEFORE UPDATE ON hold
    FOR EACH ROW EXECUTE FUNCTION hold_changes_with_its_entries();
CREATE TRIGGER hold_is_never_deleted BEFORE DELETE ON hold FOR EACH ROW EXECUTE FUNCTION refuse('a hold is never deleted');

CREATE TRIGGER lock_seq_never_goes_back BEFORE UPDATE ON lock_seq
    FOR EACH ROW WHEN (NEW.fence < OLD.fence OR NEW.clock_ms < OLD.clock_ms)
    EXECUTE FUNCTION refuse('neither the fence nor the lease clock goes back');
CREATE TRIGGER lock_seq_is_never_deleted BEFORE DELETE ON lock_seq
    FOR EACH ROW EXECUTE FUNCTION refuse('lock_seq is never deleted');

CREATE FUNCTION lock_fence_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.fence > (SELECT fence FROM lock_seq) THEN
        RAISE EXCEPTION 'a fence is drawn from the counter';
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.fence < OLD.fence OR NEW.renew_time < OLD.renew_time OR NEW.id <> OLD.id
            OR NEW.fence = OLD.fence AND NEW.secret_hash IS NOT NULL AND NEW.secret_hash IS DISTINCT FROM OLD.secret_hash) THEN
        RAISE EXCEPTION 'a lock changes hands only to a higher fence from the counter';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lock_fence_only_grows BEFORE INSERT OR UPDATE ON lock FOR EACH ROW EXECUTE FUNCTION lock_fence_only_grows();

-- Numbers an event as SQLite does: one more than the highest. A sequence would leave out those of events that were taken back.
CREATE FUNCTION lock_event_has_a_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq IS NULL THEN
        NEW.seq := (SELECT coalesce(max(seq), 0) + 1 FROM lock_event);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER lock_event_has_a_number BEFORE INSERT ON lock_event FOR EACH ROW EXECUTE FUNCTION lock_event_has_a_number();
CREATE TRIGGER lock_event_is_never_edited BEFORE UPDATE ON lock_event
    FOR EACH ROW EXECUTE FUNCTION refuse('a lock event is never edited');

CREATE FUNCTION lock_event_is_pruned_only_when_old() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM lock_event WHERE lock_id = OLD.lock_id AND seq > OLD.seq LIMIT 1 OFFSET 999) THEN
        RAISE EXCEPTION 'the newest 1,000 events of a lock are kept';
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER lock_event_is_pruned_only_when_old BEFORE DELETE ON lock_event
    FOR EACH ROW EXECUTE FUNCTION lock_event_is_pruned_only_when_old();

CREATE FUNCTION journal_is_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seq IS DISTINCT FROM (SELECT coalesce(max(seq), 0) + 1 FROM journal)
        OR NEW.at < (SELECT j.at FROM journal AS j ORDER BY j.seq DESC LIMIT 1)
        OR NEW.entry IS DISTINCT FROM (SELECT coalesce(max(id), 0) FROM entry) THEN
        RAISE EXCEPTION 'a line of the journal comes after the last one and names the newest entry';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER journal_is_in_order BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION journal_is_in_order();
CREATE TRIGGER journal_is_never_edited BEFORE UPDATE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse('a line of the journal is never edited');
CREATE TRIGGER journal_is_never_deleted BEFORE DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse('a line of the journal is never deleted');

-- TRUNCATE goes around the triggers of rows.
CREATE TRIGGER wallet_is_never_emptied BEFORE TRUNCATE ON wallet EXECUTE FUNCTION refuse('a wallet is never deleted');
CREATE TRIGGER entry_is_never_emptied BEFORE TRUNCATE ON entry EXECUTE FUNCTION refuse('an entry is never deleted');
CREATE TRIGGER coupon_is_never_emptied BEFORE TRUNCATE ON coupon EXECUTE FUNCTION refuse('a coupon is never deleted');
CREATE TRIGGER hold_is_never_emptied BEFORE TRUNCATE ON hold EXECUTE FUNCTION refuse('a hold is never deleted');
CREATE TRIGGER lock_seq_is_never_emptied BEFORE TRUNCATE ON lock_seq EXECUTE FUNCTION refuse('lock_seq is never deleted');
CREATE TRIGGER lock_event_is_never_emptied BEFORE TRUNCATE ON lock_event
    EXECUTE FUNCTION refuse('the newest 1,000 events of a lock are kept');
CREATE TRIGGER journal_is_never_emptied BEFORE TRUNCATE ON journal
    EXECUTE FUNCTION refuse('a line of the journal is never deleted');
