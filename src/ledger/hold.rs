//! Holds: money of a wallet that is reserved for one receiver until it is captured, voided or expires.
//!
//! Each step is an entry: `hold` from the wallet to `@holds`, `capture` from there to the receiver, `release` back to the
//! wallet. So the entries say everything about a hold, and its row is a working copy of them ([`FROM_ENTRIES`]) with the
//! lease time at which it is due.
//!
//! - A hold is over with a capture that is final, when it is voided, or when it expires; it stays so.
//! - What is left of it then is given back by one release, its last entry: in the same commit, or by the writer later if
//!   another client holds the lock of the wallet.
//! - `@holds` has what is left of all holds, ended ones too.

use super::coupon;
use super::entry::{Entry, EntryKind};
use super::wallet::{Wallet, check_not_closed, check_open, current};
use super::{Attribution, EntryDetails, HoldDetails, Note, post};
use crate::error::{Error, ErrorName};
use crate::id::{CouponCode, EntryId, UserId, WalletId};
use crate::money::{Balance, Cents, Money};
use crate::tx::{Now, Row, RowResult, Tables, WriteTx, params, unreadable};

/// The caller of the releases that the writer makes by itself.
pub(crate) const EXPIRY: &str = "@expiry";
/// The shortest and the longest time until a hold expires, in seconds.
pub(crate) const EXPIRES_IN_S: std::ops::RangeInclusive<i64> = 1..=31_536_000;
/// The time until a hold expires if none is given, in seconds: a week.
pub(crate) const EXPIRES_IN_S_DEFAULT: i64 = 604_800;
/// The most holds of one wallet of which something is left: `held` is summed from them.
const OF_ONE_WALLET_MAX: i64 = 1_000;

/// Money of a wallet reserved for a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceHold {
    /// The wallet that holds.
    pub user: UserId,
    /// The receiver: `@sales` or another user's wallet.
    pub to: WalletId,
    /// The amount, or the price before the discount of the coupon.
    pub gross: Money,
    /// Time until it expires, in seconds.
    pub expires_in_s: i64,
    /// A coupon of the user's.
    pub coupon: Option<CouponCode>,
    /// Kept with the entry.
    pub note: Note,
}

/// Reserved money to its receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureHold {
    /// The hold.
    pub hold: EntryId,
    /// A part; none for all that is left.
    pub amount: Option<Money>,
    /// True if the hold is over with it.
    pub is_final: bool,
    /// Kept with the entry.
    pub note: Note,
}

/// Reserved money back to the wallet that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct VoidHold {
    /// The hold.
    pub hold: EntryId,
    /// Kept with the entry.
    pub note: Note,
}

/// The state of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldState {
    /// It can be captured.
    Open,
    /// Its final capture was made.
    Captured,
    /// It was given back on request.
    Voided,
    /// Its time is over.
    Expired,
}

impl HoldState {
    pub(crate) const ALL: [HoldState; 4] =
        [HoldState::Open, HoldState::Captured, HoldState::Voided, HoldState::Expired];

    /// The state as text.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldState::Open => "open",
            HoldState::Captured => "captured",
            HoldState::Voided => "voided",
            HoldState::Expired => "expired",
        }
    }

    /// The state of that name.
    pub fn parse(text: &str) -> Result<HoldState, Error> {
        let state = HoldState::ALL.into_iter().find(|state| state.as_str() == text);
        state.ok_or_else(|| Error::invalid("state is one of open, captured, voided, expired"))
    }
}

/// A hold, as its entries left it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hold {
    /// The number of its first entry.
    pub id: EntryId,
    /// The wallet that holds.
    pub wallet: WalletId,
    /// The receiver.
    pub to: WalletId,
    /// The amount reserved, after any discount.
    pub amount: Money,
    /// The part that the receiver got.
    pub captured: Cents,
    /// The part that is neither captured nor given back.
    pub left: Cents,
    /// The state that it ended in.
    pub ended: Option<HoldState>,
    /// Time until which it can be captured, in milliseconds since 1970.
    pub expires_at: i64,
    /// The lease time until which it can be captured as well, in milliseconds.
    #[doc(hidden)]
    pub due_ms: i64,
    /// The coupon that its price was made with.
    pub coupon: Option<CouponCode>,
    /// The price before the discount, with a coupon.
    pub gross: Option<Money>,
    /// The part that the coupon took off.
    pub discount: Option<Cents>,
    /// The client's own words about it.
    pub note: Note,
    /// Time of its first entry, in milliseconds since 1970.
    pub created_at: i64,
}

