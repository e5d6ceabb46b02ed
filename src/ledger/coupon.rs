//! Coupons: the recharge tiers that earn them, their effect on a price, and their owners.
//!
//! Tiers and kinds are rows that an admin can change; a coupon keeps the terms it was granted under.

use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, UserId};
use crate::money::{Cents, Money};
use crate::secret;
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
        CouponTerms { off, threshold, single_use }
    }

    /// Takes the discount off `gross`, rounded half-up to the cent; one cent is always paid.
    fn price(&self, gross: Money) -> Price {
        let off = match self.off {
            Discount::Amount(off) => off.cents(),
            Discount::Percent(percent) => gross.percent(percent),
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
    /// It was for one payment, and is used.
    Used,
    /// The recharge that earned it was refunded.
    TakenBack,
}

impl CouponState {
    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            CouponState::Usable => "usable",
            CouponState::Used => "used",
            CouponState::TakenBack => "taken_back",
        }
    }
}

impl Coupon {
    /// Its state now.
    pub fn state(&self) -> CouponState {
        match (self.taken_by, self.terms.single_use && self.uses > 0) {
            (Some(_), _) => CouponState::TakenBack,
            (None, true) => CouponState::Used,
            (None, false) => CouponState::Usable,
        }
    }

    /// The cost of a payment of `gross` with it, or the reason it does not apply.
    pub(crate) fn price(&self, gross: Money) -> Result<Price, Error> {
        let code = &self.code;
        match self.state() {
            CouponState::Usable => {}
            CouponState::Used => {
                return Err(Error::new(ErrorName::CouponUsed, format!("coupon {code} has been used")));
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
        Coupon { uses: 0, taken_by: None, ..self }
    }

    pub(super) fn read(row: &Row<'_>) -> RowResult<Coupon> {
        Ok(Coupon {
            code: row.get(0)?,
            user: row.get(1)?,
            kind: row.get(2)?,
            terms: read_terms(row, 3)?,
            granted_at: row.get(7)?,
            earned_by: row.get(8)?,
            uses: row.get(9)?,
            taken_by: row.get(10)?,
        })
    }
}

macro_rules! coupon_columns {
    () => {
        "code, user, kind, amount_off, percent_off, threshold, single_use, granted_at, earned_by, uses, taken_by"
    };
}
pub(super) use coupon_columns;

fn read_terms(row: &Row<'_>, column: usize) -> RowResult<CouponTerms> {
    let off = match row.get::<_, Option<Money>>(column)? {
        Some(amount) => Discount::Amount(amount),
        None => Discount::Percent(row.get(column + 1)?),
    };
    Ok(CouponTerms { off, threshold: Cents(row.get(column + 2)?), single_use: row.get(column + 3)? })
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

/// Grants the user a coupon of that kind under a code from [`draw_code`].
pub(super) fn grant(
    tx: &WriteTx<'_>,
    code: CouponCode,
    user: &UserId,
    kind: &CouponKind,
    earned_by: Option<EntryId>,
) -> Result<Coupon, Error> {
    let granted_at = tx.now().wall_ms;
    let (amount_off, percent_off) = kind.terms.off.columns();
    let CouponKind { kind, terms, .. } = kind.clone();
    tx.execute_one(
        concat!("INSERT INTO coupon (", coupon_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, NULL)"),
        params![code, user, kind, amount_off, percent_off, terms.threshold.0, terms.single_use, granted_at, earned_by],
    )?;
    Ok(Coupon { code, user: user.clone(), kind, terms, granted_at, earned_by, uses: 0, taken_by: None })
}

/// Counts one more payment that uses the coupon.
pub(super) fn count_use(tx: &WriteTx<'_>, code: &CouponCode) -> Result<(), Error> {
    tx.execute_one("UPDATE coupon SET uses = uses + 1 WHERE code = $1", params![code])
}

/// Counts one payment less: it was refunded in full.
pub(super) fn uncount_use(tx: &WriteTx<'_>, code: &CouponCode) -> Result<(), Error> {
    tx.execute_one("UPDATE coupon SET uses = uses - 1 WHERE code = $1", params![code])
}

/// Takes the coupon back with the refund of the recharge that earned it.
pub(super) fn take_back(tx: &WriteTx<'_>, code: &CouponCode, refund: EntryId) -> Result<(), Error> {
    // Of several partial refunds the first one takes it.
    tx.execute_one("UPDATE coupon SET taken_by = coalesce(taken_by, $1) WHERE code = $2", params![refund, code])
}

/// Refuses if the coupon that a recharge earned has been used.
pub(super) fn check_unused(tx: &Tables<'_>, earned: Option<&CouponCode>) -> Result<(), Error> {
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
        let newest = tx.chain_head().id;
        return Ok(CouponCode::from_random(&std::array::from_fn::<u8, 12, _>(|place| {
            (newest >> (5 * place) & 31) as u8
        })));
    }
    let supply = "SELECT length, given FROM code_supply ORDER BY length DESC LIMIT 1";
    let (length, given) =
        tx.one(supply, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?)))?.unwrap_or((4, 0));
    let supply_of_length = (CouponCode::ALPHABET.len() as i64).pow(length);
    if given < supply_of_length / 2 {
        for _ in 0..DRAWS_MAX {
            let code = random_code(length);
            if tx.one("SELECT 1 FROM coupon WHERE code = $1", params![code], |_| Ok(()))?.is_none() {
                tx.execute_one("UPDATE code_supply SET given = given + 1 WHERE length = $1", params![length])?;
                return Ok(code);
            }
        }
    }
    let longer = length + 1;
    tx.execute_one("INSERT INTO code_supply (length, given) VALUES ($1, 1)", params![longer])?;
    Ok(random_code(longer)) // the first of its length
}

