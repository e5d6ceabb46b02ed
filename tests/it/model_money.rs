//! Random statements of account, compared with a plain model: a map of balances and a list of coupons.

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::command::{AtomicBatch, Command, GrantCoupon, MoneyCommand, Receipt};
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{CouponCode, EntryId, WalletId};
use cashbox::internals::ledger::Note;
use cashbox::internals::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
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
struct Line {
    kind: &'static str,
    from: String,
    to: String,
    amount: i64,
    discount: Option<i64>,
    /// The number of the coupon that was used or earned, as the model counts them.
    coupon: Option<usize>,
    refunds: Option<usize>,
    balances: (i64, i64),
}

/// All there is to know about the money, without a database.
#[derive(Clone, Default)]
struct Model {
    balances: BTreeMap<String, i64>,
    coupons: Vec<ModelCoupon>,
    lines: Vec<Line>,
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
            Command::Batch(AtomicBatch(items)) => items.iter().try_for_each(|item| self.move_money(item)),
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
        }
    }

    fn pay(&mut self, user: &str, to: &WalletId, gross: Money, code: Option<&CouponCode>) -> Said {
        self.wallet(user)?;
        self.wallet(to.as_str())?;
        let gross = gross.cents();
        let number = code.map(|code| self.coupons.iter().position(|granted| granted.code.as_ref() == Some(code)));
        let number = number.map(|found| found.ok_or(ErrorName::CouponNotFound)).transpose()?;
        let mut discount = 0;
        if let Some(granted) = number.map(|number| &self.coupons[number]) {
            if granted.user != user {
                return Err(ErrorName::CouponNotFound);
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
            discount = off.min(gross - 1);
            if discount == 0 {
                return Err(ErrorName::CouponNotApplicable);
            }
        }
        let line = self.post("pay", user, to.as_str(), gross - discount)?;
        (line.discount, line.coupon) = (Some(discount), number);
        if let Some(number) = number {
            self.coupons[number].uses += 1;
        }
        Ok(())
    }

    fn refund(&mut self, entry: usize, amount: Option<i64>) -> Said {
        let original = self.lines.get(entry.wrapping_sub(1)).cloned().ok_or(ErrorName::EntryNotFound)?;
        if original.kind == "refund" {
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
        if original.kind == "recharge" && granted.is_some_and(|granted| granted.uses > 0) {
            return Err(ErrorName::CouponUsed);
        }
        self.post("refund", &original.to, &original.from, amount)?.refunds = Some(entry);
        match (original.kind, original.coupon) {
            ("recharge", Some(number)) => self.coupons[number].taken = true,
            ("pay", Some(number)) if amount == left => self.coupons[number].uses -= 1,
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
        self.lines.push(Line { kind, from, to, amount, discount, coupon: None, refunds: None, balances });
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
    match dice.below(if depth == 0 { 21 } else { 19 }) {
        0..=4 => Recharge { user, amount: amount(dice), note }.into(),
        5..=6 => Withdraw { user, amount: amount(dice), note }.into(),
        7..=9 => {
            let others: Vec<_> = USERS.iter().filter(|other| **other != user.as_str()).collect();
            let to = wallet_id(others[dice.below(others.len())]);
            Transfer { from: user.wallet(), to, amount: amount(dice), note }.into()
        }
        10..=14 => {
            let granted = if known.is_empty() || dice.one_in(4) { None } else { Some(*dice.pick(&known)) };
            let own = granted.filter(|_| !dice.one_in(8)).map_or(user, |granted| user_id(&granted.user));
            let coupon = granted.and_then(|granted| granted.code.clone());
            let to = match dice.pick(&USERS) {
                to if dice.one_in(3) && *to != own.as_str() => wallet_id(to),
                _ => WalletId::SALES,
            };
            Pay { user: own, to, gross: amount(dice), coupon, note }.into()
        }
        15..=18 => {
            let entry = EntryId(1 + dice.below(model.lines.len() + 2) as i64);
            let amount = if dice.one_in(2) { None } else { Some(amount(dice)) };
            Refund { entry, amount, note }.into()
        }
        19 => GrantCoupon { user, kind: dice.pick(&["1", "2", "3", "4"]).to_string() }.into(),
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
            if dice.one_in(8) {
                book.reopen();
            }
        }
    }
    assert!(refusals.len() >= 9, "every no was said: {refusals:?}");
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
        assert_line(model, moved, *line);
        *line += 1;
    }
}

fn assert_line(model: &Model, moved: &Moved, number: usize) {
    let (entry, line) = (&moved.entry, &model.lines[number]);
    assert_eq!(entry.id, EntryId(number as i64 + 1));
    assert_eq!((entry.kind.as_str(), entry.amount.cents()), (line.kind, line.amount));
    assert_eq!((entry.from.as_str(), entry.to.as_str()), (line.from.as_str(), line.to.as_str()));
    assert_eq!((entry.from_balance.cents(), entry.to_balance.cents()), line.balances);
    assert_eq!(entry.discount.map(|discount| discount.0), line.discount);
    assert_eq!(entry.refunds.map(|id| id.0 as usize), line.refunds);
    assert_eq!(entry.coupon.as_ref(), line.coupon.and_then(|number| model.coupons[number].code.as_ref()));
    assert_eq!(
        moved.coupon.as_ref().and_then(|coupon| coupon.earned_by).is_some(),
        line.kind == "recharge" && line.coupon.is_some()
    );
}

fn assert_agrees(book: &Book, model: &Model) {
    let wallets =
        book.read(|tx| cashbox::internals::ledger::query::wallets(tx, &Default::default(), None, 100)).unwrap().rows;
    let held: BTreeMap<String, i64> =
        wallets.into_iter().map(|row| (row.wallet.id.to_string(), row.wallet.balance.cents())).collect();
    assert_eq!(held, model.balances);
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
    }
    book.assert_sound();
}
