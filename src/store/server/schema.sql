-- The tables of a ledger in PostgreSQL: those of schema.sql at the top of the repository, which says what each is for.
-- Text is ordered by its bytes (COLLATE "C"), as SQLite orders it. Integers are 8 bytes wide. The rows of a new ledger are copied
-- from a new file, before the triggers are made.

-- One row: the version of these tables, which is that of the file with the same; the number of times that a program has begun to
-- write here, and its name. A batch of a program whose number is not the newest is not committed.
CREATE TABLE writer (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    version BIGINT NOT NULL,
    epoch   BIGINT NOT NULL,
    node    TEXT COLLATE "C" NOT NULL
);

-- Functions that SQLite has and PostgreSQL lacks.
CREATE FUNCTION max(a BIGINT, b BIGINT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE
    RETURN CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN greatest(a, b) END;
CREATE FUNCTION min(a BIGINT, b BIGINT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE
    RETURN CASE WHEN a IS NOT NULL AND b IS NOT NULL THEN least(a, b) END;
CREATE FUNCTION json_each(object TEXT) RETURNS TABLE (key TEXT, value TEXT) LANGUAGE SQL IMMUTABLE STRICT
BEGIN ATOMIC
    -- A text of PostgreSQL's has no U+0000, so a private character stands for it: on both sides of a comparison.
    SELECT each.key, each.value FROM pg_catalog.json_each_text(replace(object, '\u0000', '\uf8ff')::json) AS each;
END;

CREATE TABLE wallet (
    id         TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 64),
    balance    BIGINT NOT NULL DEFAULT 0 CHECK (balance >= 0 OR id >= '@' AND id < 'A'),
    entries    BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    newest     BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE wallet_setting (
    wallet            TEXT COLLATE "C" PRIMARY KEY REFERENCES wallet (id) CHECK (wallet < '@' OR wallet >= 'A'),
    name              TEXT COLLATE "C" CHECK (length(name) BETWEEN 1 AND 100),
    status            TEXT COLLATE "C" NOT NULL CHECK (status IN ('open', 'frozen', 'closed')),
    metadata          TEXT COLLATE "C",  -- a flat JSON object of strings
    limit_per_payment BIGINT CHECK (limit_per_payment > 0),
    limit_per_day     BIGINT CHECK (limit_per_day > 0)
);
CREATE INDEX wallet_setting_name ON wallet_setting (name) WHERE name IS NOT NULL;
CREATE INDEX wallet_setting_status ON wallet_setting (status) WHERE status <> 'open';
CREATE INDEX wallet_setting_rule ON wallet_setting (wallet)
    WHERE status <> 'open' OR limit_per_payment IS NOT NULL OR limit_per_day IS NOT NULL;

CREATE TABLE day_spending (
    wallet TEXT COLLATE "C" PRIMARY KEY REFERENCES wallet_setting (wallet),
    day    BIGINT NOT NULL,
    spent  BIGINT NOT NULL CHECK (spent >= 0)
);

CREATE TABLE entry (
    id           BIGINT PRIMARY KEY,
    at           BIGINT NOT NULL,
    kind         TEXT COLLATE "C" NOT NULL,
    from_wallet  TEXT COLLATE "C" NOT NULL,
    to_wallet    TEXT COLLATE "C" NOT NULL CHECK (to_wallet <> from_wallet),
    amount       BIGINT NOT NULL CHECK (amount > 0),
    from_balance BIGINT NOT NULL,
    to_balance   BIGINT NOT NULL,
    made_by      TEXT COLLATE "C" NOT NULL,  -- the caller: a user, an access token's id, or `@local`
    coupon       TEXT COLLATE "C",  -- used by a payment, or earned by a recharge
    gross        BIGINT CHECK (gross = amount + discount),
    discount     BIGINT CHECK (discount >= 0),
    refunds      BIGINT REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED CHECK (refunds < id),
    reference    TEXT COLLATE "C",
    metadata     TEXT COLLATE "C",  -- a flat JSON object of strings
    fence        BIGINT,  -- of the lease it was made under
    hash         BYTEA NOT NULL,  -- 32 bytes
    hold         BIGINT,  -- of a step of a hold: the number of the hold's first entry
    hold_to      TEXT COLLATE "C",  -- of a hold: its receiver
    hold_until   BIGINT  -- of a hold: its expires_at; of the capture that ends one: its own time
);
CREATE INDEX entry_from ON entry (from_wallet) WHERE from_wallet <> '@bank';
CREATE INDEX entry_to ON entry (to_wallet) WHERE to_wallet <> '@bank';
CREATE INDEX entry_refunds ON entry (refunds) WHERE refunds IS NOT NULL;
CREATE INDEX entry_reference ON entry (reference) WHERE reference IS NOT NULL;
CREATE INDEX entry_coupon ON entry (coupon) WHERE coupon IS NOT NULL;
CREATE INDEX entry_hold ON entry (hold) WHERE hold IS NOT NULL;

CREATE TABLE report_total (
    quarter BIGINT NOT NULL,
    what    TEXT COLLATE "C" NOT NULL,
    count   BIGINT NOT NULL,
    sum     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (quarter, what)
);

CREATE TABLE coupon_kind (
    kind        TEXT COLLATE "C" PRIMARY KEY,
    amount_off  BIGINT CHECK (amount_off > 0),
    percent_off BIGINT CHECK (percent_off BETWEEN 1 AND 100),
    threshold   BIGINT NOT NULL CHECK (threshold >= 0),
    single_use  BIGINT NOT NULL CHECK (single_use IN (0, 1)),
    earned_zh   TEXT COLLATE "C" NOT NULL,
    earned_en   TEXT COLLATE "C" NOT NULL,
    max_off     BIGINT CHECK (max_off IS NULL OR max_off > 0 AND amount_off IS NULL),
    valid_days  BIGINT CHECK (valid_days > 0),
    valid_from  BIGINT,
    valid_until BIGINT,
    limit_total BIGINT CHECK (limit_total > 0),
    limit_per_user BIGINT CHECK (limit_per_user > 0),
    claim_code  TEXT COLLATE "C" CHECK (length(claim_code) BETWEEN 3 AND 32),
    CHECK ((amount_off IS NULL) <> (percent_off IS NULL))
);
CREATE UNIQUE INDEX coupon_kind_claim_code ON coupon_kind (claim_code) WHERE claim_code IS NOT NULL;

CREATE TABLE coupon_given (
    kind  TEXT COLLATE "C" PRIMARY KEY REFERENCES coupon_kind (kind),
    given BIGINT NOT NULL CHECK (given >= 0)
);

CREATE TABLE recharge_tier (
    from_amount BIGINT PRIMARY KEY CHECK (from_amount > 0),
    coupon_kind TEXT COLLATE "C" REFERENCES coupon_kind (kind)
);

CREATE TABLE coupon (
    code        TEXT COLLATE "C" PRIMARY KEY,
    "user"      TEXT COLLATE "C" NOT NULL REFERENCES wallet (id),
    kind        TEXT COLLATE "C" NOT NULL,
    amount_off  BIGINT,
    percent_off BIGINT,
    threshold   BIGINT NOT NULL,
    single_use  BIGINT NOT NULL,
    granted_at  BIGINT NOT NULL,
    earned_by   BIGINT REFERENCES entry (id),  -- the recharge; NULL of one that was granted by hand
    uses        BIGINT NOT NULL DEFAULT 0 CHECK (uses >= 0 AND (uses <= 1 OR single_use = 0)),
    taken_by    BIGINT REFERENCES entry (id),
    max_off     BIGINT,
    expires_at  BIGINT
);
CREATE INDEX coupon_of_user ON coupon ("user", granted_at);
CREATE INDEX coupon_of_kind ON coupon (kind, "user");

CREATE TABLE hold (
    id          BIGINT PRIMARY KEY REFERENCES entry (id) DEFERRABLE INITIALLY DEFERRED,
    wallet      TEXT COLLATE "C" NOT NULL,
    coupon      TEXT COLLATE "C",
    captured    BIGINT NOT NULL DEFAULT 0 CHECK (captured >= 0),
    amount_left BIGINT NOT NULL CHECK (amount_left >= 0),
    ended       TEXT COLLATE "C" CHECK (ended IN ('captured', 'voided', 'expired')),
    until       BIGINT NOT NULL,
    due_ms      BIGINT NOT NULL
);
CREATE INDEX hold_of_wallet ON hold (wallet);
CREATE INDEX hold_left_of_wallet ON hold (wallet) WHERE amount_left > 0;
CREATE INDEX hold_until ON hold (until) WHERE amount_left > 0;
CREATE INDEX hold_coupon ON hold (coupon) WHERE coupon IS NOT NULL AND amount_left > 0;

CREATE TABLE code_supply (
    length BIGINT PRIMARY KEY,
    given  BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE idempotency (
    caller  TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    request BYTEA NOT NULL CHECK (length(request) = 16),
    at      BIGINT NOT NULL,
    entry   BIGINT REFERENCES entry (id),
    outcome TEXT COLLATE "C",
    PRIMARY KEY (caller, key)
);

CREATE TABLE access_token (
    id          TEXT COLLATE "C" PRIMARY KEY,
    secret_hash BYTEA NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    role        TEXT COLLATE "C" NOT NULL CHECK (role IN ('user', 'teller', 'auditor', 'admin', 'locker')),
    "user"      TEXT COLLATE "C" CHECK (("user" IS NOT NULL) = (role = 'user')),
    note        TEXT COLLATE "C",
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    revoked_at  BIGINT,
    prefix      TEXT COLLATE "C" CHECK (prefix IS NULL OR role = 'locker'),
    at_start    BIGINT UNIQUE CHECK (at_start = 1)
);

CREATE TABLE replaced_secret (
    secret_hash BYTEA PRIMARY KEY CHECK (length(secret_hash) = 32),
    token       TEXT COLLATE "C" NOT NULL REFERENCES access_token (id),
    valid_until BIGINT NOT NULL
);
CREATE INDEX replaced_secret_of ON replaced_secret (token);

CREATE TABLE lock_seq (
    one            BIGINT PRIMARY KEY CHECK (one = 1),
    fence          BIGINT NOT NULL,
    clock_ms       BIGINT NOT NULL,
    incarnation    TEXT COLLATE "C" NOT NULL,
    boot_id        TEXT COLLATE "C" NOT NULL,
    boot_offset_ms BIGINT NOT NULL
);

CREATE TABLE lock (
    id          TEXT COLLATE "C" PRIMARY KEY,
    fence       BIGINT NOT NULL,
    secret_hash BYTEA CHECK (length(secret_hash) = 32),
    holder      TEXT COLLATE "C" NOT NULL,
    create_time BIGINT NOT NULL,
    renew_time  BIGINT NOT NULL,
    expire_ms   BIGINT NOT NULL CHECK (expire_ms >= 0),
    grace_ms    BIGINT NOT NULL CHECK (grace_ms >= 0),
    max_hold_ms BIGINT CHECK (max_hold_ms > 0),
    ids         BIGINT NOT NULL,
    renewals    BIGINT NOT NULL DEFAULT 0,
    restarted   BIGINT NOT NULL DEFAULT 0,  -- whether a server's start has already made this lease whole again
    created_at  BIGINT NOT NULL,
    min_hold_ms BIGINT CHECK (min_hold_ms IS NULL OR min_hold_ms > 0 AND substr(id, 1, 7) <> 'wallet/')
);
CREATE INDEX lock_fence ON lock (fence);

CREATE TABLE lock_event (
    seq            BIGINT PRIMARY KEY,
    lock_id        TEXT COLLATE "C" NOT NULL,
    what           TEXT COLLATE "C" NOT NULL CHECK (what IN ('created', 'taken_over', 'released', 'revoked')),
    fence          BIGINT NOT NULL,
    previous_fence BIGINT,
    secret_hash    BYTEA,
    holder         TEXT COLLATE "C" NOT NULL,
    made_by        TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C",
    lease_ms       BIGINT NOT NULL,
    at             BIGINT NOT NULL
);
CREATE INDEX lock_event_of ON lock_event (lock_id, fence);
CREATE INDEX lock_event_secret ON lock_event (secret_hash) WHERE what IN ('created', 'taken_over');

CREATE TABLE wall_note (lease_ms BIGINT PRIMARY KEY, wall_ms BIGINT NOT NULL);

CREATE TABLE wall_seen (one BIGINT PRIMARY KEY CHECK (one = 1), boot_id TEXT COLLATE "C" NOT NULL, boot_ms BIGINT NOT NULL, wall_ms BIGINT NOT NULL);

CREATE TABLE journal (
    seq     BIGINT PRIMARY KEY,
    at      BIGINT NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL,
    what    TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C",
    entry   BIGINT NOT NULL,
    detail  TEXT COLLATE "C" NOT NULL,
    hash    BYTEA NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX journal_subject ON journal (subject, seq) WHERE subject IS NOT NULL;
CREATE INDEX journal_what ON journal (what, seq);