/// The result of a step of a hold, besides its entry.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HoldStep {
    /// The hold after it.
    pub hold: Hold,
    /// The entry that gave back what a final capture left. None: nothing was left, or the writer gives it back later.
    pub released: Option<Entry>,
    /// The balance of the wallet that holds, after it.
    pub balance: Balance,
}

impl Hold {
    /// The part that was given back.
    pub fn released(&self) -> Cents {
        Cents(self.amount.cents() - self.captured.0 - self.left.0)
    }

    /// Its state at that time. It expires when both clocks have come there: a wrong wall clock ends nothing early.
    pub(crate) fn state(&self, now: &Now) -> HoldState {
        let is_due = now.wall_ms >= self.expires_at && now.lease_ms >= self.due_ms;
        self.ended.unwrap_or(if is_due { HoldState::Expired } else { HoldState::Open })
    }

    /// Refuses if it is over.
    fn check_open(&self, now: &Now) -> Result<(), Error> {
        match self.state(now) {
            HoldState::Open => Ok(()),
            state => {
                let (id, state) = (self.id, state.as_str());
                let detail = format!("hold {id} is {state}: it can be neither captured nor voided any more");
                Err(Error::new(ErrorName::HoldNotOpen, detail).with("state", state))
            }
        }
    }

    fn read(row: &Row<'_>) -> RowResult<Hold> {
        let ended: Option<String> = row.get(6)?;
        Ok(Hold {
            id: row.get(0)?,
            wallet: row.get(1)?,
            to: row.get(2)?,
            amount: row.get(3)?,
            captured: Cents(row.get(4)?),
            left: Cents(row.get(5)?),
            ended: ended.map(|ended| HoldState::parse(&ended).map_err(|_| unreadable(6))).transpose()?,
            expires_at: row.get(7)?,
            due_ms: row.get(8)?,
            coupon: row.get(9)?,
            gross: row.get(10)?,
            discount: row.get::<Option<i64>>(11)?.map(Cents),
            note: Note { reference: row.get(12)?, metadata: row.get(13)? },
            created_at: row.get(14)?,
        })
    }
}

macro_rules! hold_columns {
    () => {
        "h.id, h.wallet, e.hold_to, e.amount, h.captured, h.amount_left, h.ended, e.hold_until, h.due_ms, \
         h.coupon, e.gross, e.discount, e.reference, e.metadata, e.at, h.until FROM hold AS h JOIN entry AS e ON e.id = h.id "
    };
}

/// The rows of the table `hold` as the entries say they are, without `due_ms`.
pub(crate) const FROM_ENTRIES: &str = "\
    SELECT e.id, e.from_wallet, e.coupon, coalesce(s.captured, 0), \
    e.amount - coalesce(s.captured, 0) - coalesce(s.released, 0), \
    CASE WHEN s.ended_at IS NOT NULL THEN 'captured' WHEN s.released_by = '@expiry' THEN 'expired' \
    WHEN s.released_by IS NOT NULL THEN 'voided' END, coalesce(s.ended_at, e.hold_until) \
    FROM entry AS e LEFT JOIN (SELECT hold, sum(CASE kind WHEN 'capture' THEN amount ELSE 0 END) AS captured, \
    sum(CASE kind WHEN 'release' THEN amount ELSE 0 END) AS released, \
    max(CASE kind WHEN 'capture' THEN hold_until END) AS ended_at, \
    max(CASE kind WHEN 'release' THEN made_by END) AS released_by \
    FROM entry WHERE hold IS NOT NULL AND kind <> 'hold' GROUP BY hold) AS s ON s.hold = e.id \
    WHERE e.hold IS NOT NULL AND e.kind = 'hold'";

/// The hold of that number.
pub fn hold(tx: &Tables<'_>, id: EntryId) -> Result<Hold, Error> {
    let sql = concat!("SELECT ", hold_columns!(), "WHERE h.id = $1");
    tx.one(sql, params![id], Hold::read)?.ok_or_else(|| not_found(id))
}

