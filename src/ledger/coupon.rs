//! Coupons: the recharge tiers that earn them, their effect on a price, and their owners.
//!
//! Tiers and kinds are rows that an admin can change; a coupon keeps the terms it was granted under.

use crate::clock::rfc3339;
use crate::error::{Error, ErrorName};
use crate::id::{ClaimCode, CouponCode, EntryId, UserId};
use crate::money::{Cents, Money};
use crate::tx::{Row, RowResult, Tables, WriteTx, params};

/// The effect of a coupon on a price.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CouponTerms {
    /// The amount or share taken off the price.
    pub off: Discount,
    /// The smallest price it can be used for; 0 for any.
    pub threshold: Cents,
    /// Usable for one payment only; otherwise for any number.
    pub single_use: bool,
    /// The most that a percentage takes off.
    pub max_off: Option<Money>,
}

/// A discount: an amount or a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discount {
    /// A fixed amount.
    Amount(Money),
    /// 1 to 100 per cent.
    Percent(i64),
}

/// A coupon kind: terms under a name, and the sentences for a user who earns one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouponKind {
    /// Its name, 1–16 characters.
    pub kind: String,
    /// The terms that its next coupons get.
    pub terms: CouponTerms,
    /// The sentence in Chinese.
    pub earned_zh: String,
    /// The sentence in English.
    pub earned_en: String,
    /// Its dates and limits.
    pub limits: KindLimits,
}

/// The dates and limits of a coupon kind. They bound its next coupons, and change none that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindLimits {
    /// Days after its grant on which a coupon ends.
    pub valid_days: Option<i64>,
    /// The first moment at which coupons are given, in milliseconds since 1970.
    pub valid_from: Option<i64>,
    /// The moment from which none is given, and at which all end.
    pub valid_until: Option<i64>,
    /// The most coupons that may ever be given under the kind's name.
    pub total: Option<i64>,
    /// The most of them for one user.
    pub per_user: Option<i64>,
    /// The public code for which any user gets one.
    pub claim_code: Option<ClaimCode>,
}

/// A recharge tier: from this amount on (and below the next tier), a recharge earns a coupon of this kind, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// The smallest recharge of this tier.
    pub from: Money,
    /// The kind of the coupon it earns.
    pub kind: Option<String>,
}

/// A user's right to a discount.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let cashbox = cashbox::Cashbox::open(folder.path().join("cashbox.db"))?;
/// # let alice: cashbox::UserId = "alice".parse()?;
/// use cashbox::Discount;
///
/// let coupon = cashbox.recharge(&alice, "300".parse()?)?.coupon.ok_or("no coupon earned")?;
/// assert_eq!(coupon.terms.off, Discount::Amount("50".parse()?));
/// assert!(coupon.terms.single_use && coupon.uses == 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Coupon {
    /// Its code.
    pub code: CouponCode,
    /// Its owner.
    pub user: UserId,
    /// The kind it was granted as.
    pub kind: String,
    /// The terms it was granted under.
    pub terms: CouponTerms,
    /// Time of the grant, in milliseconds since 1970.
    pub granted_at: i64,
    /// The recharge that earned it, if one did.
    pub earned_by: Option<EntryId>,
    /// Number of payments that used it and are not refunded in full.
    pub uses: i64,
    /// The refund that took it back.
    pub taken_by: Option<EntryId>,
    /// The moment from which it cannot be used, in milliseconds since 1970.
    pub expires_at: Option<i64>,
    /// Of a coupon for one payment: the hold whose price was made with it, until that is captured or given back.
    pub reserved_by: Option<EntryId>,
}

/// The cost of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    /// The amount paid: never below 0.01.
    pub amount: Money,
    /// The difference to the price.
    pub discount: Cents,
}

impl CouponTerms {
    /// Terms of a coupon kind.
    #[doc(hidden)]
    pub fn new(off: Discount, threshold: Cents, single_use: bool) -> CouponTerms {
        CouponTerms { off, threshold, single_use, max_off: None }
    }

