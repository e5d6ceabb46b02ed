//! Random statements of account, compared with a plain model ([`plain`]): a map of balances, a list of coupons, the settings.

mod plain;

use crate::dice::Dice;
use crate::harness::*;
use cashbox::internals::command::{ClaimCoupon, Command, GrantCoupon, Receipt, SetCouponKinds};
use cashbox::internals::error::{Error, ErrorName};
use cashbox::internals::id::{ClaimCode, EntryId, WalletId};
use cashbox::internals::ledger::coupon::{self, CouponKind, CouponTerms, Discount, KindLimits};
use cashbox::internals::ledger::entry::Entry;
use cashbox::internals::ledger::hold::{CaptureHold, PlaceHold, VoidHold};
use cashbox::internals::ledger::settings::{CreateWallet, SetWallet};
use cashbox::internals::ledger::verbs::{Moved, Pay, Recharge, Refund, Transfer, Withdraw};
use cashbox::internals::ledger::{Note, WalletStatus};
use cashbox::internals::money::{Cents, Money};
use cashbox::internals::store::{Envelope, Outcome};
use plain::{Model, ModelCoupon, Said};
use std::collections::{BTreeMap, BTreeSet};

const USERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
/// Amounts in cents around which something changes.
const EDGES: [i64; 12] = [1, 2, 3, 1_000, 9_999, 10_000, 29_999, 30_000, 49_999, 50_000, 99_999, 10_000_000];
const CLAIM_CODES: [&str; 3] = ["SPRING", "AUTUMN-2", "NEVER"];
const HOUR_MS: i64 = 60 * 60 * 1_000;

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
    match dice.below(if depth == 0 { 35 } else { 26 }) {
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
        26 => GrantCoupon { user, kind: dice.pick(&["1", "2", "3", "4", "5", "6"]).to_string() }.into(),
        27 | 28 => ClaimCoupon { user, code: ClaimCode::parse(dice.pick::<&str>(&CLAIM_CODES)).unwrap() }.into(),
        29 | 30 => settings(
            dice,
            SetWallet { user, name: None, status: None, metadata: None, limit_per_payment: None, limit_per_day: None },
        ),
        31 => CreateWallet { user }.into(),
        32 => SetCouponKinds(kinds(dice, model)).into(),
        _ => batch((0..1 + dice.below(4)).map(|_| command(dice, model, 1)).collect()),
    }
}

/// A change of one setting or of several; most wallets are open again soon.
fn settings(dice: &mut Dice, mut set: SetWallet) -> Command {
    if dice.one_in(2) {
        let all = [WalletStatus::Open, WalletStatus::Open, WalletStatus::Frozen, WalletStatus::Closed];
        set.status = Some(*dice.pick(&all));
    }
    let limit =
        |dice: &mut Dice| dice.one_in(2).then(|| Money::from_cents(*dice.pick(&[1_000, 30_000, 99_999])).unwrap());
    set.limit_per_payment = dice.one_in(3).then(|| limit(dice));
    set.limit_per_day = dice.one_in(3).then(|| limit(dice));
    set.into()
}

