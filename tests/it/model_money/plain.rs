//! The money, coupons and settings without a database: maps and lists.

use cashbox::internals::command::{
    AtomicBatch, ClaimCoupon, Command, GrantCoupon, MoneyCommand, Receipt, SetCouponKinds,
};
use cashbox::internals::error::ErrorName;
use cashbox::internals::id::{CouponCode, WalletId};
use cashbox::internals::ledger::coupon::{CouponKind, Discount};
use cashbox::internals::ledger::hold::{CaptureHold, PlaceHold, VoidHold};
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use cashbox::internals::ledger::{SpendingLimits, WalletStatus};
use cashbox::internals::money::Money;
use std::collections::BTreeMap;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[derive(Clone, Debug)]
pub struct ModelCoupon {
    pub code: Option<CouponCode>,
    pub user: String,
    /// The kind as it was at the grant.
    pub kind: CouponKind,
    pub earned_by: Option<usize>,
    pub uses: i64,
    pub taken: bool,
    pub expires_at: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ModelHold {
    /// The number of its first entry.
    pub id: i64,
    pub user: String,
    pub to: String,
    pub captured: i64,
    pub left: i64,
    pub ended: Option<&'static str>,
    pub expires_at: i64,
    pub coupon: Option<usize>,
    pub discount: Option<i64>,
}

/// The status and the limits of a wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelSettings {
    pub status: WalletStatus,
    pub limits: SpendingLimits,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The day of UTC on which it was written.
    pub day: i64,
    pub kind: &'static str,
    pub from: String,
    pub to: String,
    pub amount: i64,
    pub discount: Option<i64>,
    /// The number of the coupon that was used or earned, as the model counts them.
    pub coupon: Option<usize>,
    pub refunds: Option<usize>,
    /// The place of the hold that it captures.
    pub hold: Option<usize>,
    pub balances: (i64, i64),
}

/// All there is to know about the money, without a database.
#[derive(Clone, Default)]
pub struct Model {
    pub balances: BTreeMap<String, i64>,
    pub coupons: Vec<ModelCoupon>,
    pub lines: Vec<Line>,
    pub holds: Vec<ModelHold>,
    pub settings: BTreeMap<String, ModelSettings>,
    pub kinds: Vec<CouponKind>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// The kinds of entries that count for the limits.
const SPENDING: [&str; 4] = ["withdraw", "pay", "transfer", "hold"];

impl Line {
    fn is_spending(&self) -> bool {
        SPENDING.contains(&self.kind)
    }
}

/// The effect of a command in the model: the numbers of the lines it writes and of the coupons it grants.
pub type Said = Result<(), ErrorName>;

impl Model {
    pub fn new(kinds: Vec<CouponKind>, now: i64) -> Model {
        let system = ["@bank", "@sales", "@holds"].map(|id| (id.to_owned(), 0));
        Model { balances: BTreeMap::from(system), kinds, now, ..Model::default() }
    }

    pub fn apply(&mut self, command: &Command) -> Said {
        let before = self.clone();
        let said = self.carry_out(command);
        if said.is_err() {
            *self = before;
        }
        said
    }

