//! The invariants that one SQL query each can check.

use crate::ledger::hold::FROM_ENTRIES;
use crate::store::schema::{HOLDS_SINCE, RESTS_SINCE, ROTATION_SINCE, SETTINGS_SINCE};
use std::ops::Range;

const SYSTEM_WALLETS: Range<i32> = 4..i32::MAX;
const ROTATION: Range<i32> = ROTATION_SINCE..i32::MAX;
const BEFORE_SETTINGS: Range<i32> = 1..SETTINGS_SINCE;
const SETTINGS: Range<i32> = SETTINGS_SINCE..i32::MAX;
const RESTS: Range<i32> = RESTS_SINCE..i32::MAX;
const HOLDS: Range<i32> = HOLDS_SINCE..i32::MAX;

/// The versions of the file that have what is asked for, and a question as those of [`QUESTIONS`].
pub(crate) const QUESTIONS_OF_VERSIONS: &[(Range<i32>, &str, &str)] = &[
    (
        RESTS,
        "a lock rests for min_hold_ms after its grant at most",
        "SELECT 'lock ' || id || ' rests until ' || (renew_time + expire_ms + grace_ms - create_time) || ' ms after its grant, not '
         || min_hold_ms FROM lock WHERE secret_hash IS NULL AND (expire_ms <> 0 OR renew_time + grace_ms > create_time + min_hold_ms)",
    ),
    (
        RESTS,
        "a lock rests if it was released",
        "SELECT 'lock ' || id || ' of fence ' || fence || ' rests without a release, or was released and does not rest' FROM lock
         WHERE secret_hash IS NULL AND (min_hold_ms IS NOT NULL) <> EXISTS
           (SELECT 1 FROM lock_event e WHERE e.lock_id = lock.id AND e.fence = lock.fence AND e.what = 'released')",
    ),
    (
        ROTATION,
        "a prefix of locks belongs to the role locker",
        "SELECT 'access token ' || id || ' of the role ' || role || ' has the prefix ' || prefix FROM access_token
         WHERE prefix IS NOT NULL AND (role <> 'locker' OR length(CAST(prefix AS BLOB)) NOT BETWEEN 1 AND 255 OR substr(prefix, 1, 7) = 'wallet/')",
    ),
    (
        SYSTEM_WALLETS,
        "a system wallet is written up to its last entry",
        "SELECT 'wallet ' || id || ' was written at entry ' || newest || ', which is not there or not its last one' FROM wallet w
     WHERE id >= '@' AND id < 'A' AND (newest NOT BETWEEN 0 AND (SELECT coalesce(max(id), 0) FROM entry)
       OR EXISTS (SELECT 1 FROM entry WHERE id > w.newest AND w.id IN (from_wallet, to_wallet)))
     UNION ALL SELECT 'wallet ' || id || ' is a user''s and says ' || newest FROM wallet
     WHERE (id < '@' OR id >= 'A') AND newest <> 0",
    ),
    (
        ROTATION,
        "a replaced secret was an access token's and is in use no more",
        "SELECT 'a secret of access token ' || r.token || ' was replaced, and the token is not there' FROM replaced_secret r
         LEFT JOIN access_token t ON t.id = r.token WHERE t.id IS NULL
         UNION ALL SELECT 'access token ' || t.id || ' has a secret that was replaced' FROM replaced_secret r
         JOIN access_token t ON t.secret_hash = r.secret_hash",
    ),
    (
        BEFORE_SETTINGS,
        "a payment's coupon is the payer's, and its terms make the price",
        "SELECT 'entry ' || e.id || ' was paid with coupon ' || e.coupon || ' against its terms'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.kind = 'pay' AND e.coupon IS NOT NULL AND (c.code IS NULL OR c.user <> e.from_wallet OR e.gross < c.threshold
           OR e.amount <> max(1, e.gross - coalesce(c.amount_off, (e.gross * c.percent_off + 50) / 100)))",
    ),
    (
        SETTINGS,
        "a payment's coupon is the payer's, and its terms make the price",
        "SELECT 'entry ' || e.id || ' was paid with coupon ' || e.coupon || ' against its terms'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.kind = 'pay' AND e.coupon IS NOT NULL AND (c.code IS NULL OR c.user <> e.from_wallet OR e.gross < c.threshold
           OR e.amount <> max(1, e.gross - coalesce(c.amount_off, min((e.gross * c.percent_off + 50) / 100, coalesce(c.max_off, 9223372036854775807)))))",
    ),
    (
        SETTINGS,
        "a coupon is used before it ends",
        "SELECT 'entry ' || e.id || ' was paid with coupon ' || e.coupon || ' after it had ended'
         FROM entry e JOIN coupon c ON c.code = e.coupon WHERE e.kind = 'pay' AND c.expires_at <= e.at
         UNION ALL SELECT 'coupon ' || code || ' ends before it was granted' FROM coupon WHERE expires_at <= granted_at",
    ),
    (
        SETTINGS,
        "a coupon has the terms of a coupon",
        "SELECT 'coupon ' || code || ' takes off at most ' || max_off || ' cents' FROM coupon WHERE max_off < 1 OR max_off IS NOT NULL AND amount_off IS NOT NULL
         UNION ALL SELECT 'coupon kind ' || kind || ' has limits that cannot be' FROM coupon_kind
         WHERE max_off < 1 OR max_off IS NOT NULL AND amount_off IS NOT NULL OR valid_days < 1 OR limit_total < 1 OR limit_per_user < 1
           OR valid_from >= valid_until OR length(claim_code) NOT BETWEEN 3 AND 32 OR claim_code GLOB '*[^-A-Z0-9]*'
         UNION ALL SELECT 'tier ' || t.from_amount || ' gives coupon kind ' || k.kind || ', which has a claim code'
         FROM recharge_tier t JOIN coupon_kind k ON k.kind = t.coupon_kind WHERE k.claim_code IS NOT NULL",
    ),
    (
        SETTINGS,
        "coupons of a kind with a limit are counted",
        "SELECT 'coupon kind ' || k.kind || ' counts ' || coalesce(g.given, 'no') || ' coupons; there are ' || count(c.code)
         FROM coupon_kind k LEFT JOIN coupon_given g ON g.kind = k.kind LEFT JOIN coupon c ON c.kind = k.kind
         WHERE k.limit_total IS NOT NULL GROUP BY k.kind, g.given HAVING g.given IS NOT count(c.code)
         UNION ALL SELECT 'coupons of kind ' || g.kind || ' are counted, and it has no limit' FROM coupon_given g
         LEFT JOIN coupon_kind k ON k.kind = g.kind WHERE k.limit_total IS NULL",
    ),
    (
        SETTINGS,
        "a wallet with settings is there, and a user's",
        "SELECT 'there are settings of ' || s.wallet FROM wallet_setting s LEFT JOIN wallet w ON w.id = s.wallet
     WHERE w.id IS NULL OR s.wallet >= '@' AND s.wallet < 'A'",
    ),
    (
        SETTINGS,
        "a wallet has permitted settings",
        "SELECT 'wallet ' || wallet || ' has the status ' || status || ' or a limit or a name that cannot be' FROM wallet_setting
     WHERE status NOT IN ('open', 'frozen', 'closed') OR limit_per_payment NOT BETWEEN 1 AND 100000000000000
       OR limit_per_day NOT BETWEEN 1 AND 100000000000000 OR length(name) NOT BETWEEN 1 AND 100
     UNION ALL SELECT 'wallet ' || wallet || ' has a row of settings and none is set' FROM wallet_setting
     WHERE status = 'open' AND coalesce(name, metadata, limit_per_payment, limit_per_day) IS NULL",
    ),
    (
        SETTINGS,
        "a closed wallet is empty",
        "SELECT 'wallet ' || w.id || ' is closed and has ' || w.balance || ' cents' FROM wallet_setting s JOIN wallet w ON w.id = s.wallet
     WHERE s.status = 'closed' AND w.balance <> 0",
    ),
    (
        SETTINGS,
        "a wallet with a limit per day counts what it spends",
        "SELECT 'wallet ' || s.wallet || ' has a limit per day and no count' FROM wallet_setting s LEFT JOIN day_spending d ON d.wallet = s.wallet
     WHERE s.limit_per_day IS NOT NULL AND d.wallet IS NULL
     UNION ALL SELECT 'wallet ' || d.wallet || ' has a count and no limit per day' FROM day_spending d LEFT JOIN wallet_setting s ON s.wallet = d.wallet
     WHERE s.limit_per_day IS NULL",
    ),
    (
        HOLDS,
        "@holds has what is left of all holds",
        "SELECT '@holds has ' || w.balance || ' cents; of the holds ' || l.amount || ' are left'
         FROM wallet w, (SELECT coalesce(sum(amount_left), 0) AS amount FROM hold) l WHERE w.id = '@holds' AND w.balance <> l.amount",
    ),
    (
        HOLDS,
        "a hold has steps: captures by its receiver, and one release at the end",
        "SELECT 'entry ' || s.id || ', ' || s.kind || ', is not a step of hold ' || s.hold
         FROM entry s LEFT JOIN entry h ON h.id = s.hold AND h.kind = 'hold'
         WHERE s.hold IS NOT NULL AND s.kind <> 'hold' AND (h.id IS NULL OR s.id < h.id
           OR s.kind = 'capture' AND (s.to_wallet <> h.hold_to OR s.coupon IS NOT h.coupon OR s.gross IS NOT h.gross
             OR s.discount IS NOT h.discount OR h.coupon IS NOT NULL AND s.amount <> h.amount)
           OR s.kind = 'release' AND s.to_wallet <> h.from_wallet
           OR EXISTS (SELECT 1 FROM entry p WHERE p.hold = s.hold AND p.hold IS NOT NULL AND p.id < s.id
             AND (p.kind = 'release' OR p.kind = 'capture' AND p.hold_until IS NOT NULL AND s.kind = 'capture')))",
    ),
    (
        HOLDS,
        "a refund of a capture goes back to the wallet that held",
        "SELECT 'entry ' || r.id || ' refunds entry ' || o.id || ' to another wallet than held'
         FROM entry r JOIN entry o ON o.id = r.refunds LEFT JOIN entry h ON h.id = o.hold
         WHERE r.refunds IS NOT NULL AND o.kind = 'capture' AND r.to_wallet IS NOT h.from_wallet",
    ),
    (
        HOLDS,
        "a final capture or a release leaves nothing open",
        "SELECT 'hold ' || id || ' has ended with ' || amount_left || ' cents left' FROM hold
         WHERE amount_left > 0 AND ended IN ('voided', 'expired')
         UNION ALL SELECT 'hold ' || id || ' has nothing left and has not ended' FROM hold WHERE amount_left = 0 AND ended IS NULL",
    ),
    (
        HOLDS,
        // The lease clock is stored once an hour at least, in the commit of what is made then. A hold that is put off is due
        // at most its own time and a day behind the clock.
        "a hold that is open is due at its end, by the lease clock",
        "SELECT 'hold ' || h.id || ' is due later than its expires_at allows: at ' || h.due_ms || ' ms, and the lease clock says ' || c.clock_ms
         FROM hold h JOIN entry e ON e.id = h.id, lock_seq c
         WHERE h.amount_left > 0 AND h.due_ms - (e.hold_until - e.at) > c.clock_ms + 86400000",
    ),
    (
        HOLDS,
        "a hold's coupon is the payer's, and its terms make the price",
        "SELECT 'entry ' || e.id || ' was held with coupon ' || e.coupon || ' against its terms'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.hold IS NOT NULL AND e.kind = 'hold' AND e.coupon IS NOT NULL AND (c.code IS NULL OR c.user <> e.from_wallet
           OR e.gross < c.threshold OR c.earned_by > e.id OR e.amount <> max(1, e.gross - coalesce(c.amount_off,
           min((e.gross * c.percent_off + 50) / 100, coalesce(c.max_off, 9223372036854775807)))))
         UNION ALL
         SELECT 'entry ' || e.id || ' was captured with coupon ' || e.coupon || ' after that was taken back'
         FROM entry e JOIN coupon c ON c.code = e.coupon WHERE e.hold IS NOT NULL AND e.kind = 'capture' AND c.taken_by < e.id",
    ),
    (
        HOLDS,
        "a closed wallet is empty",
        "SELECT 'wallet ' || s.wallet || ' is closed and has ' || sum(h.amount_left) || ' cents reserved'
         FROM wallet_setting s JOIN hold h ON h.wallet = s.wallet WHERE s.status = 'closed' AND h.amount_left > 0 GROUP BY s.wallet",
    ),
    (
        HOLDS,
        "a coupon for one payment is in one hold at most, and not used besides",
        "SELECT 'coupon ' || c.code || ' is in ' || count(*) || ' holds and has ' || c.uses || ' uses'
         FROM hold h JOIN coupon c ON c.code = h.coupon
         WHERE h.coupon IS NOT NULL AND h.amount_left > 0 AND c.single_use GROUP BY c.code, c.uses HAVING count(*) + c.uses > 1",
    ),
];

