-- The whole of a cashbox file. Money is INTEGER cents; wall times are milliseconds since 1970, UTC;
-- lease times (`clock_ms`, `create_time`, `renew_time`) are milliseconds of the lease clock and mean nothing outside.
-- The triggers are the second line: the file refuses changes that the program never makes.

-- A wallet: one user's balance, or the system's (`@bank` the outside world, `@sales` paid money, `@holds` reserved
-- money). The sum over all wallets is always zero. `entries` counts the entries that moved it. A system wallet is written
-- once for many entries: `newest` is the newest entry of the file at that time; 0 for users' wallets.
CREATE TABLE wallet (
    id         TEXT PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    balance    INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0 OR id >= '@' AND id < 'A'),
    entries    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    newest     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- The settings of a user's wallet that has any; one without a row is open and has none. `name` and `metadata` are for
-- people. From a frozen wallet nothing goes out; a closed one is empty and nothing moves it. The limits are cents.
CREATE TABLE wallet_setting (
    wallet            TEXT PRIMARY KEY REFERENCES wallet (id) CHECK (wallet < '@' OR wallet >= 'A'),
    name              TEXT CHECK (length(name) BETWEEN 1 AND 100),
    status            TEXT NOT NULL CHECK (status IN ('open', 'frozen', 'closed')),
    metadata          TEXT,                      -- a flat JSON object of strings
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

-- The amount, in cents, that has left a wallet with `limit_per_day` on the day (of UTC, counted from 1970) of its last
-- withdrawal, payment, transfer or hold, or on the day when the limit was set.
CREATE TABLE day_spending (
    wallet TEXT PRIMARY KEY REFERENCES wallet_setting (wallet),
    day    INTEGER NOT NULL,
    spent  INTEGER NOT NULL CHECK (spent >= 0)
) STRICT, WITHOUT ROWID;

-- An entry: one immutable movement of `amount` from one wallet to another, with both balances after it.
-- Numbered without gaps; `at` never decreases along the numbers. `hash` covers the entry and the hash before it.
-- Here and in its triggers: FAIL, keys that are checked at the commit, and no functions, so that SQLite keeps no copies of
-- pages for undoing a single statement. The checks come before the one row is written, so there is nothing to undo.
-- The wallets need no foreign keys: the trigger below reads their balances, and refuses an entry of one that is not there.
CREATE TABLE entry (
    id           INTEGER PRIMARY KEY,
    at           INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    from_wallet  TEXT NOT NULL,
    to_wallet    TEXT NOT NULL CHECK (to_wallet <> from_wallet),
    amount       INTEGER NOT NULL CHECK (amount > 0),
    from_balance INTEGER NOT NULL,
    to_balance   INTEGER NOT NULL,
    made_by      TEXT NOT NULL,                  -- the caller: a user, an access token's id, or `@local`
    coupon       TEXT,                           -- used by a payment, or earned by a recharge
    gross        INTEGER CHECK (gross = amount + discount),
    discount     INTEGER CHECK (discount >= 0),
    refunds      INTEGER REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED CHECK (refunds < id),
    reference    TEXT,
    metadata     TEXT,                           -- a flat JSON object of strings
    fence        INTEGER,                        -- of the lease it was made under
    hash         BLOB NOT NULL,                  -- 32 bytes
    hold         INTEGER,                        -- of a step of a hold: the number of the hold's first entry
    hold_to      TEXT,                           -- of a hold: its receiver
    hold_until   INTEGER                         -- of a hold: its expires_at; of the capture that ends one: its own time
) STRICT;
CREATE INDEX entry_from ON entry (from_wallet) WHERE from_wallet <> '@bank';
CREATE INDEX entry_to ON entry (to_wallet) WHERE to_wallet <> '@bank';
CREATE INDEX entry_refunds ON entry (refunds) WHERE refunds IS NOT NULL;
CREATE INDEX entry_reference ON entry (reference) WHERE reference IS NOT NULL;
CREATE INDEX entry_coupon ON entry (coupon) WHERE coupon IS NOT NULL;
CREATE INDEX entry_hold ON entry (hold) WHERE hold IS NOT NULL;

CREATE TRIGGER entry_is_in_order BEFORE INSERT ON entry
BEGIN SELECT CASE
    WHEN (SELECT id, at <= NEW.at FROM entry ORDER BY id DESC LIMIT 1) IS NOT (NEW.id - 1, 1)
     AND (NEW.id <> 1 OR EXISTS (SELECT 1 FROM entry))
    THEN RAISE(FAIL, 'an entry comes after the last one, in number and in time')
    -- Before it, a user's wallet has what its row says; a system wallet what its last entry says, mostly the one before.
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
    -- Reserved money comes in by a hold and goes out to its receiver or back, never more of it than is left.
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

CREATE TRIGGER entry_is_never_edited BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'an entry is never edited: refund it'); END;