    /// Takes the discount off `gross`, rounded half-up to the cent; one cent is always paid.
    fn price(&self, gross: Money) -> Price {
        let off = match self.off {
            Discount::Amount(off) => off.cents(),
            Discount::Percent(percent) => {
                let off = gross.percent(percent);
                self.max_off.map_or(off, |most| off.min(most.cents()))
            }
        };
        let amount = Money::from_cents(gross.cents() - off).unwrap_or(Money::MIN);
        Price { amount, discount: Cents(gross.cents() - amount.cents()) }
    }
}

/// The state of a coupon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CouponState {
    /// It can be used for a payment.
    Usable,
    /// It is for one payment, and a hold has it.
    Reserved,
    /// It was for one payment, and is used.
    Used,
    /// Its time has ended.
    Expired,
    /// The recharge that earned it was refunded.
    TakenBack,
}

impl CouponState {
    /// Each state.
    pub(crate) const ALL: [CouponState; 5] =
        [CouponState::Usable, CouponState::Reserved, CouponState::Used, CouponState::Expired, CouponState::TakenBack];

    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            CouponState::Usable => "usable",
            CouponState::Reserved => "reserved",
            CouponState::Used => "used",
            CouponState::Expired => "expired",
            CouponState::TakenBack => "taken_back",
        }
    }
}

impl Coupon {
    /// Its state at that time, in milliseconds since 1970. The columns of lists compute the same in SQL.
    pub fn state(&self, at: i64) -> CouponState {
        match (self.taken_by, self.terms.single_use && self.uses > 0, self.reserved_by) {
            (Some(_), ..) => CouponState::TakenBack,
            (None, true, _) => CouponState::Used,
            (None, false, Some(_)) => CouponState::Reserved,
            (None, false, None) if self.expires_at.is_some_and(|end| end <= at) => CouponState::Expired,
            (None, false, None) => CouponState::Usable,
        }
    }

    /// The cost of a payment of `gross` with it at that time, or the reason it does not apply.
    pub(crate) fn price(&self, gross: Money, at: i64) -> Result<Price, Error> {
        let code = &self.code;
        match self.state(at) {
            CouponState::Usable => {}
            CouponState::Reserved => {
                let hold = self.reserved_by.map(|hold| hold.0);
                let detail = format!("coupon {code} is in a hold, and usable again when that is voided or expires");
                let error = Error::new(ErrorName::CouponNotApplicable, detail);
                return Err(error.with("state", CouponState::Reserved.as_str()).with("hold", hold));
            }
            CouponState::Used => {
                return Err(Error::new(ErrorName::CouponUsed, format!("coupon {code} has been used")));
            }
            CouponState::Expired => {
                let end = self.expires_at.map(rfc3339);
                let detail = format!("coupon {code} has ended at {}", end.as_deref().unwrap_or_default());
                return Err(Error::new(ErrorName::CouponExpired, detail).with("expires_at", end));
            }
            CouponState::TakenBack => {
                let detail = format!("coupon {code} was taken back when the recharge that earned it was refunded");
                return Err(Error::new(ErrorName::CouponNotApplicable, detail));
            }
        }
        if gross.cents() < self.terms.threshold.0 {
            let threshold = self.terms.threshold.to_string();
            let detail = format!("coupon {code} is for payments of at least {threshold}, not {gross}");
            return Err(Error::new(ErrorName::CouponNotApplicable, detail).with("threshold", threshold));
        }
        let price = self.terms.price(gross);
        if price.discount.0 == 0 {
            let detail = format!("coupon {code} takes nothing off a payment of {gross}; pay without it and keep it");
            return Err(Error::new(ErrorName::CouponNotApplicable, detail));
        }
        Ok(price)
    }

    /// The coupon as it was when it was granted: a repeated answer shows it so.
    pub fn when_granted(self) -> Coupon {
        Coupon { uses: 0, taken_by: None, reserved_by: None, ..self }
    }

    pub(super) fn read(row: &Row<'_>) -> RowResult<Coupon> {
        Ok(Coupon {
            code: row.get(0)?,
            user: row.get(1)?,
            kind: row.get(2)?,
            terms: read_terms(row, 3, 11)?,
            granted_at: row.get(7)?,
            earned_by: row.get(8)?,
            uses: row.get(9)?,
            taken_by: row.get(10)?,
            expires_at: row.get(12)?,
            reserved_by: row.get(13)?,
        })
    }
}

