//! Random statements of account, compared with a plain model: a map of balances and a list of coupons.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::command::{AtomicBatch, Command, GrantCoupon, MoneyCommand, Receipt};
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{CouponCode, EntryId, WalletId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::entry::Entry;
use cashbox::internals::ledger::hold::{CaptureHold, PlaceHold, VoidHold};
use cashbox::internals::ledger::verbs::{Pay, Recharge, Refund, Transfer, Withdraw};
use cashbox::internals::money::Money;
use cashbox::internals::store::{Envelope, Outcome};
use std::collections::BTreeMap;

const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
/// Amounts in cents around which something changes.
const EDGES: [i64; 12] = [1, 2, 3, 1_000, 9_999, 10_000, 29_999, 30_000, 49_999, 50_000, 99_999, 10_000_000];

#[derive(Clone, Debug)]
struct ModelCoupon {
    code: Option<CouponCode>,
    user: String,
    kind: char,
    earned_by: Option<usize>,
    uses: i64,
    taken: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct ModelHold {
    /// The number of its first entry.
    id: i64,
    user: String,
    to: String,
    captured: i64,
    left: i64,
    ended: Option<&'static str>,
    expires_at: i64,
    coupon: Option<usize>,
    discount: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Line {
    kind: &'static str,
    from: String,
    to: String,
    amount: i64,
    discount: Option<i64>,
    /// The number of the coupon that was used or earned, as the model counts them.
    coupon: Option<usize>,
    refunds: Option<usize>,
    /// The place of the hold that it captures.
    hold: Option<usize>,
    balances: (i64, i64),
}

/// All there is to know about the money, without a database.
#[derive(Clone, Default)]
struct Model {
    balances: BTreeMap<String, i64>,
    coupons: Vec<ModelCoupon>,
    lines: Vec<Line>,
    holds: Vec<ModelHold>,
    /// Milliseconds since the start.
    now: i64,
}

/// The effect of a command in the model: the numbers of the lines it writes and of the coupons it grants.
type Said = Result<(), ErrorName>;

impl Model {
    fn new() -> Model {
        let system = ["@bank", "@sales", "@holds"].map(|id| (id.to_owned(), 0));
        Model { balances: BTreeMap::from(system), ..Model::default() }
    }

    fn apply(&mut self, command: &Command) -> Said {
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
            Command::GrantCoupon(GrantCoupon { user, kind }) => {
                self.wallet(user.as_str())?;
                let kind =
                    kind.chars().next().filter(|kind| "123".contains(*kind)).ok_or(ErrorName::CouponKindNotFound)?;
                self.grant(user.as_str(), kind, None);
                Ok(())
            }
            other => panic!("{other:?} is not in the model"),
        }
    }

    fn move_money(&mut self, command: &MoneyCommand) -> Said {
        match command {
            MoneyCommand::Recharge(Recharge { user, amount, .. }) => {
                self.balances.entry(user.to_string()).or_insert(0);
                let kind = match amount.cents() {
                    ..10_000 => None,
                    10_000..30_000 => Some('3'),
                    30_000..50_000 => Some('1'),
                    _ => Some('2'),
                };
                let number = kind.map(|kind| self.grant(user.as_str(), kind, Some(self.lines.len())));
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
    fn advance(&mut self, ms: i64) {
        self.now += ms;
        let is_over = |hold: &ModelHold| hold.ended.is_none() && hold.expires_at <= self.now;
        let mut over: Vec<usize> = (0..self.holds.len()).filter(|place| is_over(&self.holds[*place])).collect();
        over.sort_by_key(|place| (self.holds[*place].expires_at, self.holds[*place].id));
        over.into_iter().for_each(|place| self.give_back(place, "expired").unwrap());
    }

    /// True if the coupon is in a hold that was neither captured nor given back.
    fn is_held(&self, number: usize) -> bool {
        self.holds.iter().any(|hold| hold.coupon == Some(number) && hold.left > 0)
    }

    fn pay(&mut self, user: &str, to: &WalletId, gross: Money, code: Option<&CouponCode>) -> Said {
        self.wallet(user)?;
        self.wallet(to.as_str())?;
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
            let is_reserved = granted.kind != '2' && number.is_some_and(|number| self.is_held(number));
            if !granted.taken && granted.uses == 0 && is_reserved {
                return Err(ErrorName::CouponNotApplicable);
            }
            if granted.taken || (granted.kind != '2' && granted.uses > 0) {
                return Err(if granted.taken { ErrorName::CouponNotApplicable } else { ErrorName::CouponUsed });
            }
            if granted.kind == '1' && gross < 30_000 {
                return Err(ErrorName::CouponNotApplicable);
            }
            let off = match granted.kind {
                '1' => 5_000,
                '2' => (2 * gross + 5) / 10,
                _ => 1_000,
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
        let to = original.hold.map_or(original.from.clone(), |place| self.holds[place].user.clone());
        self.post("refund", &original.to, &to, amount)?.refunds = Some(entry);
        match (original.kind, original.coupon) {
            ("recharge", Some(number)) => self.coupons[number].taken = true,
            ("pay" | "capture", Some(number)) if amount == left => self.coupons[number].uses -= 1,
            _ => {}
        }
        Ok(())
    }

    fn grant(&mut self, user: &str, kind: char, earned_by: Option<usize>) -> usize {
        self.coupons.push(ModelCoupon { code: None, user: user.to_owned(), kind, earned_by, uses: 0, taken: false });
        self.coupons.len() - 1
    }

    fn wallet(&self, id: &str) -> Result<i64, ErrorName> {
        self.balances.get(id).copied().ok_or(ErrorName::WalletNotFound)
    }

    fn post(&mut self, kind: &'static str, from: &str, to: &str, amount: i64) -> Result<&mut Line, ErrorName> {
        let rest = self.balances[from] - amount;
        if rest < 0 && !from.starts_with('@') {
            return Err(ErrorName::InsufficientFunds);
        }
        self.balances.insert(from.to_owned(), rest);
        *self.balances.get_mut(to).expect("looked up before") += amount;
        let balances = (rest, self.balances[to]);
        let (from, to, discount) = (from.to_owned(), to.to_owned(), (kind == "pay").then_some(0));
        self.lines.push(Line { kind, from, to, amount, discount, coupon: None, refunds: None, hold: None, balances });
        Ok(self.lines.last_mut().expect("just pushed"))
    }

    /// Takes from the real answers what the model cannot know: the codes.
    fn learn(&mut self, receipt: &Receipt, next: &mut usize) {
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

fn amount(dice: &mut Dice) -> Money {
    let cents = match dice.below(3) {
        0 => *dice.pick(&EDGES),
        1 => 1 + dice.below(500) as i64,
        _ => 1 + dice.below(60_000) as i64,
    };
    Money::from_cents(cents).unwrap()
}

fn command(dice: &mut Dice, model: &Model, depth: usize) -> Command {
    let note = Note::default();
    let user = user_id(USERS[dice.below(USERS.len())]);
    let known: Vec<&ModelCoupon> = model.coupons.iter().filter(|granted| granted.code.is_some()).collect();
    match dice.below(if depth == 0 { 28 } else { 26 }) {
        0..=4 => Recharge { user, amount: amount(dice), note }.into(),
        5..=6 => Withdraw { user, amount: amount(dice), note }.into(),
        7..=9 => {
            let others: Vec<_> = USERS.iter().filter(|other| **other != user.as_str()).collect();
            let to = wallet_id(others[dice.below(others.len())]);
            Transfer { from: user.wallet(), to, amount: amount(dice), note }.into()
        }
        10..=16 => {
            let granted = if known.is_empty() || dice.one_in(4) { None } else { Some(*dice.pick(&known)) };
            let own = granted.filter(|_| !dice.one_in(8)).map_or(user, |granted| user_id(&granted.user));
            let coupon = granted.and_then(|granted| granted.code.clone());
            let to = match dice.pick(&USERS) {
                to if dice.one_in(3) && *to != own.as_str() => wallet_id(to),
                _ => WalletId::SALES,
            };
            if dice.one_in(2) {
                let expires_in_s = *dice.pick(&[1, 60, 3_600]);
                return PlaceHold { user: own, to, gross: amount(dice), expires_in_s, coupon, note }.into();
            }
            Pay { user: own, to, gross: amount(dice), coupon, note }.into()
        }
        17..=21 => {
            let chosen = if model.holds.is_empty() { None } else { Some(dice.pick(&model.holds)) };
            let hold = EntryId(chosen.map_or(1 + dice.below(model.lines.len() + 2) as i64, |hold| hold.id));
            if dice.one_in(3) {
                return VoidHold { hold, note }.into();
            }
            let amount = match chosen {
                Some(chosen) if dice.one_in(2) => Money::from_cents(chosen.left),
                _ if dice.one_in(2) => Some(amount(dice)),
                _ => None,
            };
            // A part of a hold with a coupon cannot be asked for: such an answer is not stored.
            let is_final = chosen.is_some_and(|chosen| chosen.coupon.is_some()) || dice.one_in(2);
            CaptureHold { hold, amount, is_final, note }.into()
        }
        22..=25 => {
            let entry = EntryId(1 + dice.below(model.lines.len() + 2) as i64);
            let amount = if dice.one_in(2) { None } else { Some(amount(dice)) };
            Refund { entry, amount, note }.into()
        }
        26 => GrantCoupon { user, kind: dice.pick(&["1", "2", "3", "4"]).to_string() }.into(),
        _ => batch((0..1 + dice.below(4)).map(|_| command(dice, model, 1)).collect()),
    }
}

#[test]
fn random_statements_agree_with_plain_map() {
    let mut refusals = BTreeMap::new();
    for mut dice in Dice::runs(0..20) {
        let mut book = book();
        let mut model = Model::new();
        let mut sent: Vec<(String, Command, Result<Receipt, Error>)> = Vec::new();
        for round in 0..20 {
            let (mut requests, mut said) = (Vec::new(), Vec::new());
            let (mut line, mut granted) = (model.lines.len(), model.coupons.len());
            for item in 0..1 + dice.below(12) {
                if !sent.is_empty() && dice.one_in(5) {
                    let (key, command, _) = dice.pick(&sent);
                    requests.push((keyed(key), command.clone()));
                    said.push(None);
                } else {
                    let command = command(&mut dice, &model, 0);
                    let key = format!("{round}/{item}");
                    requests.push((if dice.one_in(3) { Envelope::local() } else { keyed(&key) }, command.clone()));
                    said.push(Some(model.apply(&command)));
                }
            }
            let answers = book.submit_all(requests.clone());
            for (((envelope, command), said), answer) in requests.into_iter().zip(said).zip(answers) {
                let key = envelope.key.map(|key| key.to_string());
                match said {
                    None => assert_is_repeat(&sent, &key.unwrap(), &answer),
                    Some(said) => {
                        let name = answer.result.as_ref().map(drop).map_err(|error| error.name);
                        assert_eq!(name, said, "{command:?}: {answer:?}");
                        assert!(!answer.replayed);
                        if let Err(name) = said {
                            *refusals.entry(name.as_str()).or_insert(0) += 1;
                        }
                        if let Ok(receipt) = &answer.result {
                            model.learn(receipt, &mut granted);
                            assert_lines(&model, receipt, &mut line);
                        }
                        sent.extend(key.map(|key| (key, command, answer.result)));
                    }
                }
            }
            assert_agrees(&book, &model);
            if dice.one_in(2) {
                let ms = *dice.pick(&[999, 1_000, 59_999, 60_000, 3_600_000]);
                model.advance(ms);
                book.advance(ms);
                book.until(|book| book.number("SELECT count(*) FROM entry") == model.lines.len() as i64);
                assert_agrees(&book, &model);
            }
            if dice.one_in(8) {
                book.reopen();
            }
        }
    }
    assert!(refusals.len() >= 14, "every no was said: {refusals:?}");
}

fn assert_is_repeat(sent: &[(String, Command, Result<Receipt, Error>)], key: &str, answer: &Outcome) {
    let (_, _, first) = sent.iter().find(|(known, _, _)| known == key).expect("a repeat of something sent");
    assert_eq!(&answer.result, first, "a repeat is answered as the first");
    assert!(answer.replayed);
}

fn assert_lines(model: &Model, receipt: &Receipt, line: &mut usize) {
    let all = match receipt {
        Receipt::Moved(moved) => std::slice::from_ref(&**moved),
        Receipt::Batch(all) => all,
        _ => &[],
    };
    for moved in all {
        assert_line(model, &moved.entry, *line);
        assert_eq!(
            moved.coupon.as_ref().and_then(|coupon| coupon.earned_by).is_some(),
            model.lines[*line].kind == "recharge" && model.lines[*line].coupon.is_some()
        );
        *line += 1;
        if let Some(released) = moved.hold.as_ref().and_then(|step| step.released.as_ref()) {
            assert_line(model, released, *line);
            *line += 1;
        }
    }
}

fn assert_line(model: &Model, entry: &Entry, number: usize) {
    let line = &model.lines[number];
    assert_eq!(entry.id, EntryId(number as i64 + 1));
    assert_eq!((entry.kind.as_str(), entry.amount.cents()), (line.kind, line.amount));
    assert_eq!((entry.from.as_str(), entry.to.as_str()), (line.from.as_str(), line.to.as_str()));
    assert_eq!((entry.from_balance.cents(), entry.to_balance.cents()), line.balances);
    assert_eq!(entry.discount.map(|discount| discount.0), line.discount);
    assert_eq!(entry.refunds.map(|id| id.0 as usize), line.refunds);
    assert_eq!(entry.coupon.as_ref(), line.coupon.and_then(|number| model.coupons[number].code.as_ref()));
}

fn assert_agrees(book: &Book, model: &Model) {
    let wallets =
        book.read(|tx| cashbox::internals::ledger::query::wallets(tx, &Default::default(), None, 100)).unwrap().rows;
    let real: BTreeMap<String, i64> =
        wallets.iter().map(|listed| (listed.wallet.id.to_string(), listed.wallet.balance.cents())).collect();
    assert_eq!(real, model.balances);
    for listed in wallets {
        let own = model.holds.iter().filter(|hold| hold.user == listed.wallet.id.as_str());
        assert_eq!(listed.held.0, own.map(|hold| hold.left).sum::<i64>(), "{listed:?}");
    }
    for known in &model.holds {
        let hold = book.hold(known.id);
        let ended = hold.ended.map(|state| state.as_str());
        assert_eq!((hold.captured.0, hold.left.0, ended), (known.captured, known.left, known.ended), "{hold:?}");
    }
    let mut real: Vec<_> = USERS.iter().flat_map(|user| book.coupons(user)).collect();
    real.sort_by(|a, b| a.code.cmp(&b.code));
    let mut coupons = model.coupons.clone();
    coupons.sort_by(|a, b| a.code.cmp(&b.code));
    assert_eq!(real.len(), coupons.len());
    for (coupon, granted) in real.iter().zip(&coupons) {
        let (earned, kind) = (coupon.earned_by.map(|id| id.0 as usize - 1), granted.kind.to_string());
        assert_eq!((Some(&coupon.code), coupon.user.as_str()), (granted.code.as_ref(), granted.user.as_str()));
        assert_eq!((&coupon.kind, coupon.uses), (&kind, granted.uses), "{coupon:?}");
        assert_eq!((coupon.taken_by.is_some(), earned), (granted.taken, granted.earned_by), "{coupon:?}");
        let number = model.coupons.iter().position(|known| known.code == granted.code).unwrap();
        assert_eq!(coupon.reserved_by.is_some(), granted.kind != '2' && model.is_held(number), "{coupon:?}");
    }
    book.assert_sound();
}