    fn carry_out(&mut self, command: &Command) -> Said {
        match command {
            Command::Money(money) => self.move_money(money),
            Command::Batch(AtomicBatch(items)) => {
                let before = self.lines.len() as i64;
                items.iter().try_for_each(|item| match item {
                    // No item can name a hold that the batch makes.
                    MoneyCommand::Capture(CaptureHold { hold, .. }) | MoneyCommand::Void(VoidHold { hold, .. })
                        if hold.0 > before =>
                    {
                        Err(ErrorName::HoldNotFound)
                    }
                    item => self.move_money(item),
                })
            }
            Command::CreateWallet(CreateWallet { user }) => match self.balances.contains_key(user.as_str()) {
                true => Err(ErrorName::WalletExists),
                false => self.balances.insert(user.to_string(), 0).map_or(Ok(()), |_| unreachable!("it was not there")),
            },
            Command::SetWallet(set) => self.set(set),
            Command::GrantCoupon(GrantCoupon { user, kind }) => {
                self.wallet(user.as_str())?;
                self.check_not_closed(user.as_str())?;
                let kind = self.kind(|known| known.kind == *kind).ok_or(ErrorName::CouponKindNotFound)?;
                self.grant(user.as_str(), kind, None).map(drop)
            }
            Command::ClaimCoupon(ClaimCoupon { user, code }) => {
                self.wallet(user.as_str())?;
                self.check_not_closed(user.as_str())?;
                let kind = self.kind(|known| known.limits.claim_code.as_ref() == Some(code));
                self.grant(user.as_str(), kind.ok_or(ErrorName::ClaimCodeNotFound)?, None).map(drop)
            }
            Command::SetCouponKinds(SetCouponKinds(kinds)) => {
                self.kinds = kinds.clone();
                Ok(())
            }
            other => panic!("{other:?} is not in the model"),
        }
    }

    fn move_money(&mut self, command: &MoneyCommand) -> Said {
        match command {
            MoneyCommand::Recharge(Recharge { user, amount, .. }) => {
                self.balances.entry(user.to_string()).or_insert(0);
                self.check_not_closed(user.as_str())?;
                let kind = match amount.cents() {
                    ..10_000 => None,
                    10_000..30_000 => Some("3"),
                    30_000..50_000 => Some("1"),
                    _ => Some("2"),
                };
                let kind = kind.and_then(|kind| self.kind(|known| known.kind == kind));
                // A kind that is used up or out of its dates gives no coupon, and the recharge goes on.
                let number = kind.and_then(|kind| self.grant(user.as_str(), kind, Some(self.lines.len())).ok());
                self.post("recharge", "@bank", user.as_str(), amount.cents())?.coupon = number;
                Ok(())
            }
            MoneyCommand::Withdraw(Withdraw { user, amount, .. }) => {
                self.wallet(user.as_str())?;
                self.post("withdraw", user.as_str(), "@bank", amount.cents()).map(drop)
            }
            MoneyCommand::Transfer(Transfer { from, to, amount, .. }) => {
                self.wallet(from.as_str())?;
                self.wallet(to.as_str())?;
                self.post("transfer", from.as_str(), to.as_str(), amount.cents()).map(drop)
            }
            MoneyCommand::Pay(Pay { user, to, gross, coupon, .. }) => {
                self.pay(user.as_str(), to, *gross, coupon.as_ref())
            }
            MoneyCommand::Refund(Refund { entry, amount, .. }) => {
                self.refund(entry.0 as usize, amount.map(Money::cents))
            }
            MoneyCommand::Hold(place) => self.hold(place),
            MoneyCommand::Capture(CaptureHold { hold, amount, is_final, .. }) => {
                self.capture(hold.0, amount.map(Money::cents), *is_final)
            }
            MoneyCommand::Void(VoidHold { hold, .. }) => {
                let place = self.open_hold(hold.0, ErrorName::HoldNotOpen)?;
                self.give_back(place, "voided")
            }
        }
    }

    fn hold(&mut self, place: &PlaceHold) -> Said {
        let PlaceHold { user, to, gross, expires_in_s, coupon, .. } = place;
        self.wallet(user.as_str())?;
        self.wallet(to.as_str())?;
        self.check_open(user.as_str(), to.as_str())?;
        let (coupon, discount) = self.price(user.as_str(), gross.cents(), coupon.as_ref())?;
        let amount = gross.cents() - discount.unwrap_or(0);
        let line = self.post("hold", user.as_str(), "@holds", amount)?;
        (line.coupon, line.discount) = (coupon, discount);
        self.holds.push(ModelHold {
            id: self.lines.len() as i64,
            user: user.to_string(),
            to: to.to_string(),
            captured: 0,
            left: amount,
            ended: None,
            expires_at: self.now + expires_in_s * 1_000,
            coupon,
            discount,
        });
        Ok(())
    }