CREATE TRIGGER entry_is_never_deleted BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'an entry is never deleted'); END;

CREATE TRIGGER wallet_starts_empty BEFORE INSERT ON wallet
WHEN NEW.balance <> 0 OR NEW.entries <> 0 OR EXISTS (SELECT 1 FROM wallet WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a wallet starts empty, once'); END;

-- A user's balance changes with the newest entry. A system wallet's is written once for many entries: all since the last
-- time make up the change, and the newest of them states the balance. Those of `@bank` are found by reading all entries
-- since then, those of the others by the indexes.
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

CREATE TRIGGER wallet_is_never_deleted BEFORE DELETE ON wallet
BEGIN SELECT RAISE(ABORT, 'a wallet is never deleted'); END;

-- A report total: a running total from the first entry to the end of a quarter of an hour (numbered from 1970) in which there
-- are entries. `what` is a kind of entries; or `discount`, of payments; `pay_refunded`, refunds of payments; or `users`,
-- `@sales`, `@holds`, whose `sum` is the balance and `count` 0. A sum is decimal text of cents, for it may pass 64 bits.
-- A quarter has all totals that are not zero. Made from the entries and written once in a commit.
CREATE TABLE report_total (
    quarter INTEGER NOT NULL,
    what    TEXT NOT NULL,
    count   INTEGER NOT NULL,
    sum     TEXT NOT NULL,
    PRIMARY KEY (quarter, what)
) STRICT, WITHOUT ROWID;

-- A coupon kind: the effect of a coupon. A fixed amount off or a percentage off (at most `max_off`), from a threshold on,
-- once or for life. The answer to a recharge that earns one ends with one of the sentences. Coupons are given from
-- `valid_from` until `valid_until`, up to both limits; each ends `valid_days` after its grant, or at `valid_until`.
-- `claim_code` is public: a user who types it gets a coupon.
CREATE TABLE coupon_kind (
    kind        TEXT PRIMARY KEY,
    amount_off  INTEGER CHECK (amount_off > 0),
    percent_off INTEGER CHECK (percent_off BETWEEN 1 AND 100),
    threshold   INTEGER NOT NULL CHECK (threshold >= 0),
    single_use  INTEGER NOT NULL CHECK (single_use IN (0, 1)),
    earned_zh   TEXT NOT NULL,
    earned_en   TEXT NOT NULL,
    max_off     INTEGER CHECK (max_off IS NULL OR max_off > 0 AND amount_off IS NULL),
    valid_days  INTEGER CHECK (valid_days > 0),
    valid_from  INTEGER,
    valid_until INTEGER,
    limit_total INTEGER CHECK (limit_total > 0),
    limit_per_user INTEGER CHECK (limit_per_user > 0),
    claim_code  TEXT CHECK (length(claim_code) BETWEEN 3 AND 32),
    CHECK ((amount_off IS NULL) <> (percent_off IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX coupon_kind_claim_code ON coupon_kind (claim_code) WHERE claim_code IS NOT NULL;

-- The number of coupons that were ever given under the name of a kind with `limit_total`.
CREATE TABLE coupon_given (
    kind  TEXT PRIMARY KEY REFERENCES coupon_kind (kind),
    given INTEGER NOT NULL CHECK (given >= 0)
) STRICT, WITHOUT ROWID;

-- A recharge tier: recharging at least `from_amount` (and less than the next tier) earns a coupon of `coupon_kind`.
CREATE TABLE recharge_tier (
    from_amount INTEGER PRIMARY KEY CHECK (from_amount > 0),
    coupon_kind TEXT REFERENCES coupon_kind (kind)
) STRICT;

-- A coupon: a user's right to a discount, with the terms it was granted under. Never deleted, so no code is given twice.
-- It can be used before `expires_at`.
-- `uses` counts the payments made with it that are not refunded in full; `taken_by` is the refund that took it back.
CREATE TABLE coupon (
    code        TEXT PRIMARY KEY,
    user        TEXT NOT NULL REFERENCES wallet (id),
    kind        TEXT NOT NULL,
    amount_off  INTEGER,
    percent_off INTEGER,
    threshold   INTEGER NOT NULL,
    single_use  INTEGER NOT NULL,
    granted_at  INTEGER NOT NULL,
    earned_by   INTEGER REFERENCES entry (id),   -- the recharge; NULL of one that was granted by hand
    uses        INTEGER NOT NULL DEFAULT 0 CHECK (uses >= 0 AND (uses <= 1 OR NOT single_use)),
    taken_by    INTEGER REFERENCES entry (id),
    max_off     INTEGER,
    expires_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX coupon_of_user ON coupon (user, granted_at);
CREATE INDEX coupon_of_kind ON coupon (kind, user);

CREATE TRIGGER coupon_keeps_its_terms BEFORE UPDATE ON coupon
WHEN (NEW.code, NEW.user, NEW.kind, NEW.threshold, NEW.single_use, NEW.granted_at)
      <> (OLD.code, OLD.user, OLD.kind, OLD.threshold, OLD.single_use, OLD.granted_at)
  OR NEW.amount_off IS NOT OLD.amount_off OR NEW.percent_off IS NOT OLD.percent_off OR NEW.earned_by IS NOT OLD.earned_by
  OR NEW.max_off IS NOT OLD.max_off OR NEW.expires_at IS NOT OLD.expires_at
BEGIN SELECT RAISE(ABORT, 'a coupon keeps the terms it was granted under'); END;

CREATE TRIGGER coupon_is_never_deleted BEFORE DELETE ON coupon
BEGIN SELECT RAISE(ABORT, 'a coupon is never deleted'); END;

-- A hold: money of a wallet that is reserved for a receiver, under the number of its first entry, which has its terms. The
-- row says what its entries say, and the lease time at which it is due. `until` is the wall time at which it is over: its
-- `expires_at`, or the time of the capture that ended it. `amount_left` is neither captured nor given back.
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
  OR (NEW.id, NEW.captured - OLD.captured, OLD.amount_left - NEW.amount_left, NEW.until) IS NOT
     (SELECT hold, CASE kind WHEN 'capture' THEN amount WHEN 'release' THEN 0 END, amount, coalesce(hold_until, OLD.until)
      FROM entry ORDER BY id DESC LIMIT 1)
BEGIN SELECT RAISE(FAIL, 'a hold changes only as the newest entry says'); END;

CREATE TRIGGER hold_is_never_deleted BEFORE DELETE ON hold
BEGIN SELECT RAISE(ABORT, 'a hold is never deleted'); END;

-- The number of coupon codes of each length that were ever given. The longest length is the one in use.
CREATE TABLE code_supply (
    length INTEGER PRIMARY KEY,
    given  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- An idempotency record: the answer to a request with an idempotency key. `request` is the first 16 bytes of the
-- command's SHA-256, `entry` the entry it made, `outcome` the rest of the answer as JSON. Stored by caller and key as they
-- are, and not by a hash of them: keys made one after another lie side by side, and a commit touches few pages for them.
CREATE TABLE idempotency (
    caller  TEXT NOT NULL,
    key     TEXT NOT NULL,
    request BLOB NOT NULL CHECK (length(request) = 16),
    at      INTEGER NOT NULL,
    entry   INTEGER REFERENCES entry (id),
    outcome TEXT,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;

-- An access token: a credential. Only the SHA-256 of its secret is here. `at_start` marks the one given at the last start,
-- `prefix` is where the ids of the locks begin that the role `locker` may take.
CREATE TABLE access_token (
    id          TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    role        TEXT NOT NULL CHECK (role IN ('user', 'teller', 'auditor', 'admin', 'locker')),
    user        TEXT CHECK ((user IS NOT NULL) = (role = 'user')),
    note        TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER,
    prefix      TEXT CHECK (prefix IS NULL OR role = 'locker'),
    at_start    INTEGER UNIQUE CHECK (at_start = 1)
) STRICT, WITHOUT ROWID;

-- A secret that an access token had: valid until then, and never taken again.
CREATE TABLE replaced_secret (
    secret_hash BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
    token       TEXT NOT NULL REFERENCES access_token (id),
    valid_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replaced_secret_of ON replaced_secret (token);

-- One row. `fence` numbers leases and `clock_ms` is the highest lease time ever used: neither goes back.
-- `incarnation` names this history of the file; a restored copy gets another, so that old lock tokens are refused.
-- Lease time is the machine's boot-time clock plus `boot_offset_ms`, while `boot_id` names this boot; behind a blank it has a
-- hash of the machine's name.
CREATE TABLE lock_seq (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    fence          INTEGER NOT NULL,
    clock_ms       INTEGER NOT NULL,
    incarnation    TEXT NOT NULL,
    boot_id        TEXT NOT NULL,
    boot_offset_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER lock_seq_never_goes_back BEFORE UPDATE ON lock_seq
WHEN NEW.fence < OLD.fence OR NEW.clock_ms < OLD.clock_ms
BEGIN SELECT RAISE(ABORT, 'neither the fence nor the lease clock goes back'); END;

CREATE TRIGGER lock_seq_is_one_row BEFORE INSERT ON lock_seq WHEN EXISTS (SELECT 1 FROM lock_seq)
BEGIN SELECT RAISE(ABORT, 'lock_seq is one row'); END;

CREATE TRIGGER lock_seq_is_never_deleted BEFORE DELETE ON lock_seq
BEGIN SELECT RAISE(ABORT, 'lock_seq is never deleted'); END;

-- A lock: the row is the lease. Free: no row. Held until renew_time + expire_ms, in grace until + grace_ms, then stale.
-- `secret_hash` is NULL once revoked (then expire_ms is 0 and grace_ms the delay before a client may take over).
-- A lock with `min_hold_ms` rests once its holder has released it: `secret_hash` is NULL under the same fence, expire_ms is 0,
-- and grace_ms the time until so long after the grant. Then it is free.
-- `ids` is the number of locks granted together under this fence; `holder` is a label for people, never compared.
CREATE TABLE lock (
    id          TEXT PRIMARY KEY,
    fence       INTEGER NOT NULL,
    secret_hash BLOB CHECK (length(secret_hash) = 32),
    holder      TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    renew_time  INTEGER NOT NULL,
    expire_ms   INTEGER NOT NULL CHECK (expire_ms >= 0),
    grace_ms    INTEGER NOT NULL CHECK (grace_ms >= 0),
    max_hold_ms INTEGER CHECK (max_hold_ms > 0),
    ids         INTEGER NOT NULL,
    renewals    INTEGER NOT NULL DEFAULT 0,
    restarted   INTEGER NOT NULL DEFAULT 0,      -- whether a server's start has already made this lease whole again
    created_at  INTEGER NOT NULL,
    min_hold_ms INTEGER CHECK (min_hold_ms IS NULL OR min_hold_ms > 0 AND substr(id, 1, 7) <> 'wallet/')
) STRICT, WITHOUT ROWID;
CREATE INDEX lock_fence ON lock (fence);

CREATE TRIGGER lock_fence_is_drawn BEFORE INSERT ON lock
WHEN NEW.fence > (SELECT fence FROM lock_seq)
BEGIN SELECT RAISE(ABORT, 'a fence is drawn from the counter'); END;

CREATE TRIGGER lock_fence_only_grows BEFORE UPDATE ON lock
WHEN NEW.fence < OLD.fence OR NEW.fence > (SELECT fence FROM lock_seq) OR NEW.renew_time < OLD.renew_time
  OR NEW.id <> OLD.id OR NEW.fence = OLD.fence AND NEW.secret_hash IS NOT NULL AND NEW.secret_hash IS NOT OLD.secret_hash
BEGIN SELECT RAISE(ABORT, 'a lock changes hands only to a higher fence from the counter'); END;

-- The grants, takeovers, releases and revokes of locks: append-only, but for the pruning of all but the newest 1,000 of
-- an id.
-- `secret_hash` (first 16 bytes) recognises a secret whose lease has ended.
CREATE TABLE lock_event (
    seq            INTEGER PRIMARY KEY,
    lock_id        TEXT NOT NULL,
    what           TEXT NOT NULL CHECK (what IN ('created', 'taken_over', 'released', 'revoked')),
    fence          INTEGER NOT NULL,
    previous_fence INTEGER,
    secret_hash    BLOB,
    holder         TEXT NOT NULL,
    made_by        TEXT NOT NULL,
    reason         TEXT,
    lease_ms       INTEGER NOT NULL,
    at             INTEGER NOT NULL
) STRICT;
CREATE INDEX lock_event_of ON lock_event (lock_id, fence);
CREATE INDEX lock_event_secret ON lock_event (secret_hash) WHERE what IN ('created', 'taken_over');

CREATE TRIGGER lock_event_is_never_edited BEFORE UPDATE ON lock_event
BEGIN SELECT RAISE(ABORT, 'a lock event is never edited'); END;

CREATE TRIGGER lock_event_is_pruned_only_when_old BEFORE DELETE ON lock_event
WHEN NOT EXISTS (SELECT 1 FROM lock_event WHERE lock_id = OLD.lock_id AND seq > OLD.seq LIMIT 1 OFFSET 999)
BEGIN SELECT RAISE(ABORT, 'the newest 1,000 events of a lock are kept'); END;

-- The wall time at a lease time, about once a day: age is measured by both clocks, so that a wall clock that is wrong for
-- an hour makes nothing old.
CREATE TABLE wall_note (lease_ms INTEGER PRIMARY KEY, wall_ms INTEGER NOT NULL) STRICT;

-- One row: a wall time that was taken for right, and the machine's boot-time clock then. Within one boot a wall clock that is
-- a day or more ahead of it has jumped, and its time is not written down.
CREATE TABLE wall_seen (one INTEGER PRIMARY KEY CHECK (one = 1), boot_id TEXT NOT NULL, boot_ms INTEGER NOT NULL, wall_ms INTEGER NOT NULL) STRICT;

-- The journal: a line for each change that no entry explains. Numbered without gaps; `at` never decreases along the numbers;
-- `entry` is the newest entry at that moment, so both chains are replayed in one order. `subject` is the access token, coupon
-- or wallet that was changed, `detail` what it is since, as JSON, without secrets. `hash` covers the line and the hash before.
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

-- The rows of a new file.
INSERT INTO wallet (id, created_at) VALUES ('@bank', 0), ('@holds', 0), ('@sales', 0);
INSERT INTO coupon_kind (kind, amount_off, percent_off, threshold, single_use, earned_zh, earned_en) VALUES
    ('1', 5000, NULL, 30000, 1, '同时您获取了一张满300减50的优惠券', 'and you have earned a coupon: 50 off from 300'),
    ('2', NULL, 20, 0, 0, '同时您获取了终生八折优惠', 'and you have earned 20 % off for life'),
    ('3', 1000, NULL, 0, 1, '同时您获取了10元无门槛红包哦', 'and you have earned a coupon: 10 off anything');
INSERT INTO recharge_tier VALUES (10000, '3'), (30000, '1'), (50000, '2');
INSERT INTO code_supply (length) VALUES (4);
