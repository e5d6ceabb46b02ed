// Dialogs that move or reserve money, give coupons, and change a wallet. Each shows the server's own answer of what would
// happen now (a dry run) before it is asked to do it.

import { cents, exact, foreign, h, less, money, plus, time } from './tools.js';
import { Refusal, look, may, send, session, tryOut, unfit, walletPath } from './requests.js';
import { terms } from './parts.js';
import { amountField, ask, closeDialog, textField } from './dialogs.js';
import { t } from './words.js';

const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value));
const referenceField = () => textField('reference', t('reference'));
const link = (number) => h('p.small',
  h('a.link', { href: `#/entries/${number}`, onclick: closeDialog }, t('entry', number)));

function receipt(answer) {
  const { entry, hold, coupon } = answer;
  const whose = hold?.user_id ?? (['recharge', 'refund'].includes(entry.kind) ? entry.to : entry.from);
  const isOfRecharge = entry.kind === 'refund' && entry.to === '@bank';
  return [h('p.cap', foreign(answer.msg)), h('p', t('balance_now', isOfRecharge ? entry.from : whose, money(answer.balance))),
    coupon?.code && h('p', t('earned', h('b.mono', coupon.code)), ' · ', terms(coupon)), link(entry.id)];
}

async function balanceOf(user) {
  try { return (await look(walletPath(user))).balance; } catch (error) { if (error.status === 404) return null; throw error; }
}

/** Refusals that are about what was typed: the form shows them. All others are shown with what would happen. */
const isOfForm = (error) => [400, 404, 422].includes(error.status) || /^coupon|exceeds$|^not_|^already_/.test(error.error ?? '');

/**
 * What the server would answer to a change now: its entry, and each wallet now and afterwards. `wallets` are those whose
 * balances the caller may see; `moves(user, amount)` is what the change does to one, for an answer that says no.
 */
async function outcome(path, body, wallets, amount, moves) {
  const before = await Promise.all(wallets.map(balanceOf));
  const names = wallets.map((user) => foreign(user));
  let answer, refusal, note;
  try { answer = await tryOut(path, body); } catch (error) {
    if (!(error instanceof Refusal) || isOfForm(error)) throw error;
    if (error.status === 423) note = t('has_lock', foreign(error.holder ?? t('another'))); else refusal = error;
  }
  const moved = answer?.entry.amount ?? amount, isOff = refusal && refusal.status !== 402; // then nothing comes afterwards
  const afterwards = (user, balance) => (moves(user) > 0 ? plus(balance ?? '0.00', moved) : less(balance ?? '0.00', moved));
  const then = (user, balance) => (answer?.entry.from === user ? answer.entry.from_balance
    : answer?.entry.to === user ? answer.entry.to_balance : null) ?? afterwards(user, balance);
  return { answer, moved, note, refusal,
    balances: wallets.map((user, at) => [names[at], before[at] ?? '0.00', isOff ? null : then(user, before[at])]) };
}

function amountOf(values) {
  const amount = exact(values.amount);
  if (!amount) throw unfit(t('amount_form'));
  return amount;
}

/**
 * A dialog that moves money by `POST path`. `body(values)` is what is sent, `check(values)` refuses what cannot be; `wallets`
 * and `moves` are those of `outcome`, `sentence` and `lines` say what will happen. Without fields `amount` is what is moved.
 */
function moveDialog({ verb, whose, danger, fields, path, amount, body = given, check, wallets, moves, sentence, lines }) {
  let label;
  ask({
    title: [t(verb), ' · ', whose], danger, fields, after: receipt, verb: () => `${t(verb)} ${label}`,
    async tell(values) {
      if (!amount) values.amount = amountOf(values);
      check?.(values);
      const { answer, moved, ...rest } = await outcome(path, body(values), wallets(values), amount ?? values.amount, moves);
      label = moved;
      return { sentence: sentence(values, money(moved), answer), lines: lines?.(values, answer), ...rest };
    },
    act: (values, key) => send('POST', path, body(values), key),
  });
}

export function moneyDialog(verb, user, coupons = []) {
  const isTransfer = verb === 'transfer', who = foreign(user);
  const coupon = { ...textField('coupon', t('coupon')), list: coupons.map((one) => [one.code, terms(one)]) };
  moveDialog({
    verb, whose: foreign(user), path: walletPath(user, `/${verb}`),
    fields: [isTransfer && { name: 'to', label: t('to') }, amountField(), verb === 'pay' && coupon, referenceField()].filter(Boolean),
    check: ({ to }) => { if (isTransfer && !to) throw unfit(t('no_user')); },
    wallets: ({ to }) => (isTransfer && may.all() ? [user, to] : [user]), moves: (one) => (one === user && verb !== 'recharge' ? -1 : 1),
    sentence: (values, moved, answer) => (values.coupon && answer ? t('tell_pay_coupon', who, moved, money(values.amount), values.coupon.toUpperCase())
      : t(`tell_${verb}`, who, moved, foreign(values.to))),
    lines: (_, answer) => (answer?.coupon ? [t('will_earn', terms(answer.coupon))] : []),
  });
}

export function refundDialog(entry, left) {
  const payer = entry.from === '@holds' ? null : entry.from;
  moveDialog({
    verb: 'refund', whose: t('entry', entry.id), danger: true, path: `/v1/entries/${entry.id}/refund`,
    fields: [amountField(t('refundable', left), left), { name: 'reference', label: t('why') }],
    check: ({ reference }) => { if (!reference) throw unfit(t('no_reason')); },
    wallets: () => [payer, entry.to].filter((one) => one && !one.startsWith('@')), moves: (one) => (one === entry.to ? -1 : 1),
    sentence: (_, moved, answer) => t('tell_refund', moved, entry.id, foreign(answer?.entry.to ?? payer ?? entry.from)),
  });
}