    fn open_hold(&self, id: i64, if_expired: ErrorName) -> Result<usize, ErrorName> {
        let place = self.holds.iter().position(|hold| hold.id == id).ok_or(ErrorName::HoldNotFound)?;
        match self.holds[place].ended {
            None => Ok(place),
            Some("expired") => Err(if_expired),
            Some(_) => Err(ErrorName::HoldNotOpen),
        }
    }

    fn capture(&mut self, id: i64, amount: Option<i64>, is_final: bool) -> Said {
        let place = self.holds.iter().position(|hold| hold.id == id).ok_or(ErrorName::HoldNotFound)?;
        let ModelHold { user, to, left, coupon, discount, .. } = self.holds[place].clone();
        if coupon.is_some() && !is_final {
            return Err(ErrorName::InvalidRequest);
        }
        self.check_not_closed(&to)?;
        self.open_hold(id, ErrorName::HoldExpired)?;
        let amount = amount.unwrap_or(left);
        if amount > left {
            return Err(ErrorName::CaptureExceeds);
        }
        if coupon.is_some() && amount < left {
            return Err(ErrorName::CouponNotApplicable);
        }
        let line = self.post("capture", "@holds", &to, amount)?;
        (line.coupon, line.discount, line.hold) = (coupon, discount, Some(place));
        if let Some(number) = coupon {
            self.coupons[number].uses += 1;
        }
        let hold = &mut self.holds[place];
        (hold.captured, hold.left) = (hold.captured + amount, left - amount);
        if is_final || amount == left {
            hold.ended = Some("captured");
        }
        if is_final && amount < left {
            self.post("release", "@holds", &user, left - amount)?;
            self.holds[place].left = 0;
        }
        Ok(())
    }

    fn give_back(&mut self, place: usize, state: &'static str) -> Said {
        let ModelHold { user, left, .. } = self.holds[place].clone();
        self.post("release", "@holds", &user, left)?;
        (self.holds[place].left, self.holds[place].ended) = (0, Some(state));
        Ok(())
    }

    /// Moves the clock. Holds that are over are given back in the order of their ends.
    pub fn advance(&mut self, ms: i64) {
        self.now += ms;
        let is_over = |hold: &ModelHold| hold.ended.is_none() && hold.expires_at <= self.now;
        let mut over: Vec<usize> = (0..self.holds.len()).filter(|place| is_over(&self.holds[*place])).collect();
        over.sort_by_key(|place| (self.holds[*place].expires_at, self.holds[*place].id));
        over.into_iter().for_each(|place| self.give_back(place, "expired").unwrap());
    }

    /// True if the coupon is in a hold that was neither captured nor given back.
    pub fn is_held(&self, number: usize) -> bool {
        self.holds.iter().any(|hold| hold.coupon == Some(number) && hold.left > 0)
    }

    fn pay(&mut self, user: &str, to: &WalletId, gross: Money, code: Option<&CouponCode>) -> Said {
        self.wallet(user)?;
        self.wallet(to.as_str())?;
        self.check_open(user, to.as_str())?;
        let gross = gross.cents();
        let (number, discount) = self.price(user, gross, code)?;
        let line = self.post("pay", user, to.as_str(), gross - discount.unwrap_or(0))?;
        (line.discount, line.coupon) = (Some(discount.unwrap_or(0)), number);
        if let Some(number) = number {
            self.coupons[number].uses += 1;
        }
        Ok(())
    }