/// The wallet that holds and the receiver.
pub(crate) fn parties(tx: &Tables<'_>, id: EntryId) -> Result<(WalletId, WalletId), Error> {
    let sql = "SELECT from_wallet, hold_to FROM entry WHERE id = $1 AND kind = 'hold'";
    tx.one(sql, params![id], |row| Ok((row.get(0)?, row.get(1)?)))?.ok_or_else(|| not_found(id))
}

/// The refusal for a hold that does not exist or that the caller may not see.
pub(crate) fn not_found(id: EntryId) -> Error {
    Error::new(ErrorName::HoldNotFound, format!("there is no hold {id}"))
}

/// The hold as the entries up to `last` left it: a repeated answer shows it so.
pub(crate) fn as_of(tx: &Tables<'_>, id: EntryId, last: EntryId) -> Result<Hold, Error> {
    let hold = hold(tx, id)?;
    let steps = "SELECT coalesce(sum(CASE kind WHEN 'capture' THEN amount ELSE 0 END), 0), \
                 coalesce(sum(CASE kind WHEN 'release' THEN amount ELSE 0 END), 0), \
                 max(CASE kind WHEN 'capture' THEN hold_until END), max(CASE kind WHEN 'release' THEN made_by END) \
                 FROM entry WHERE hold = $1 AND id <= $2";
    let steps = tx.one(steps, params![id, last], |row| {
        let (captured, released): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok((captured, released, row.get::<Option<i64>>(2)?, row.get::<Option<String>>(3)?))
    })?;
    let (captured, released, ended_at, released_by) = steps.unwrap_or_default();
    let ended = match (ended_at, released_by.as_deref()) {
        (Some(_), _) => Some(HoldState::Captured),
        (None, Some(EXPIRY)) => Some(HoldState::Expired),
        (None, Some(_)) => Some(HoldState::Voided),
        (None, None) => None,
    };
    let left = Cents(hold.amount.cents() - captured - released);
    Ok(Hold { captured: Cents(captured), left, ended, ..hold })
}

/// The step that those entries made, as it was answered.
pub(crate) fn step_of(tx: &Tables<'_>, entry: &Entry, released: Option<Entry>) -> Result<HoldStep, Error> {
    let last = released.as_ref().map_or(entry.id, |released| released.id);
    let id = entry.hold.ok_or_else(|| Error::internal(format!("entry {} is not a step of a hold", entry.id)))?;
    let hold = as_of(tx, id, last)?;
    let balance = "SELECT CASE from_wallet WHEN $1 THEN from_balance ELSE to_balance END FROM entry WHERE id = max( \
                   (SELECT coalesce(max(id), 0) FROM entry WHERE from_wallet = $1 AND from_wallet <> '@bank' AND id <= $2), \
                   (SELECT coalesce(max(id), 0) FROM entry WHERE to_wallet = $1 AND to_wallet <> '@bank' AND id <= $2))";
    let balance = tx.one(balance, params![hold.wallet, last], |row| row.get(0))?.unwrap_or(Balance::ZERO);
    Ok(HoldStep { hold, released, balance })
}

