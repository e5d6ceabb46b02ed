// Wallets: a list that filters while one types, and one wallet with its line, its history, its coupons and holds.

import { steps } from './charts.js';
import { button, busy, card, cells, crumb, empty, every, facts, feed, head, kindOptions, kindTag, options, rowLink, table, tag, terms, walletLink } from './parts.js';
import { captureDialog, claimDialog, freezeDialog, grantDialog, holdDialog, moneyDialog, settingsDialog, voidDialog } from './money.js';
import { get, isAbort, lockPath, may, session, walletPath } from './requests.js';
import { $, cents, count, foreign, h, id, money, now, put, query, time } from './tools.js';
import { t } from './words.js';

const statusTag = (status) => status !== 'open' && tag(t(status), status === 'frozen' ? 'warn' : 'bad');

export async function walletsView(path, filters) {
  if (path[0]) return walletView(path[0], filters);
  const columns = [[t('user'), 'cut'], [t('balance'), 'end'], [t('held'), 'end opt'], [t('last_at'), 'end'], [t('entries'), 'end opt']];
  const box = h('input', { type: 'search', value: filters.prefix, placeholder: t('search_wallet'), label: t('search_wallet'),
    'data-find': true, maxlength: 64 });
  const order = h('select', { label: t('sort') }, options([['', t('by_name')], ['balance', t('by_balance')]], filters.order));
  const list = h('div');
  const row = (wallet) => cells(columns, [[rowLink(`#/wallets/${id(wallet.user_id)}`, wallet.user_id), ' ',
    wallet.name && foreign(wallet.name, 'soft'), ' ', statusTag(wallet.status)], money(wallet.balance),
  cents(wallet.held) ? money(wallet.held) : '', time(wallet.last_at), h('span.soft', wallet.entries)]);
  function fill() {
    const prefix = box.value.trim(), isByBalance = order.value === 'balance';
    history.replaceState(null, '', `#/wallets${query({ prefix, order: order.value })}`);
    const isUser = /^[A-Za-z0-9._-]{1,64}$/.test(prefix);
    const none = empty(prefix ? t('no_wallets', foreign(prefix)) : t('first_wallet'),
      may.staff() && button([t('recharge'), isUser && ` · ${prefix}`], () => moneyDialog('recharge', isUser ? prefix : 'alice')));
    // Those whose user begins so, then those whose name does, as it was typed or with capitals.
    const capital = prefix.replace(/(^|\s)\p{L}/gu, (letter) => letter.toUpperCase()), names = prefix ? [...new Set([prefix, capital])].map((name) => ({ name })) : [];
    const lists = [{ prefix }, ...names].map((one) => ({ ...one, order: order.value, system: 'false', limit: isByBalance ? 1000 : 50 }));
    put(list, feed(columns, '/v1/wallets', lists, row, none, t('wallets'),
      isByBalance && ((a, b) => (cents(a.balance) < cents(b.balance) ? 1 : cents(a.balance) > cents(b.balance) ? -1 : 0))));
  }
  let wait;
  box.addEventListener('input', () => { clearTimeout(wait); wait = setTimeout(() => list.isConnected && fill(), 150); });
  order.addEventListener('change', fill);
  fill();
  return [head(t('wallets')), h('div.filters', box, order), card(null, null, list)];
}

const MONTH_MS = 30 * 86_400_000, PAGES_MAX = 5;
const orElse = (other) => (error) => { if (isAbort(error)) throw error; return other; };

/** The balance over 30 days, from the newest 5,000 entries at most; it comes after the rest of the view. */
async function line(user, wallet, holder, title) {
  const until = now();
  let since = until - MONTH_MS, entries = [], after;
  for (let page = 0; page < PAGES_MAX && (page === 0 || after); page += 1) {
    const { data, next } = await get(walletPath(user, '/entries', { since: new Date(since).toISOString(), limit: 1000, after }));
    entries.push(...data);
    after = next;
  }
  if (after) title.textContent = ` · ${t('newest_of', entries.length)}`;
  entries.reverse();
  const isOfUser = (entry) => entry.to === user;
  const balance = (entry) => cents(isOfUser(entry) ? entry.to_balance : entry.from_balance);
  const first = entries[0];
  // Before the first of these entries: what that entry moved is taken off again.
  const start = first ? balance(first) + (isOfUser(first) ? -cents(first.amount) : cents(first.amount)) : cents(wallet.balance);
  if (first && (after || wallet.entries === entries.length)) since = Date.parse(first.at) - 1;
  const points = [[since, start], ...entries.map((entry) => [Date.parse(entry.at), balance(entry)])];
  put(holder, steps(points, since, Math.max(until, since + 1), `${t('balance_over')}: ${wallet.balance}`));
}

const stateTag = (state) => tag(t(state), { usable: 'good', pending: 'good', reserved: 'warn' }[state]);

function couponsCard(user, given) {
  const columns = [[t('code')], [t('terms'), 'wrap'], [t('state'), 'end']];
  const rows = given.map((coupon) => cells(columns, [h('span.mono', coupon.code), terms(coupon), stateTag(coupon.state)]));
  const verbs = [may.money() && button(t('claim'), () => claimDialog(user), 'quiet'),
    may.staff() && button(t('grant'), busy(() => grantDialog(user)), 'quiet')];
  return card(t('coupons'), verbs, rows.length ? table(columns, rows, t('coupons')) : empty(t('no_coupons')));
}