    /// The number of the coupon, and what it takes off.
    fn price(
        &self,
        user: &str,
        gross: i64,
        code: Option<&CouponCode>,
    ) -> Result<(Option<usize>, Option<i64>), ErrorName> {
        let number = code.map(|code| self.coupons.iter().position(|granted| granted.code.as_ref() == Some(code)));
        let number = number.map(|found| found.ok_or(ErrorName::CouponNotFound)).transpose()?;
        let mut discount = None;
        if let Some(granted) = number.map(|number| &self.coupons[number]) {
            if granted.user != user {
                return Err(ErrorName::CouponNotFound);
            }
            let (terms, number) = (&granted.kind.terms, number.expect("it was found"));
            let is_used = terms.single_use && granted.uses > 0;
            if granted.taken || (terms.single_use && !is_used && self.is_held(number)) {
                return Err(ErrorName::CouponNotApplicable);
            }
            if is_used {
                return Err(ErrorName::CouponUsed);
            }
            if granted.expires_at.is_some_and(|end| end <= self.now) {
                return Err(ErrorName::CouponExpired);
            }
            if gross < terms.threshold.0 {
                return Err(ErrorName::CouponNotApplicable);
            }
            let off = match terms.off {
                Discount::Amount(off) => off.cents(),
                Discount::Percent(percent) => {
                    let off = (percent * gross + 50) / 100;
                    terms.max_off.map_or(off, |most| off.min(most.cents()))
                }
                other => panic!("{other:?} is not in the model"),
            };
            discount = Some(off.min(gross - 1));
            if discount == Some(0) {
                return Err(ErrorName::CouponNotApplicable);
            }
        }
        Ok((number, discount))
    }