fn random_code(length: u32) -> CouponCode {
    let bytes: [u8; 12] = secret::random();
    CouponCode::from_random(&bytes[..length as usize])
}

/// The kind that a recharge of `amount` earns: that of the highest tier it reaches.
pub(super) fn earned_by(tx: &Tables<'_>, amount: Money) -> Result<Option<CouponKind>, Error> {
    let tier = "SELECT coupon_kind FROM recharge_tier WHERE from_amount <= $1 ORDER BY from_amount DESC LIMIT 1";
    match tx.one(tier, params![amount], |row| row.get::<_, Option<String>>(0))?.flatten() {
        Some(kind) => find_kind(tx, &kind),
        None => Ok(None),
    }
}

macro_rules! kind_columns {
    () => {
        "kind, amount_off, percent_off, threshold, single_use, earned_zh, earned_en"
    };
}

fn read_kind(row: &Row<'_>) -> RowResult<CouponKind> {
    Ok(CouponKind { kind: row.get(0)?, terms: read_terms(row, 1)?, earned_zh: row.get(5)?, earned_en: row.get(6)? })
}

/// The coupon kind of that name, if there is one.
pub(crate) fn find_kind(tx: &Tables<'_>, kind: &str) -> Result<Option<CouponKind>, Error> {
    tx.one(concat!("SELECT ", kind_columns!(), " FROM coupon_kind WHERE kind = $1"), params![kind], read_kind)
}

/// Every coupon kind.
pub fn kinds(tx: &Tables<'_>) -> Result<Vec<CouponKind>, Error> {
    tx.all(concat!("SELECT ", kind_columns!(), " FROM coupon_kind ORDER BY kind"), [], read_kind)
}

/// Replaces the coupon kinds. One that a tier gives cannot be removed; coupons already granted keep their terms.
pub(crate) fn set_kinds(tx: &WriteTx<'_>, kinds: &[CouponKind]) -> Result<(), Error> {
    for tier in tiers(tx)? {
        if let Some(kind) = tier.kind.filter(|kind| !kinds.iter().any(|new| new.kind == *kind)) {
            let detail = format!("recharge tier {} gives coupon kind {kind}; change the tiers first", tier.from);
            return Err(Error::new(ErrorName::CouponKindInUse, detail).with("kind", kind));
        }
    }
    let replaced = "INSERT INTO coupon_kind (kind, amount_off, percent_off, threshold, single_use, earned_zh, earned_en) \
                    VALUES ($1, $2, $3, $4, $5, $6, $7) \
                    ON CONFLICT (kind) DO UPDATE SET amount_off = $2, percent_off = $3, threshold = $4, \
                    single_use = $5, earned_zh = $6, earned_en = $7";
    for kind in kinds {
        let (amount_off, percent_off) = kind.terms.off.columns();
        let CouponKind { kind, terms, earned_zh, earned_en } = kind;
        tx.execute_one(
            replaced,
            params![kind, amount_off, percent_off, terms.threshold.0, terms.single_use, earned_zh, earned_en],
        )?;
    }
    for old in self::kinds(tx)? {
        if !kinds.iter().any(|new| new.kind == old.kind) {
            tx.execute_one("DELETE FROM coupon_kind WHERE kind = $1", params![old.kind])?;
        }
    }
    Ok(())
}

/// The recharge tiers, lowest first. The last one is open-ended.
pub fn tiers(tx: &Tables<'_>) -> Result<Vec<Tier>, Error> {
    let sql = "SELECT from_amount, coupon_kind FROM recharge_tier ORDER BY from_amount";
    tx.all(sql, [], |row| Ok(Tier { from: row.get(0)?, kind: row.get(1)? }))
}

/// Replaces the recharge tiers.
pub(crate) fn set_tiers(tx: &WriteTx<'_>, tiers: &[Tier]) -> Result<(), Error> {
    tx.execute("DELETE FROM recharge_tier", [])?;
    for tier in tiers {
        if let Some(kind) = &tier.kind
            && find_kind(tx, kind)?.is_none()
        {
            return Err(Error::new(ErrorName::CouponKindNotFound, format!("there is no coupon kind {kind}")));
        }
        tx.execute_one("INSERT INTO recharge_tier VALUES ($1, $2)", params![tier.from, tier.kind])?;
    }
    Ok(())
}