macro_rules! coupon_columns {
    () => {
        "code, coupon.user, kind, amount_off, percent_off, threshold, single_use, granted_at, earned_by, uses, taken_by, \
         max_off, expires_at, CASE WHEN single_use <> 0 THEN (SELECT hold.id FROM hold WHERE hold.coupon = coupon.code \
         AND hold.coupon IS NOT NULL AND amount_left > 0) END"
    };
}
pub(super) use coupon_columns;

/// The state of a coupon at the time `$1`, as text.
macro_rules! coupon_state {
    () => {
        "CASE WHEN taken_by IS NOT NULL THEN 'taken_back' WHEN single_use <> 0 AND uses > 0 THEN 'used' \
         WHEN single_use <> 0 AND EXISTS (SELECT 1 FROM hold WHERE hold.coupon = coupon.code AND hold.coupon IS NOT NULL \
         AND amount_left > 0) THEN 'reserved' WHEN expires_at <= $1 THEN 'expired' ELSE 'usable' END"
    };
}
pub(super) use coupon_state;

/// True for a coupon that can be used at the time of that parameter.
macro_rules! coupon_is_usable {
    ($time:literal) => {
        concat!(
            "taken_by IS NULL AND (single_use = 0 OR uses = 0 AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.coupon = coupon.code \
             AND hold.coupon IS NOT NULL AND amount_left > 0)) AND (expires_at IS NULL OR expires_at > ",
            $time,
            ")"
        )
    };
}
pub(super) use coupon_is_usable;

fn read_terms(row: &Row<'_>, column: usize, max_off: usize) -> RowResult<CouponTerms> {
    let off = match row.get::<Option<Money>>(column)? {
        Some(amount) => Discount::Amount(amount),
        None => Discount::Percent(row.get(column + 1)?),
    };
    let (threshold, single_use) = (Cents(row.get(column + 2)?), row.get(column + 3)?);
    Ok(CouponTerms { off, threshold, single_use, max_off: row.get(max_off)? })
}

impl Discount {
    fn columns(self) -> (Option<Money>, Option<i64>) {
        match self {
            Discount::Amount(amount) => (Some(amount), None),
            Discount::Percent(percent) => (None, Some(percent)),
        }
    }
}

/// The coupon of that code.
pub(crate) fn coupon(tx: &Tables<'_>, code: &CouponCode) -> Result<Coupon, Error> {
    let sql = concat!("SELECT ", coupon_columns!(), " FROM coupon WHERE code = $1");
    tx.one(sql, params![code], Coupon::read)?.ok_or_else(|| not_found(code))
}

/// The coupon of that code if it is the user's; another user's is answered as one that does not exist.
pub(crate) fn coupon_of(tx: &Tables<'_>, code: &CouponCode, user: &UserId) -> Result<Coupon, Error> {
    let coupon = coupon(tx, code)?;
    if coupon.user == *user { Ok(coupon) } else { Err(not_found(code)) }
}

/// The refusal for a coupon that does not exist or belongs to another user.
fn not_found(code: &CouponCode) -> Error {
    Error::new(ErrorName::CouponNotFound, format!("there is no coupon {code} for this user"))
}

/// Refuses if no coupon of that kind may be given to the user: out of its dates, or as many as may be were given.
pub(super) fn check_available(tx: &WriteTx<'_>, kind: &CouponKind, user: &UserId) -> Result<(), Error> {
    let KindLimits { valid_from, valid_until, total, per_user, .. } = kind.limits;
    let (name, now) = (&kind.kind, tx.steady_wall_ms());
    let not_now = |detail: String| Err(Error::new(ErrorName::CouponNotApplicable, detail));
    if let Some(from) = valid_from.filter(|from| now < *from) {
        return not_now(format!("coupons of kind {name} are given from {} on", rfc3339(from)));
    }
    if let Some(until) = valid_until.filter(|until| *until <= now) {
        return not_now(format!("coupons of kind {name} were given until {}", rfc3339(until)));
    }
    let none_left = |limit: i64, detail: String| Err(Error::new(ErrorName::CouponLimit, detail).with("limit", limit));
    if let Some(limit) = total {
        let given = "SELECT given FROM coupon_given WHERE kind = $1";
        let given: Option<i64> = tx.one(given, params![name], |row| row.get(0))?;
        if given.is_none_or(|given| given >= limit) {
            return none_left(limit, format!("all {limit} coupons of kind {name} were given"));
        }
    }
    if let Some(limit) = per_user {
        let own = "SELECT count(*) FROM (SELECT 1 FROM coupon WHERE kind = $1 AND coupon.user = $2 LIMIT $3) AS own";
        let own: Option<i64> = tx.one(own, params![name, user, limit], |row| row.get(0))?;
        if own.is_none_or(|own| own >= limit) {
            return none_left(limit, format!("{user} has got {limit} of kind {name}, and no user gets more"));
        }
    }
    Ok(())
}