    fn refund(&mut self, entry: usize, amount: Option<i64>) -> Said {
        let original = self.lines.get(entry.wrapping_sub(1)).cloned().ok_or(ErrorName::EntryNotFound)?;
        let to = original.hold.map_or(original.from.clone(), |place| self.holds[place].user.clone());
        self.check_open(&original.to, &to)?;
        if ["refund", "hold", "release"].contains(&original.kind) {
            return Err(ErrorName::NotRefundable);
        }
        let parts = self.lines.iter().filter(|line| line.refunds == Some(entry));
        let left = original.amount - parts.map(|line| line.amount).sum::<i64>();
        if left == 0 {
            return Err(ErrorName::AlreadyRefunded);
        }
        let amount = amount.unwrap_or(left);
        if amount > left {
            return Err(ErrorName::RefundExceeds);
        }
        let granted = original.coupon.map(|number| &self.coupons[number]);
        if original.kind == "recharge" && original.coupon.is_some_and(|number| self.is_held(number)) {
            return Err(ErrorName::CouponUsed);
        }
        if original.kind == "recharge" && granted.is_some_and(|granted| granted.uses > 0) {
            return Err(ErrorName::CouponUsed);
        }
        self.post("refund", &original.to, &to, amount)?.refunds = Some(entry);
        match (original.kind, original.coupon) {
            ("recharge", Some(number)) => self.coupons[number].taken = true,
            ("pay" | "capture", Some(number)) if amount == left => self.coupons[number].uses -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Changes the settings as an admin.
    fn set(&mut self, set: &SetWallet) -> Said {
        let user = set.user.to_string();
        let balance = self.wallet(&user)?;
        let old = self.settings_of(&user);
        let status = set.status.unwrap_or(old.status);
        let is_empty = balance == 0 && self.holds.iter().all(|hold| hold.user != user || hold.left == 0);
        if status == WalletStatus::Closed && !is_empty {
            return Err(ErrorName::WalletNotEmpty);
        }
        let per_payment = set.limit_per_payment.unwrap_or(old.limits.per_payment);
        let per_day = set.limit_per_day.unwrap_or(old.limits.per_day);
        self.settings.insert(user, ModelSettings { status, limits: SpendingLimits { per_payment, per_day } });
        Ok(())
    }

    pub fn settings_of(&self, user: &str) -> ModelSettings {
        self.settings.get(user).copied().unwrap_or_default()
    }

    fn check_not_closed(&self, user: &str) -> Said {
        if self.settings_of(user).status == WalletStatus::Closed { Err(ErrorName::WalletClosed) } else { Ok(()) }
    }

    fn check_open(&self, from: &str, to: &str) -> Said {
        self.check_not_closed(from)?;
        self.check_not_closed(to)?;
        if self.settings_of(from).status == WalletStatus::Frozen { Err(ErrorName::WalletFrozen) } else { Ok(()) }
    }

    /// Counts all that left the wallet today, though the program counts only from the moment a limit is set.
    fn check_limits(&self, from: &str, amount: i64) -> Said {
        let SpendingLimits { per_payment, per_day } = self.settings_of(from).limits;
        let today = |line: &&Line| line.day == self.now / DAY_MS && line.from == from && line.is_spending();
        let spent: i64 = self.lines.iter().filter(today).map(|line| line.amount).sum();
        let exceeds = |limit: Option<Money>, amount: i64| limit.is_some_and(|limit| amount > limit.cents());
        if exceeds(per_payment, amount) || exceeds(per_day, spent + amount) {
            return Err(ErrorName::LimitExceeded);
        }
        Ok(())
    }

    fn kind(&self, is_wanted: impl Fn(&CouponKind) -> bool) -> Option<CouponKind> {
        self.kinds.iter().find(|kind| is_wanted(kind)).cloned()
    }

    /// Gives a coupon, unless its kind is out of its dates or used up by all that were ever given under its name.
    fn grant(&mut self, user: &str, kind: CouponKind, earned_by: Option<usize>) -> Result<usize, ErrorName> {
        let limits = &kind.limits;
        let is_too_early = limits.valid_from.is_some_and(|from| self.now < from);
        if is_too_early || limits.valid_until.is_some_and(|until| until <= self.now) {
            return Err(ErrorName::CouponNotApplicable);
        }
        let all = self.coupons.iter().filter(|granted| granted.kind.kind == kind.kind);
        let own = all.clone().filter(|granted| granted.user == user).count() as i64;
        let reached = |limit: Option<i64>, given: i64| limit.is_some_and(|limit| given >= limit);
        if reached(limits.total, all.count() as i64) || reached(limits.per_user, own) {
            return Err(ErrorName::CouponLimit);
        }
        let by_days = limits.valid_days.map(|days| self.now + days * DAY_MS);
        let expires_at = by_days.into_iter().chain(limits.valid_until).min();
        let user = user.to_owned();
        self.coupons.push(ModelCoupon { code: None, user, kind, earned_by, uses: 0, taken: false, expires_at });
        Ok(self.coupons.len() - 1)
    }

    fn wallet(&self, id: &str) -> Result<i64, ErrorName> {
        self.balances.get(id).copied().ok_or(ErrorName::WalletNotFound)
    }

    fn post(&mut self, kind: &'static str, from: &str, to: &str, amount: i64) -> Result<&mut Line, ErrorName> {
        self.check_open(from, to)?;
        if SPENDING.contains(&kind) {
            self.check_limits(from, amount)?;
        }
        let rest = self.balances[from] - amount;
        if rest < 0 && !from.starts_with('@') {
            return Err(ErrorName::InsufficientFunds);
        }
        self.balances.insert(from.to_owned(), rest);
        *self.balances.get_mut(to).expect("looked up before") += amount;
        let balances = (rest, self.balances[to]);
        let (from, to, discount) = (from.to_owned(), to.to_owned(), (kind == "pay").then_some(0));
        let day = self.now / DAY_MS;
        self.lines.push(Line {
            day,
            kind,
            from,
            to,
            amount,
            discount,
            coupon: None,
            refunds: None,
            hold: None,
            balances,
        });
        Ok(self.lines.last_mut().expect("just pushed"))
    }

    /// Takes from the real answers what the model cannot know: the codes.
    pub fn learn(&mut self, receipt: &Receipt, next: &mut usize) {
        let mut learn = |code: &CouponCode| {
            self.coupons[*next].code = Some(code.clone());
            *next += 1;
        };
        match receipt {
            Receipt::Moved(moved) => moved.coupon.iter().for_each(|coupon| learn(&coupon.code)),
            Receipt::Coupon(coupon) => learn(&coupon.code),
            Receipt::Batch(all) => all.iter().flat_map(|moved| &moved.coupon).for_each(|coupon| learn(&coupon.code)),
            _ => {}
        }
    }
}