function holdsCard(user, holds) {
  if (!holds.length && !may.staff()) return null;
  const columns = [[t('to'), 'wrap'], [t('amount'), 'end'], [t('state'), 'end']];
  const verbs = (hold) => hold.state === 'open' && may.staff() && h('div.verbs',
    button(t('capture'), () => captureDialog(hold), 'quiet'), button(t('void'), () => voidDialog(hold), 'quiet bad'));
  const rows = holds.map((hold) => cells(columns, [[rowLink(`#/entries/${hold.id}`, ['→ ', foreign(hold.to)]), h('div.soft.small',
    foreign(hold.reference ?? ''), ' ', t('expires'), ' ', time(hold.expires_at)), verbs(hold)],
  money(hold.state === 'open' ? hold.left : hold.amount), stateTag(hold.state === 'open' ? 'pending' : hold.state)]));
  return card(t('holds'), may.staff() && button(t('hold'), () => holdDialog(user), 'quiet'),
    rows.length ? table(columns, rows, t('holds')) : empty(t('no_holds')));
}

async function walletView(user, filters) {
  const [wallet, given, holds] = await Promise.all([
    get(walletPath(user)).catch((error) => { if (error.status === 404) return null; throw error; }),
    get(walletPath(user, '/coupons', { limit: 100 })).catch(orElse({ data: [] })),
    get(walletPath(user, '/holds', { limit: 20 })).catch(orElse({ data: [] }))]);
  const verb = (name) => button(t(name), () => moneyDialog(name, user, given.data.filter((coupon) => coupon.state === 'usable')), name === 'recharge' ? 'main' : '');
  const title = [may.all() ? crumb('#/wallets', t('wallets'), user) : user];
  if (!wallet) return [head(title), card(null, null, empty(t('no_wallet', foreign(user)), may.money() && verb('recharge')))];

  const lock = h('span', t('lock_free'));
  const readLock = async () => {
    const { state, holder, fence } = await get(lockPath(`wallet/${user}`));
    lock.textContent = state === 'free' ? t('lock_free') : t('lock_held', holder ?? '–', fence ?? '–');
  };
  readLock().catch(() => {});
  const drawn = h('div.body'), newest = h('span.soft.small');
  line(user, wallet, drawn, newest).catch(() => {});
  let entries = wallet.entries; // an open page notices what others do to the wallet
  every(5000, async () => {
    const fresh = await get(walletPath(user));
    const isIdle = [document.body, $('main')].includes(document.activeElement) && scrollY < 200;
    if (fresh.entries !== entries && isIdle) dispatchEvent(new Event('show'));
    entries = fresh.entries;
  });

  const columns = [[t('time')], [t('kind')], [t('from_to'), 'opt cut'], [t('amount'), 'end'], [t('after'), 'end opt']];
  const kind = h('select', { label: t('kind'), onchange: () => { location.hash = `#/wallets/${id(user)}${query({ kind: kind.value })}`; } }, kindOptions(filters.kind));
  const rows = feed(columns, walletPath(user, '/entries'), { kind: filters.kind }, (entry) => {
    const isIn = entry.to === user, other = isIn ? entry.from : entry.to;
    return cells(columns, [rowLink(`#/entries/${entry.id}`, time(entry.at)), kindTag(entry.kind),
      [h('span.soft', isIn ? '← ' : '→ '), walletLink(other), entry.reference && [' · ', foreign(entry.reference, 'soft')]],
      money(entry.amount, isIn ? '+' : '−'), h('span.soft', money(isIn ? entry.to_balance : entry.from_balance))]);
  }, empty(t('no_entries')), t('history'));

  const isFrozen = wallet.status === 'frozen', limits = wallet.limit_per_payment || wallet.limit_per_day;
  const settings = card(t('settings'), may.staff() && [wallet.status !== 'closed' && button(t(isFrozen ? 'unfreeze' : 'freeze'), () => freezeDialog(user, !isFrozen),
    `quiet ${isFrozen ? '' : 'bad'}`), button(t('edit'), () => settingsDialog(wallet), 'quiet')],
  h('div.body', facts([[t('name'), wallet.name ? foreign(wallet.name) : '–'], [t('status'), statusTag(wallet.status) || t('open')],
    limits && [t('per_payment'), money(wallet.limit_per_payment)], limits && [t('per_day_limit'), money(wallet.limit_per_day)],
    wallet.spent_today && [t('spent_today'), money(wallet.spent_today)],
    wallet.metadata && [t('metadata'), Object.entries(wallet.metadata).map(([name, value]) => h('div', foreign(`${name} = ${value}`)))]])));
  settings.classList.add('first');
  const past = card(t('history'), kind, rows);
  past.classList.add('last'); // it goes on for ever
  const verbs = may.money() && h('div.verbs', ['recharge', 'pay', 'withdraw', 'transfer'].map(verb));
  return [head(title, wallet.name && foreign(wallet.name, 'soft'), statusTag(wallet.status), h('span.grow'), verbs),
    h('div.two.wallet', h('div.stack', card(t('balance_over'), newest, drawn), past),
      h('div.stack', h('section.card.first', h('div.figure', h('span', t('balance')), h('b', money(wallet.balance)),
        cents(wallet.held) ? h('span', t('held'), ' ', money(wallet.held)) : null, h('span', count(wallet.entries)), lock)),
      couponsCard(user, given.data), holdsCard(user, holds.data), session.me.role !== 'user' && settings))];
}