/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Grants the user a coupon of that kind under a code from [`draw_code`].
pub(super) fn grant(
    tx: &WriteTx<'_>,
    code: CouponCode,
    user: &UserId,
    kind: &CouponKind,
    earned_by: Option<EntryId>,
) -> Result<Coupon, Error> {
    let granted_at = tx.steady_wall_ms();
    let (amount_off, percent_off) = kind.terms.off.columns();
    let CouponKind { kind, terms, limits, .. } = kind.clone();
    let by_days = limits.valid_days.map(|days| granted_at.saturating_add(days.saturating_mul(DAY_MS)));
    let expires_at = by_days.into_iter().chain(limits.valid_until).min();
    tx.execute_one(
        "INSERT INTO coupon (code, \"user\", kind, amount_off, percent_off, threshold, single_use, granted_at, earned_by, max_off, \
         expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            code,
            user,
            kind,
            amount_off,
            percent_off,
            terms.threshold.0,
            terms.single_use,
            granted_at,
            earned_by,
            terms.max_off,
            expires_at
        ],
    )?;
    if limits.total.is_some() {
        tx.execute_one("UPDATE coupon_given SET given = given + 1 WHERE kind = $1", params![kind])?;
    }
    Ok(Coupon {
        code,
        user: user.clone(),
        kind,
        terms,
        granted_at,
        earned_by,
        uses: 0,
        taken_by: None,
        expires_at,
        reserved_by: None,
    })
}

/// Counts the payments that use the coupon: one more, or with -1 one less, which was refunded in full.
pub(super) fn count_use(tx: &WriteTx<'_>, code: &CouponCode, more: i64) -> Result<(), Error> {
    tx.execute_one("UPDATE coupon SET uses = uses + $1 WHERE code = $2", params![more, code])
}

/// Takes the coupon back with the refund of the recharge that earned it.
pub(super) fn take_back(tx: &WriteTx<'_>, code: &CouponCode, refund: EntryId) -> Result<(), Error> {
    // Of several partial refunds the first one takes it.
    tx.execute_one("UPDATE coupon SET taken_by = coalesce(taken_by, $1) WHERE code = $2", params![refund, code])
}

/// Refuses if the coupon that a recharge earned has been used, or is in a hold.
pub(super) fn check_unused(tx: &Tables<'_>, earned: Option<&CouponCode>) -> Result<(), Error> {
    let holding =
        "SELECT id FROM hold WHERE coupon = $1 AND coupon IS NOT NULL AND amount_left > 0 ORDER BY id LIMIT 1";
    let hold: Option<i64> = earned.map(|code| tx.one(holding, params![code], |row| row.get(0))).transpose()?.flatten();
    if let Some((code, hold)) = earned.zip(hold) {
        let detail = format!("coupon {code}, which this recharge earned, is in hold {hold}: void that first");
        return Err(Error::new(ErrorName::CouponUsed, detail).with("coupon", code.as_str()).with("hold", hold));
    }
    match earned.map(|code| coupon(tx, code)).transpose()? {
        Some(coupon) if coupon.uses > 0 => {
            let detail = format!("coupon {}, which this recharge earned, has been used", coupon.code);
            Err(Error::new(ErrorName::CouponUsed, detail).with("coupon", coupon.code.as_str()))
        }
        _ => Ok(()),
    }
}

/// Random codes that are tried before codes become one character longer.
const DRAWS_MAX: usize = 8;