/// Reserves the amount, by the coupon's terms if there is one.
pub(crate) fn place(
    tx: &WriteTx<'_>,
    place: &PlaceHold,
    attribution: &Attribution<'_>,
) -> Result<(Entry, HoldStep), Error> {
    let PlaceHold { user, to, gross, expires_in_s, coupon, note } = place;
    let wallet = current(tx, &user.wallet())?;
    check_open(&wallet, &current(tx, to)?)?;
    let coupon = coupon.as_ref().map(|code| coupon::coupon_of(tx, code, user)).transpose()?;
    let price = coupon.as_ref().map(|coupon| coupon.price(*gross, tx.steady_wall_ms())).transpose()?;
    check_number(tx, &wallet.id)?;
    let id = EntryId(tx.chain_head().id + 1);
    let expires_at = tx.steady_wall_ms() + expires_in_s * 1_000;
    let details = EntryDetails {
        coupon: coupon.as_ref().map(|coupon| &coupon.code),
        price: price.map(|price| (*gross, price.discount)),
        hold: Some(HoldDetails { id, to: Some(to), until: Some(expires_at) }),
        ..EntryDetails::new(EntryKind::Hold, attribution, note)
    };
    let amount = price.map_or(*gross, |price| price.amount);
    let entry = post(tx, &wallet, &current(tx, &WalletId::HOLDS)?, amount, details)?;
    let due_ms = tx.now().lease_ms + expires_in_s * 1_000;
    tx.execute_one(
        "INSERT OR FAIL INTO hold (id, wallet, coupon, amount_left, until, due_ms) VALUES ($1, $2, $3, $4, $5, $6)",
        params![id, wallet.id, entry.coupon, amount, expires_at, due_ms],
    )?;
    tx.note_due(due_ms);
    let hold = Hold {
        id,
        wallet: wallet.id,
        to: to.clone(),
        amount,
        captured: Cents(0),
        left: Cents(amount.cents()),
        ended: None,
        expires_at,
        due_ms,
        coupon: entry.coupon.clone(),
        gross: entry.gross,
        discount: entry.discount,
        note: note.clone(),
        created_at: entry.at,
    };
    let balance = entry.from_balance;
    Ok((entry, HoldStep { hold, released: None, balance }))
}

fn check_number(tx: &Tables<'_>, wallet: &WalletId) -> Result<(), Error> {
    let count = "SELECT count(*) FROM hold WHERE wallet = $1 AND amount_left > 0";
    let count: i64 = tx.one(count, params![wallet], |row| row.get(0))?.unwrap_or(0);
    if count >= OF_ONE_WALLET_MAX {
        let detail = format!("{wallet} has {OF_ONE_WALLET_MAX} holds already: capture or void some of them first");
        return Err(Error::new(ErrorName::HoldLimit, detail).with("limit", OF_ONE_WALLET_MAX));
    }
    Ok(())
}

/// Moves reserved money to the receiver. What a final capture leaves is given back as `release` says; None: another client
/// holds the lock of the wallet, and the writer gives it back later.
pub(crate) fn capture(
    tx: &WriteTx<'_>,
    capture: &CaptureHold,
    attribution: &Attribution<'_>,
    release: Option<&Attribution<'_>>,
) -> Result<(Entry, HoldStep), Error> {
    let CaptureHold { hold: id, amount, is_final, note } = capture;
    let mut hold = hold(tx, *id)?;
    if hold.coupon.is_some() && !is_final {
        let detail = format!("hold {id} has a coupon, so it is captured once: leave `final` out");
        return Err(Error::invalid(detail).with("field", "final"));
    }
    let to = current(tx, &hold.to)?;
    check_not_closed(&to)?;
    let amount = amount_to_capture(&hold, *amount, &now(tx))?;
    let rest = Money::from_cents(hold.left.0 - amount.cents());
    let ends = *is_final || rest.is_none();
    to.after_receiving(amount)?; // refused before anything is written
    let until = ends.then(|| tx.steady_wall_ms());
    let details = EntryDetails {
        coupon: hold.coupon.as_ref(),
        price: hold.gross.zip(hold.discount),
        hold: Some(HoldDetails { id: *id, to: None, until }),
        ..EntryDetails::new(EntryKind::Capture, attribution, note)
    };
    let entry = post(tx, &current(tx, &WalletId::HOLDS)?, &to, amount, details)?;
    hold.captured.0 += amount.cents();
    hold.left.0 -= amount.cents();
    hold.ended = ends.then_some(HoldState::Captured);
    update(tx, &hold, until)?;
    if let Some(code) = &hold.coupon {
        coupon::count_use(tx, code, 1)?;
    }
    let wallet = current(tx, &hold.wallet)?;
    let released = match (rest.filter(|_| ends), release) {
        (Some(rest), Some(attribution)) if wallet.after_receiving(rest).is_ok() => {
            Some(give_back(tx, &mut hold, &wallet, rest, attribution, &Note::default())?)
        }
        (Some(_), _) => {
            tx.note_due(tx.now().lease_ms);
            None
        }
        (None, _) => None,
    };
    let balance = released.as_ref().map_or(wallet.balance, |released| released.to_balance);
    Ok((entry, HoldStep { hold, released, balance }))
}