/// The kinds that recharges earn, now and then with a limit, and two more with claim codes, if they are there at all.
fn kinds(dice: &mut Dice, model: &Model) -> Vec<CouponKind> {
    let mut kinds: Vec<CouponKind> = model.kinds.iter().filter(|kind| "123".contains(&kind.kind)).cloned().collect();
    let chance = |dice: &mut Dice, most: i64| dice.one_in(2).then(|| 1 + dice.below(most as usize) as i64);
    for kind in &mut kinds {
        kind.limits.total = chance(dice, 30);
    }
    let mut codes = CLAIM_CODES.to_vec();
    for name in ["4", "5"] {
        if dice.one_in(5) {
            continue;
        }
        let (off, cap) = match dice.below(3) {
            0 => (Discount::Amount(Money::from_cents(250).unwrap()), None),
            1 => (Discount::Percent(33), None),
            _ => (Discount::Percent(50), Money::from_cents(1_000)),
        };
        let mut terms = CouponTerms::new(off, Cents(*dice.pick(&[0, 0, 1_000])), dice.one_in(2));
        terms.max_off = cap;
        let code = codes.remove(dice.below(2));
        let claim_code = (!dice.one_in(4)).then(|| ClaimCode::parse(code).unwrap());
        let limits = KindLimits {
            valid_days: chance(dice, 2),
            valid_from: dice.one_in(4).then(|| model.now + HOUR_MS),
            valid_until: dice.one_in(3).then(|| model.now + HOUR_MS * (2 + dice.below(40) as i64)),
            total: chance(dice, 8),
            per_user: chance(dice, 2).or(claim_code.is_some().then_some(1)),
            claim_code,
        };
        kinds.push(CouponKind { kind: name.into(), terms, earned_zh: "券".into(), earned_en: "one".into(), limits });
    }
    kinds
}

/// The answer that is expected of a request.
enum Expected {
    /// The first answer under that key.
    Repeat(String),
    /// That of the model, and the model changes.
    Real(Said),
    /// That of a copy of the model, which is thrown away.
    Tried(Said, Box<Model>),
}