export const holdDialog = (user) => moveDialog({
  verb: 'hold', whose: foreign(user), path: walletPath(user, '/holds'),
  fields: [amountField(), textField('to', t('to')), { name: 'hours', label: t('hours'), kind: 'number', value: '24' }, referenceField()],
  body: ({ hours, ...values }) => given({ ...values, expires_in_s: hours && Number(hours) * 3600 }),
  check: ({ hours }) => { if (!/^\d{1,4}$/.test(hours)) throw unfit(`${t('hours')}: ${t('a_number')}`); },
  wallets: () => [user], moves: () => -1,
  sentence: ({ to }, moved) => t('tell_hold', foreign(user), moved, foreign(to || '@sales')),
  lines: (_, answer) => (answer?.hold?.expires_at ? [h('span', t('expires'), ' ', time(answer.hold.expires_at))] : []),
});

export const captureDialog = (hold) => moveDialog({
  verb: 'capture', whose: t('hold_number', hold.id), path: `/v1/holds/${hold.id}/capture`,
  fields: [amountField(null, hold.left), { name: 'final', label: t('final'), choices: [['back', t('rest_back')], ['stays', t('rest_stays')]], value: 'back' },
    referenceField()],
  body: ({ amount, final, reference }) => ({ amount, final: final === 'back', ...given({ reference }) }),
  wallets: () => [], moves: () => 0,
  sentence: (_, moved) => t('tell_capture', moved, hold.id, foreign(hold.to)),
  lines: ({ amount, final }) => (cents(hold.left) > cents(amount) ? [h('span', t('final'), ' ', money(less(hold.left, amount)), ' ', t(`rest_${final}`))] : []),
});

export const voidDialog = (hold) => moveDialog({
  verb: 'void', whose: t('hold_number', hold.id), danger: true, fields: [], path: `/v1/holds/${hold.id}/void`, amount: hold.left,
  wallets: () => [hold.user_id], moves: () => 1,
  sentence: (_, moved) => t('tell_void', moved, hold.id, foreign(hold.user_id)),
});

const couponReceipt = ({ coupon }) => [h('p', h('b.mono', coupon.code)), h('p', terms(coupon))];

export async function grantDialog(user = '') {
  const { data } = await look('/v1/coupon-kinds');
  ask({ title: t('grant'), verb: () => t('grant'), after: couponReceipt,
    fields: [{ name: 'user', label: t('user'), value: user },
      { name: 'kind', label: t('kind'), choices: data.map((kind) => [kind.kind, `${kind.kind} · ${terms(kind)}`]), value: data[0]?.kind }],
    async tell(values) {
      if (!values.user) throw unfit(t('no_user'));
      return { sentence: t('tell_grant', foreign(values.user), terms(data.find((kind) => kind.kind === values.kind))) };
    },
    act: ({ user: whose, kind }, key) => send('POST', walletPath(whose, '/coupons'), { kind }, key) });
}

export const claimDialog = (user) => ask({ title: t('claim'), verb: () => t('claim'), after: couponReceipt,
  fields: [{ name: 'code', label: t('claim_code') }],
  async tell(values) {
    if (!values.code) throw unfit(t('claim_code'));
    const { coupon } = await tryOut(walletPath(user, '/coupons/claim'), values);
    return { sentence: t('tell_claim', foreign(user), foreign(values.code.toUpperCase())), lines: [terms(coupon)] };
  },
  act: (values, key) => send('POST', walletPath(user, '/coupons/claim'), values, key) });

/** A lost card: money may come in, and none goes out. */
export const freezeDialog = (user, freeze) => ask({ title: [t(freeze ? 'freeze' : 'unfreeze'), ' · ', foreign(user)], danger: freeze, fields: [],
  verb: () => t(freeze ? 'freeze' : 'unfreeze'), tell: async () => ({ sentence: t(freeze ? 'tell_freeze' : 'tell_unfreeze', foreign(user)) }),
  act: (_, key) => send('PATCH', walletPath(user), { status: freeze ? 'frozen' : 'open' }, key) });

export function settingsDialog(wallet) {
  const { user_id: user } = wallet, isAdmin = session.me.role === 'admin';
  const limit = (name, label) => ({ name, label, hint: t('unlimited'), kind: 'amount', value: wallet[name] ?? '' });
  const states = ['open', 'frozen', ...(isAdmin || wallet.status === 'closed' ? ['closed'] : [])];
  const labels = { name: t('name'), status: t('status'), limit_per_payment: t('per_payment'), limit_per_day: t('per_day_limit') };
  ask({
    title: [t('settings'), ' · ', foreign(user)], verb: () => t('save'),
    fields: [textField('name', labels.name, wallet.name ?? ''), { name: 'status', label: labels.status, choices: states.map((one) => [one, t(one)]), value: wallet.status },
      ...(isAdmin ? [limit('limit_per_payment', labels.limit_per_payment), limit('limit_per_day', labels.limit_per_day)] : [])],
    async tell(values) {
      for (const name of ['limit_per_payment', 'limit_per_day']) {
        if (values[name] && !(values[name] = exact(values[name]))) throw unfit(t('amount_form'));
      }
      for (const name in values) if (values[name] === (wallet[name] ?? '')) delete values[name];
      if (!Object.keys(values).length) throw unfit(t('nothing_changed'));
      const show = (name, value) => foreign(name === 'status' ? t(value) : value || '–');
      return { sentence: t('tell_set', foreign(user)),
        lines: Object.keys(values).map((name) => h('span', `${labels[name]}: `, show(name, wallet[name]), ' → ', show(name, values[name]))) };
    },
    act: (values, key) => send('PATCH', walletPath(user), Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value || null])), key),
  });
}