/// The amount of a capture, or why it cannot be made.
fn amount_to_capture(hold: &Hold, amount: Option<Money>, now: &Now) -> Result<Money, Error> {
    if hold.state(now) == HoldState::Expired {
        let at = crate::clock::rfc3339(hold.expires_at);
        let detail = format!("hold {} expired at {at}: ask for another", hold.id);
        return Err(Error::new(ErrorName::HoldExpired, detail).with("expires_at", at));
    }
    hold.check_open(now)?;
    let left = Money::from_cents(hold.left.0).ok_or_else(|| Error::internal("nothing is left of an open hold"))?;
    let amount = amount.unwrap_or(left);
    if amount > left {
        let detail = format!("{left} of hold {} is left to capture, not {amount}", hold.id);
        let error = Error::new(ErrorName::CaptureExceeds, detail);
        return Err(error.with("left", left.to_string()).with("needed", amount.to_string()));
    }
    match &hold.coupon {
        Some(code) if amount != left => {
            let detail = format!("hold {} has the price of coupon {code}: it is captured whole, {left}", hold.id);
            Err(Error::new(ErrorName::CouponNotApplicable, detail).with("left", left.to_string()))
        }
        _ => Ok(amount),
    }
}

/// Gives back what is left of an open hold.
pub(crate) fn void(
    tx: &WriteTx<'_>,
    void: &VoidHold,
    attribution: &Attribution<'_>,
) -> Result<(Entry, HoldStep), Error> {
    let VoidHold { hold: id, note } = void;
    let mut hold = hold(tx, *id)?;
    let wallet = current(tx, &hold.wallet)?;
    hold.check_open(&now(tx))?;
    end(tx, &mut hold, &wallet, HoldState::Voided, attribution, note)
}

/// Gives back what is left of a hold that is over: for the writer.
pub(crate) fn settle(tx: &WriteTx<'_>, hold: &Hold) -> Result<(), Error> {
    let (mut hold, attribution) = (hold.clone(), Attribution { by: EXPIRY, fence: None });
    let wallet = current(tx, &hold.wallet)?;
    end(tx, &mut hold, &wallet, HoldState::Expired, &attribution, &Note::default())?;
    Ok(())
}

fn end(
    tx: &WriteTx<'_>,
    hold: &mut Hold,
    wallet: &Wallet,
    state: HoldState,
    attribution: &Attribution<'_>,
    note: &Note,
) -> Result<(Entry, HoldStep), Error> {
    let rest = Money::from_cents(hold.left.0).ok_or_else(|| Error::internal("nothing is left of the hold"))?;
    hold.ended = hold.ended.or(Some(state));
    let entry = give_back(tx, hold, wallet, rest, attribution, note)?;
    let balance = entry.to_balance;
    Ok((entry, HoldStep { hold: hold.clone(), released: None, balance }))
}

/// Moves the rest back to the wallet.
fn give_back(
    tx: &WriteTx<'_>,
    hold: &mut Hold,
    wallet: &Wallet,
    rest: Money,
    attribution: &Attribution<'_>,
    note: &Note,
) -> Result<Entry, Error> {
    let details = EntryDetails {
        hold: Some(HoldDetails { id: hold.id, to: None, until: None }),
        ..EntryDetails::new(EntryKind::Release, attribution, note)
    };
    let entry = post(tx, &current(tx, &WalletId::HOLDS)?, wallet, rest, details)?;
    hold.left = Cents(0);
    update(tx, hold, None)?;
    Ok(entry)
}

/// Writes what the newest entry changed; `until` if that ended the hold before its time.
fn update(tx: &WriteTx<'_>, hold: &Hold, until: Option<i64>) -> Result<(), Error> {
    tx.execute_one(
        "UPDATE OR FAIL hold SET captured = $1, amount_left = $2, ended = $3, until = coalesce($4, until) WHERE id = $5",
        params![hold.captured.0, hold.left.0, hold.ended.map(HoldState::as_str), until, hold.id],
    )
}

/// The time by which a hold is judged: the wall clock as an entry's `at` would be now.
fn now(tx: &WriteTx<'_>) -> Now {
    Now { wall_ms: tx.steady_wall_ms(), ..tx.now() }
}