#[test]
fn random_statements_agree_with_plain_map() {
    let mut names = BTreeSet::new();
    for mut dice in Dice::runs(0..20) {
        let mut book = book_with(|options| options.accept_clock = true);
        let mut model = Model::new(book.read(|tx| coupon::kinds(tx)).unwrap(), book.clock.wall_ms());
        let mut sent: Vec<(String, Command, Result<Receipt, Error>)> = Vec::new();
        for round in 0..20 {
            let (mut requests, mut expected) = (Vec::new(), Vec::new());
            let (mut line, mut granted) = (model.lines.len(), model.coupons.len());
            for item in 0..1 + dice.below(12) {
                if !sent.is_empty() && dice.one_in(5) {
                    let (key, command, _) = dice.pick(&sent);
                    requests.push((Envelope { dry_run: dice.one_in(4), ..keyed(key) }, command.clone()));
                    expected.push(Expected::Repeat(key.clone()));
                    continue;
                }
                let command = command(&mut dice, &model, 0);
                let envelope = if dice.one_in(3) { Envelope::local() } else { keyed(&format!("{round}/{item}")) };
                let can_be_tried = matches!(command, Command::Money(_) | Command::Batch(_) | Command::ClaimCoupon(_));
                if can_be_tried && dice.one_in(5) {
                    let mut copy = Box::new(model.clone());
                    let said = copy.apply(&command);
                    expected.push(Expected::Tried(said, copy));
                    requests.push((Envelope { dry_run: true, ..envelope.clone() }, command.clone()));
                }
                expected.push(Expected::Real(model.apply(&command)));
                requests.push((envelope, command));
            }
            // The writer puts off a dry run behind others of its batch: so each is sent after those before it.
            let parts = requests.chunk_by(|(one, _), (next, _)| !one.dry_run && !next.dry_run);
            let answers: Vec<_> = parts.flat_map(|part| book.submit_all(part.to_vec())).collect();
            for (((envelope, command), expected), answer) in requests.into_iter().zip(expected).zip(answers) {
                match expected {
                    Expected::Repeat(key) => assert_is_repeat(&sent, &key, &answer),
                    Expected::Tried(said, copy) => {
                        assert_name(&command, &answer, said);
                        answer.result.iter().for_each(|receipt| assert_tried(&copy, receipt, line));
                    }
                    Expected::Real(said) => {
                        assert_name(&command, &answer, said);
                        names.extend(said.err().map(ErrorName::as_str));
                        if let Ok(receipt) = &answer.result {
                            model.learn(receipt, &mut granted);
                            assert_lines(&model, receipt, &mut line);
                        }
                        sent.extend(envelope.key.map(|key| (key.to_string(), command, answer.result)));
                    }
                }
            }
            assert_agrees(&book, &model);
            if dice.one_in(2) {
                let ms = *dice.pick(&[999, 1_000, 59_999, 60_000, HOUR_MS, 11 * HOUR_MS]);
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
    assert!(names.len() >= 21, "every refusal was given: {names:?}");
}

fn assert_is_repeat(sent: &[(String, Command, Result<Receipt, Error>)], key: &str, answer: &Outcome) {
    let (_, _, first) = sent.iter().find(|(known, _, _)| known == key).expect("a repeat of something sent");
    assert_eq!(&answer.result, first, "a repeat is answered as the first");
    assert!(answer.replayed);
}

fn assert_name(command: &Command, answer: &Outcome, said: Said) {
    let name = answer.result.as_ref().map(drop).map_err(|error| error.name);
    assert_eq!(name, said, "{command:?}: {answer:?}");
    assert!(!answer.replayed);
}

/// The movements of a dry run are those that the model then has behind `line`; it knows no codes.
fn assert_tried(model: &Model, receipt: &Receipt, line: usize) {
    let entries = movements(receipt).iter().flat_map(|moved| {
        let released = moved.hold.as_ref().and_then(|step| step.released.as_ref());
        std::iter::once(&moved.entry).chain(released)
    });
    let entries: Vec<&Entry> = entries.collect();
    assert_eq!(entries.len(), model.lines.len() - line);
    entries.iter().enumerate().for_each(|(place, entry)| assert_line_without_code(model, entry, line + place));
}

fn movements(receipt: &Receipt) -> &[Moved] {
    match receipt {
        Receipt::Moved(moved) => std::slice::from_ref(&**moved),
        Receipt::Batch(all) => all,
        _ => &[],
    }
}

fn assert_lines(model: &Model, receipt: &Receipt, line: &mut usize) {
    for moved in movements(receipt) {
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
    assert_line_without_code(model, entry, number);
    let code = model.lines[number].coupon.and_then(|number| model.coupons[number].code.as_ref());
    assert_eq!(entry.coupon.as_ref(), code);
}

fn assert_line_without_code(model: &Model, entry: &Entry, number: usize) {
    let line = &model.lines[number];
    assert_eq!(entry.id, EntryId(number as i64 + 1));
    assert_eq!((entry.kind.as_str(), entry.amount.cents()), (line.kind, line.amount));
    assert_eq!((entry.from.as_str(), entry.to.as_str()), (line.from.as_str(), line.to.as_str()));
    assert_eq!((entry.from_balance.cents(), entry.to_balance.cents()), line.balances);
    assert_eq!(entry.discount.map(|discount| discount.0), line.discount);
    assert_eq!(entry.refunds.map(|id| id.0 as usize), line.refunds);
    assert_eq!(entry.coupon.is_some(), line.coupon.is_some());
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
        let settings = model.settings_of(listed.wallet.id.as_str());
        assert_eq!(listed.wallet.status, settings.status, "{listed:?}");
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
        let earned = coupon.earned_by.map(|id| id.0 as usize - 1);
        assert_eq!((Some(&coupon.code), coupon.user.as_str()), (granted.code.as_ref(), granted.user.as_str()));
        let granted_as = (&granted.kind.kind, &granted.kind.terms, granted.expires_at, granted.uses);
        assert_eq!((&coupon.kind, &coupon.terms, coupon.expires_at, coupon.uses), granted_as, "{coupon:?}");
        assert_eq!((coupon.taken_by.is_some(), earned), (granted.taken, granted.earned_by), "{coupon:?}");
        let number = model.coupons.iter().position(|known| known.code == granted.code).unwrap();
        assert_eq!(coupon.reserved_by.is_some(), granted.kind.terms.single_use && model.is_held(number), "{coupon:?}");
    }
    book.assert_sound();
}
