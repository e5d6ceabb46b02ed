// Entries: all of them behind one field and a few filters, and one entry with the refunds of it.

import { button, busy, card, cells, crumb, empty, facts, feed, head, kindOptions, kindTag, rowLink, table, walletLink } from './parts.js';
import { refundDialog } from './money.js';
import { download, get, may, session, walletPath } from './requests.js';
import { cents, dayOf, foreign, h, id, isoDay, midnight, money, now, query, time, utc } from './tools.js';
import { t } from './words.js';

/** On a phone the system's side and the arrow give way, unless both sides are the system's. */
function parties({ from, to }) {
  const isSystem = (wallet) => wallet.startsWith('@') && !(from.startsWith('@') && to.startsWith('@'));
  const style = (wallet) => (isSystem(wallet) ? 'opt' : '');
  return [h('span', { class: style(from) }, walletLink(from)), h('span', { class: `soft ${style(from) || style(to)}` }, ' → '),
    h('span', { class: style(to) }, walletLink(to))];
}

/** The filters of an address as the server takes them: whole local days, and what the one field means. */
function asked(filters) {
  const since = dayOf(filters.since), until = dayOf(filters.until), find = (filters.find ?? '').trim();
  const [, name, value] = find.match(/^([^=]+)=(.*)$/) ?? [];
  return { kind: filters.kind, user: filters.user, since: since?.toISOString(), until: until && new Date(+midnight(until, 1) - 1).toISOString(),
    ...(name ? { [`metadata[${name.trim()}]`]: value.trim() } : { reference: find }) };
}

export async function entriesView(path, filters) {
  if (path[0]) return entryView(path[0]);
  const box = h('input', { type: 'search', name: 'find', value: filters.find, placeholder: t('find_entry'), label: t('find_entry'),
    'data-find': true, maxlength: 600 });
  const date = (name) => h('label.field', h('span', t(name)), h('input', { type: 'date', name, value: filters[name] }));
  const form = h('form.filters', { role: 'search', onsubmit: (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form)), find = values.find.trim();
    location.hash = /^\d{1,18}$/.test(find) ? `#/entries/${find}` : `#/entries${query(values)}`;
  } }, box, h('select', { name: 'kind', label: t('kind') }, kindOptions(filters.kind)), date('since'), date('until'),
  h('button.b.main', t('find')));
  const columns = [[t('time')], [t('kind')], [t('from_to'), 'cut'], [t('amount'), 'end'], [t('reference'), 'opt cut']];
  const row = (entry) => cells(columns, [rowLink(`#/entries/${entry.id}`, time(entry.at)), kindTag(entry.kind), parties(entry), money(entry.amount),
    foreign(entry.reference ?? '', 'soft')]);
  const save = busy(() => download(`/v1/entries${query(asked(filters))}`, `entries-${isoDay(new Date(now()))}.csv`, 'text/csv'));
  return [head(t('entries'), h('span.grow'), button(t('csv'), save)), form,
    card(null, null, feed(columns, '/v1/entries', asked(filters), row, empty(t('no_entries')), t('entries')))];
}

async function entryView(number) {
  const { entry: one, refundable } = await get(`/v1/entries/${id(number)}`);
  const isRefund = one.kind === 'refund', list = may.all() ? '/v1/entries' : walletPath(session.me.user, '/entries');
  const refunds = isRefund ? [] : (await get(`${list}${query({ refunds: one.id, limit: 100 })}`)).data;
  const pair = ([name, value]) => h('div', h('a.link', { href: `#/entries${query({ find: `${name}=${value}` })}` }, foreign(`${name} = ${value}`)));
  const about = facts([[t('time'), [time(one.at, true), h('div.soft.small', utc(one.at))]],
    [t('from_to'), [walletLink(one.from), ' → ', walletLink(one.to)]],
    [t('balances_after'), [[one.from, one.from_balance], [one.to, one.to_balance]].map(([who, balance]) => balance && h('div', who, ' ', money(balance)))],
    one.gross && cents(one.discount) > 0n && [t('gross'), [money(one.gross), ' − ', money(one.discount)]],
    one.coupon && [t('coupon'), h('span.mono', one.coupon)],
    isRefund && [t('refund'), h('a.link', { href: `#/entries/${one.refunds}` }, t('refunds_entry', one.refunds))],
    one.hold && [t('hold'), h('a.link', { href: `#/entries/${one.hold}` }, t('hold_number', one.hold))],
    one.hold_until && one.kind === 'hold' && [t('expires'), time(one.hold_until, true)],
    one.reference && [t('reference'), foreign(one.reference)], one.metadata && [t('metadata'), Object.entries(one.metadata).map(pair)],
    [t('by'), h('span.mono', one.by)], [t('fence'), one.fence ?? '–'], one.hash && [t('hash'), h('span.mono', one.hash)]]);
  const columns = [[t('time')], [t('amount'), 'end'], [t('why'), 'cut']];
  const rows = refunds.map((refund) => cells(columns, [rowLink(`#/entries/${refund.id}`, time(refund.at)), money(refund.amount), foreign(refund.reference ?? '', 'soft')]));
  const isLeft = cents(refundable) > 0n;
  return [head(crumb(may.all() ? '#/entries' : '#/wallets', t(may.all() ? 'entries' : 'wallet'), one.id), kindTag(one.kind), h('span.grow'),
    may.staff() && isLeft && button(t('refund'), () => refundDialog(one, refundable), 'bad')),
  h('div.two', h('section.card', h('div.figure', h('span', t('amount')), h('b', money(one.amount))),
    h('div.body', about)),
  !isRefund && card(t('refunds_of_it'), isLeft && h('span.soft.small', t('refundable', money(refundable))),
    rows.length ? table(columns, rows, t('refunds_of_it')) : empty(t('none_refunded'))))];
}