/// Draws a code never given before. Once half of all codes of a length were given, they become one character longer. A dry
/// run draws none: it gets a code longer than any that is given, made of the newest entry's number.
pub(super) fn draw_code(tx: &WriteTx<'_>) -> Result<CouponCode, Error> {
    if tx.is_dry_run() {
        let digit = |place| (tx.chain_head().id >> (5 * place) & 31) as u8;
        return Ok(CouponCode::from_random(&std::array::from_fn::<u8, 12, _>(digit)));
    }
    let supply = "SELECT length, given FROM code_supply ORDER BY length DESC LIMIT 1";
    let (length, given) = tx.one(supply, &[], |row| Ok((row.get::<u32>(0)?, row.get::<i64>(1)?)))?.unwrap_or((4, 0));
    let supply_of_length = (CouponCode::ALPHABET.len() as i64).pow(length);
    if given < supply_of_length / 2 {
        for _ in 0..DRAWS_MAX {
            let code = random_code(tx, length);
            if tx.one("SELECT 1 FROM coupon WHERE code = $1", params![code], |_| Ok(()))?.is_none() {
                tx.execute_one("UPDATE code_supply SET given = given + 1 WHERE length = $1", params![length])?;
                return Ok(code);
            }
        }
    }
    let longer = length + 1;
    tx.execute_one("INSERT INTO code_supply (length, given) VALUES ($1, 1)", params![longer])?;
    Ok(random_code(tx, longer)) // the first of its length
}

fn random_code(tx: &WriteTx<'_>, length: u32) -> CouponCode {
    let bytes: [u8; 12] = tx.randomness().bytes();
    CouponCode::from_random(&bytes[..length as usize])
}

/// The kind that a recharge of `amount` earns: that of the highest tier it reaches.
pub(super) fn earned_by(tx: &Tables<'_>, amount: Money) -> Result<Option<CouponKind>, Error> {
    let tier = "SELECT coupon_kind FROM recharge_tier WHERE from_amount <= $1 ORDER BY from_amount DESC LIMIT 1";
    match tx.one(tier, params![amount], |row| row.get::<Option<String>>(0))?.flatten() {
        Some(kind) => find_kind(tx, &kind),
        None => Ok(None),
    }
}

macro_rules! kind_columns {
    () => {
        "kind, amount_off, percent_off, threshold, single_use, earned_zh, earned_en, max_off, valid_days, valid_from, \
         valid_until, limit_total, limit_per_user, claim_code"
    };
}

fn read_kind(row: &Row<'_>) -> RowResult<CouponKind> {
    let limits = KindLimits {
        valid_days: row.get(8)?,
        valid_from: row.get(9)?,
        valid_until: row.get(10)?,
        total: row.get(11)?,
        per_user: row.get(12)?,
        claim_code: row.get(13)?,
    };
    Ok(CouponKind {
        kind: row.get(0)?,
        terms: read_terms(row, 1, 7)?,
        earned_zh: row.get(5)?,
        earned_en: row.get(6)?,
        limits,
    })
}

/// The coupon kind of that name, if there is one.
pub(crate) fn find_kind(tx: &Tables<'_>, kind: &str) -> Result<Option<CouponKind>, Error> {
    tx.one(concat!("SELECT ", kind_columns!(), " FROM coupon_kind WHERE kind = $1"), params![kind], read_kind)
}

/// The coupon kind with that claim code.
pub(super) fn claimed_kind(tx: &Tables<'_>, code: &ClaimCode) -> Result<CouponKind, Error> {
    let sql = concat!("SELECT ", kind_columns!(), " FROM coupon_kind WHERE claim_code = $1 AND claim_code IS NOT NULL");
    let not_found = || Error::new(ErrorName::ClaimCodeNotFound, format!("there is no claim code {code}"));
    tx.one(sql, params![code], read_kind)?.ok_or_else(not_found)
}

/// Every coupon kind.
pub fn kinds(tx: &Tables<'_>) -> Result<Vec<CouponKind>, Error> {
    tx.all(concat!("SELECT ", kind_columns!(), " FROM coupon_kind ORDER BY kind"), &[], read_kind)
}