/// Returns a row for each hold that is not as its entries say. Since [`HOLDS_SINCE`].
pub(crate) fn holds_against_entries() -> String {
    let rows = "SELECT id, wallet, coupon, captured, amount_left, ended, until FROM hold";
    format!(
        "SELECT 'hold ' || id || ' says otherwise than its entries' FROM (SELECT * FROM ({rows}) EXCEPT {FROM_ENTRIES}) \
         UNION ALL SELECT 'hold ' || id || ' is missing or says otherwise' FROM (SELECT * FROM ({FROM_ENTRIES}) EXCEPT {rows})"
    )
}

/// Each query returns no rows in a sound file; each row that it returns is a sentence.
pub(crate) const QUESTIONS: &[(&str, &str)] = &[
    (
        "the system's wallets are there",
        "SELECT 'wallet ' || column1 || ' is missing' FROM (VALUES ('@bank'), ('@holds'), ('@sales'))
         WHERE column1 NOT IN (SELECT id FROM wallet)",
    ),
    (
        "what is referred to is there",
        "SELECT 'a row of table ' || \"table\" || ' refers to a row of table ' || parent || ' that is not there'
         FROM (SELECT * FROM pragma_foreign_key_check('coupon') UNION ALL SELECT * FROM pragma_foreign_key_check('recharge_tier'))",
    ),
    (
        "refunds stay within their originals",
        "SELECT 'entry ' || o.id || ' of ' || o.amount || ' cents was refunded with ' || sum(r.amount)
         FROM entry r JOIN entry o ON o.id = r.refunds WHERE r.refunds IS NOT NULL GROUP BY o.id HAVING sum(r.amount) > o.amount",
    ),
    (
        "a refund goes back the way its original came",
        "SELECT 'entry ' || r.id || ' refunds entry ' || r.refunds || ' between other wallets'
         FROM entry r LEFT JOIN entry o ON o.id = r.refunds
         WHERE r.refunds IS NOT NULL AND (o.id IS NULL OR o.kind IN ('refund', 'hold', 'release') OR r.from_wallet <> o.to_wallet
           OR r.to_wallet <> o.from_wallet AND o.kind <> 'capture')",
    ),
    (
        "a coupon is used after it was earned and before it is taken back",
        "SELECT 'entry ' || e.id || ' was paid with coupon ' || e.coupon || ' before it was earned, or after it was taken back'
         FROM entry e JOIN coupon c ON c.code = e.coupon WHERE e.kind = 'pay' AND (c.earned_by > e.id OR c.taken_by < e.id)",
    ),
    (
        "a recharge's coupon is the one it earned",
        "SELECT 'entry ' || e.id || ' earned coupon ' || e.coupon || ', which does not name that entry'
         FROM entry e LEFT JOIN coupon c ON c.code = e.coupon
         WHERE e.kind = 'recharge' AND e.coupon IS NOT NULL AND (c.earned_by IS NOT e.id OR c.user <> e.to_wallet)
         UNION ALL
         SELECT 'coupon ' || c.code || ' says entry ' || c.earned_by || ' earned it, which does not name that coupon'
         FROM coupon c LEFT JOIN entry e ON e.id = c.earned_by
         WHERE c.earned_by IS NOT NULL AND (e.kind IS NOT 'recharge' OR e.coupon IS NOT c.code)",
    ),
    (
        "a coupon counts the payments that use it",
        "WITH refunded AS (SELECT refunds AS id, sum(amount) AS amount FROM entry WHERE refunds IS NOT NULL GROUP BY refunds),
              used AS (SELECT e.coupon AS code, count(*) AS uses FROM entry e LEFT JOIN refunded r ON r.id = e.id
                       WHERE e.kind IN ('pay', 'capture') AND e.coupon IS NOT NULL AND coalesce(r.amount, 0) < e.amount GROUP BY e.coupon)
         SELECT 'coupon ' || c.code || ' counts ' || c.uses || ' uses; the entries say ' || coalesce(u.uses, 0)
         FROM coupon c LEFT JOIN used u ON u.code = c.code WHERE c.uses <> coalesce(u.uses, 0)",
    ),
    (
        "a coupon taken back was earned by a refunded recharge",
        "SELECT 'coupon ' || c.code || ' was taken back by entry ' || c.taken_by || ', which does not refund its recharge'
         FROM coupon c LEFT JOIN entry r ON r.id = c.taken_by WHERE c.taken_by IS NOT NULL AND r.refunds IS NOT c.earned_by",
    ),
    (
        "a refunded recharge's coupon is taken back",
        "SELECT DISTINCT 'coupon ' || c.code || ' was earned by entry ' || c.earned_by || ', which is refunded, and was not taken back'
         FROM coupon c JOIN entry r ON r.refunds = c.earned_by WHERE c.taken_by IS NULL",
    ),
    ("a tier begins above zero", "SELECT 'a tier begins at ' || from_amount FROM recharge_tier WHERE from_amount < 1"),
    (
        "codes of each length are counted",
        "SELECT 'codes of length ' || length || ' were given ' || coalesce(s.given, 'no') || ' times; there are ' || coalesce(t.codes, 0)
         FROM code_supply s FULL JOIN (SELECT length(code) AS length, count(*) AS codes FROM coupon GROUP BY 1) t USING (length)
         WHERE s.given IS NOT coalesce(t.codes, 0)
         UNION ALL SELECT 'codes of no length are counted' WHERE NOT EXISTS (SELECT 1 FROM code_supply)",
    ),
    (
        "there is one counter of fences and one clock of leases",
        "SELECT 'there are ' || count(*) || ' of them' FROM lock_seq HAVING count(*) <> 1
         UNION ALL SELECT 'it is row ' || one FROM lock_seq WHERE one <> 1
         UNION ALL SELECT 'the counter says ' || fence FROM lock_seq WHERE fence NOT BETWEEN 0 AND 1 << 62
         UNION ALL SELECT 'the clock says ' || clock_ms FROM lock_seq WHERE clock_ms NOT BETWEEN 0 AND 1 << 53
         UNION ALL SELECT 'the clock is ' || boot_offset_ms || ' ms ahead of the machine' FROM lock_seq
         WHERE boot_offset_ms NOT BETWEEN -(1 << 53) AND 1 << 53",
    ),
    (
        "a history of locks has a name",
        "SELECT 'it is called ' || incarnation FROM lock_seq WHERE length(incarnation) <> 16 OR incarnation GLOB '*[^0-9a-f]*'",
    ),
    (
        "an access token has a role, and a user if that is its role",
        "SELECT 'access token ' || id || ' has the role ' || role || ' of ' || coalesce(user, 'no user') FROM access_token
         WHERE role NOT IN ('user', 'locker', 'teller', 'auditor', 'admin') OR (user IS NOT NULL) <> (role = 'user') OR length(secret_hash) <> 32
           OR length(user) NOT BETWEEN 1 AND 64 OR user GLOB '*[^-A-Za-z0-9._]*' OR user IN ('.', '..')",
    ),
    (
        "fences are numbered from 1",
        "SELECT 'lock ' || id || ' has fence ' || fence FROM lock WHERE fence < 1
         UNION ALL SELECT 'lock event ' || seq || ' has fence ' || fence FROM lock_event WHERE fence < 1",
    ),
    (
        "lock events are numbered from 1 and of a kind",
        "SELECT 'there is a lock event ' || seq || ', ' || what FROM lock_event
         WHERE seq < 1 OR what NOT IN ('created', 'taken_over', 'released', 'revoked')",
    ),
    (
        "a lease has no more locks than were granted together",
        "SELECT 'fence ' || fence || ' has ' || count(*) || ' locks, of ' || min(ids) || ' granted' FROM lock
         GROUP BY fence HAVING count(*) > min(ids)",
    ),
    (
        "no fence is beyond the counter",
        "SELECT 'fence ' || fence || ' of lock ' || id || ' is beyond the counter' FROM lock WHERE fence > (SELECT fence FROM lock_seq)
         UNION ALL SELECT 'fence ' || fence || ' of lock event ' || seq || ' is beyond the counter' FROM lock_event WHERE fence > (SELECT fence FROM lock_seq)",
    ),
    (
        "grants grow in fence",
        "SELECT 'lock event ' || seq || ' grants fence ' || fence || ' after a higher one' FROM
           (SELECT seq, fence, lag(fence) OVER (PARTITION BY lock_id ORDER BY seq) AS before FROM lock_event WHERE what <> 'released') WHERE fence <= before",
    ),
    (
        "a lease ends within max_hold_ms",
        "SELECT 'lock ' || id || ' may be held ' || max_hold_ms || ' ms and is held for ' || (renew_time + expire_ms - create_time) FROM lock
         WHERE secret_hash IS NOT NULL AND renew_time + expire_ms > create_time + max_hold_ms",
    ),
    (
        "no lease is from the future",
        "SELECT 'lock ' || id || ' was granted or renewed at a later time than now' FROM lock
         WHERE renew_time > (SELECT clock_ms FROM lock_seq) OR create_time > renew_time",
    ),
];