/// The place of a hold among those of which something is left: its `until` and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HoldPlace {
    /// The wall time at which it is over.
    pub until: i64,
    /// Its number.
    pub id: i64,
}

/// Holds behind `after` that are over by the wall clock and of which something is left, each with its place. At most
/// `limit`.
pub(crate) fn over(tx: &WriteTx<'_>, after: HoldPlace, limit: usize) -> Result<Vec<(HoldPlace, Hold)>, Error> {
    let sql = concat!(
        "SELECT ",
        hold_columns!(),
        "WHERE h.amount_left > 0 AND (h.until, h.id) > ($1, $2) AND h.until <= $3 ORDER BY h.until, h.id LIMIT $4"
    );
    let place = |row: &Row<'_>| Ok((HoldPlace { until: row.get(15)?, id: row.get(0)? }, Hold::read(row)?));
    tx.all(sql, params![after.until, after.id, now(tx).wall_ms, limit], place)
}

/// The wall time at which the next hold is over that is not over now.
pub(crate) fn next_over(tx: &WriteTx<'_>) -> Result<Option<i64>, Error> {
    next_until(tx, now(tx).wall_ms)
}

/// The first wall time behind `wall_ms` at which a hold is over that has something left.
pub(crate) fn next_until(tx: &Tables<'_>, wall_ms: i64) -> Result<Option<i64>, Error> {
    let sql = "SELECT until FROM hold WHERE amount_left > 0 AND until > $1 ORDER BY until LIMIT 1";
    tx.one(sql, params![wall_ms], |row| row.get(0))
}

/// A choice of holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HoldFilter {
    /// Those on this wallet.
    pub wallet: Option<WalletId>,
    /// Those in this state.
    pub state: Option<HoldState>,
}

/// One page of holds.
#[derive(Clone, Debug)]
pub(crate) struct HoldPage {
    /// The holds.
    pub rows: Vec<Hold>,
    /// The number of the hold to continue behind, if there may be more. A page is short, or empty, if few of the holds
    /// that it may look at are in the state.
    pub next: Option<i64>,
}

/// The most holds that one page looks at for those in a state.
const SCAN_ROWS: i64 = 10_000;

/// Holds that pass the filter at that time, newest first, behind the number `after`.
pub(crate) fn list(
    tx: &Tables<'_>,
    filter: &HoldFilter,
    now: &Now,
    after: Option<i64>,
    limit: usize,
) -> Result<HoldPage, Error> {
    macro_rules! passes {
        ($choice:literal) => {
            concat!(
                "SELECT ",
                hold_columns!(),
                "WHERE h.id < $1 AND h.id >= $2 AND (CAST($3 AS TEXT) IS NULL OR $3 = CASE WHEN h.ended IS NOT NULL THEN h.ended \
                 WHEN h.until <= $4 AND h.due_ms <= $5 THEN 'expired' ELSE 'open' END) AND ",
                $choice,
                " ORDER BY h.id DESC LIMIT $7"
            )
        };
    }
    let HoldFilter { wallet, state } = filter;
    let (scan, sql) = match wallet {
        Some(_) => (
            "SELECT id FROM hold WHERE id < $1 AND wallet = $2 ORDER BY id DESC LIMIT 1 OFFSET $3",
            passes!("h.wallet = $6"),
        ),
        None => (
            "SELECT id FROM hold WHERE id < $1 AND CAST($2 AS TEXT) IS NULL ORDER BY id DESC LIMIT 1 OFFSET $3",
            passes!("CAST($6 AS TEXT) IS NULL"),
        ),
    };
    let before = after.unwrap_or(i64::MAX);
    let end: Option<i64> = match state {
        Some(_) => tx.one(scan, params![before, wallet, SCAN_ROWS - 1], |row| row.get(0))?,
        None => None,
    };
    let first = end.unwrap_or(0);
    let state = state.map(HoldState::as_str);
    let mut rows =
        tx.all(sql, params![before, first, state, now.wall_ms, now.lease_ms, wallet, limit + 1], Hold::read)?;
    if rows.len() <= limit {
        return Ok(HoldPage { rows, next: end });
    }
    rows.truncate(limit);
    let next = rows.last().map(|hold| hold.id.0);
    Ok(HoldPage { rows, next })
}