/// Replaces the coupon kinds. One that a tier gives cannot be removed; coupons already granted keep their terms.
pub(crate) fn set_kinds(tx: &WriteTx<'_>, kinds: &[CouponKind]) -> Result<(), Error> {
    for tier in tiers(tx)? {
        if let Some(kind) = tier.kind.clone().filter(|kind| !kinds.iter().any(|new| new.kind == *kind)) {
            let keep = "which this list of all kinds leaves out; keep it in the list, or change the tiers first";
            let detail = format!("recharge tier {} gives coupon kind {kind}, {keep}", tier.from);
            return Err(Error::new(ErrorName::CouponKindInUse, detail).with("kind", kind));
        }
        if let Some(kind) = tier.kind.and_then(|kind| kinds.iter().find(|new| new.kind == kind)) {
            check_earnable(kind)?;
        }
    }
    // One may get the code that another has now.
    tx.execute("UPDATE coupon_kind SET claim_code = NULL WHERE claim_code IS NOT NULL", &[])?;
    let replaced = concat!(
        "INSERT INTO coupon_kind (",
        kind_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (kind) DO UPDATE SET amount_off = $2, percent_off = $3, threshold = $4, single_use = $5, \
         earned_zh = $6, earned_en = $7, max_off = $8, valid_days = $9, valid_from = $10, valid_until = $11, \
         limit_total = $12, limit_per_user = $13, claim_code = $14"
    );
    for kind in kinds {
        let (amount_off, percent_off) = kind.terms.off.columns();
        let CouponKind { kind, terms, earned_zh, earned_en, limits } = kind;
        tx.execute_one(
            replaced,
            params![
                kind,
                amount_off,
                percent_off,
                terms.threshold.0,
                terms.single_use,
                earned_zh,
                earned_en,
                terms.max_off,
                limits.valid_days,
                limits.valid_from,
                limits.valid_until,
                limits.total,
                limits.per_user,
                limits.claim_code
            ],
        )?;
        count_given(tx, kind, limits.total.is_some())?;
    }
    for old in self::kinds(tx)? {
        if !kinds.iter().any(|new| new.kind == old.kind) {
            count_given(tx, &old.kind, false)?;
            tx.execute_one("DELETE FROM coupon_kind WHERE kind = $1", params![old.kind])?;
        }
    }
    Ok(())
}

/// Begins to count the coupons of a kind, with those that were ever given under its name; or ends it.
fn count_given(tx: &WriteTx<'_>, kind: &str, is_limited: bool) -> Result<(), Error> {
    let sql = if is_limited {
        "INSERT INTO coupon_given (kind, given) SELECT $1, (SELECT count(*) FROM coupon WHERE kind = $1) \
         WHERE NOT EXISTS (SELECT 1 FROM coupon_given WHERE kind = $1)"
    } else {
        "DELETE FROM coupon_given WHERE kind = $1"
    };
    tx.execute(sql, params![kind]).map(drop)
}

/// Refuses a kind that no tier can give: its limits would end the earning.
fn check_earnable(kind: &CouponKind) -> Result<(), Error> {
    if kind.limits.claim_code.is_none() {
        return Ok(());
    }
    let detail = format!("coupon kind {} has a claim code, so no recharge tier can give it", kind.kind);
    Err(Error::invalid(detail).with("field", "claim_code"))
}

/// The recharge tiers, lowest first. The last one is open-ended.
pub fn tiers(tx: &Tables<'_>) -> Result<Vec<Tier>, Error> {
    let sql = "SELECT from_amount, coupon_kind FROM recharge_tier ORDER BY from_amount";
    tx.all(sql, &[], |row| Ok(Tier { from: row.get(0)?, kind: row.get(1)? }))
}

/// Replaces the recharge tiers.
pub(crate) fn set_tiers(tx: &WriteTx<'_>, tiers: &[Tier]) -> Result<(), Error> {
    tx.execute("DELETE FROM recharge_tier", &[])?;
    for tier in tiers {
        if let Some(kind) = &tier.kind {
            let not_found = || Error::new(ErrorName::CouponKindNotFound, format!("there is no coupon kind {kind}"));
            check_earnable(&find_kind(tx, kind)?.ok_or_else(not_found)?)?;
        }
        tx.execute_one("INSERT INTO recharge_tier VALUES ($1, $2)", params![tier.from, tier.kind])?;
    }
    Ok(())
}
