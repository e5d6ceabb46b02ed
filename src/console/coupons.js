// Coupons: kinds and recharge tiers as tables whose cells are fields, a code to look up, and grants.

import { busy, button, card, facts, fail, head, options, table, tag, terms, walletLink } from './parts.js';
import { ask } from './dialogs.js';
import { grantDialog } from './money.js';
import { get, getTagged, isAbort, may, send } from './requests.js';
import { dayOf, foreign, h, id, isoDay, midnight, money, put, query, time } from './tools.js';
import { t } from './words.js';

/** A column: [name in the request, label, style, choices]. */
const KIND_COLUMNS = () => [['kind', t('kind'), 'short'], ['amount_off', t('off'), 'end'], ['percent_off', t('percent'), 'end'],
  ['threshold', t('threshold'), 'end'], ['single_use', t('single')], ['earned_en', t('earned_en'), 'long'], ['earned_zh', t('earned_zh'), 'long']];
const MORE_COLUMNS = () => ['max_off', 'valid_days', 'valid_from', 'valid_until', 'limit_total', 'limit_per_user', 'claim_code']
  .map((name) => [name, t(name)]);
const NUMBERS = ['percent_off', 'valid_days', 'limit_total', 'limit_per_user'], DATES = ['valid_from', 'valid_until'];

function cell(row, [name, label, style, choices], isEditor) {
  const props = { 'data-name': name, label, class: style, spellcheck: 'false', autocomplete: 'off' };
  if (!isEditor && DATES.includes(name)) return time(row[name]);
  if (!isEditor) return foreign(name === 'single_use' ? (row[name] ? '✓' : '–') : String(row[name] ?? '–'));
  if (choices) return h('select', props, options(choices, row[name] ?? ''));
  if (name === 'single_use') return h('input', { ...props, type: 'checkbox', checked: row[name] !== false });
  if (DATES.includes(name)) return h('input', { ...props, type: 'date', value: row[name] && isoDay(new Date(row[name])), 'data-was': row[name] });
  return h('input', { ...props, value: row[name] ?? '' });
}

/** What a field sends. A local day is its first moment, or its last one for `valid_until`; one that was not changed is sent as it was. */
function valueOf({ dataset: { name, was }, type, checked, value }) {
  if (type === 'checkbox') return checked;
  const text = value.trim() || null, day = type === 'date' && dayOf(text);
  if (day) return was && isoDay(new Date(was)) === text ? was : new Date(name === 'valid_from' ? day : midnight(day, 1) - 1).toISOString();
  return NUMBERS.includes(name) && /^\d{1,9}$/.test(text ?? '') ? Number(text) : text;
}

/** The rows of a table as they are typed now; a number that cannot be one is sent as it stands, for the server to refuse. */
function typed(body) {
  return [...body.querySelectorAll('tr.line')].map((tr) => {
    const inputs = [tr, tr.nextElementSibling?.matches('tr.extra') && tr.nextElementSibling].filter(Boolean)
      .flatMap((one) => [...one.querySelectorAll('[data-name]')]);
    return Object.fromEntries(inputs.map((input) => [input.dataset.name, valueOf(input)]));
  });
}

/** A table of fields that is saved as a whole, if it is still as it was read. */
function editor({ title, path, field, columns, more = [], rows, etag, label }) {
  const isEditor = may.admin(), width = columns.length + 1;
  const save = button(t('save'), () => saveDialog(), 'main');
  const touched = () => { save.disabled = false; };
  function line(row) {
    const extra = more.length > 0 && h('tr.extra', { hidden: !more.some(([name]) => row[name] !== null && row[name] !== undefined) },
      h('td', { colspan: width }, h('div.filters', more.map((column) => h('label.field', h('span', column[1]), cell(row, column, isEditor))))));
    const swap = extra && h('button.b.quiet', { label: t('more_terms'), title: t('more_terms'),
      'aria-expanded': String(!extra.hidden), onclick: () => { extra.hidden = !extra.hidden; swap.setAttribute('aria-expanded', !extra.hidden); } }, '⋯');
    const remove = isEditor && h('button.b.quiet', { label: t('remove'), title: t('remove'),
      onclick: () => { main.remove(); if (extra) extra.remove(); touched(); } }, '✕');
    const main = h('tr.line', columns.map((column) => h('td', { class: column[2], 'data-label': column[1] }, cell(row, column, isEditor))), h('td.end', swap, remove));
    return [main, extra].filter(Boolean);
  }
  const holder = table([...columns.map(([, text, style]) => [text, style]), ['', 'end']], rows.map(line), title), body = holder.querySelector('tbody');
  if (more.length) holder.classList.add('edit'); // one field above the other on a phone
  const first = typed(body);
  save.disabled = true;
  body.addEventListener('input', touched);
  function saveDialog() {
    const name = columns[0][0], rowsNow = typed(body);
    const same = (a, b) => JSON.stringify(a) === JSON.stringify(b), before = (row) => first.find((one) => one[name] === row[name]);
    const said = (word, row) => t(word, foreign(label(row)));
    const lines = [...rowsNow.filter((row) => !before(row)).map((row) => said('row_new', row)),
      ...rowsNow.filter((row) => before(row) && !same(row, before(row))).map((row) => said('row_changed', row)),
      ...first.filter((row) => !rowsNow.some((one) => one[name] === row[name])).map((row) => said('row_gone', row))];
    ask({ title, fields: [], verb: () => t('save'), tell: async () => ({ sentence: t('tell_save', rowsNow.length), lines, note: t('keep_terms') }),
      act: (_, key) => send('PUT', path, { [field]: rowsNow }, key, etag) });
  }
  const add = () => { body.append(...line({})); touched(); body.querySelector('tr.line:last-of-type input, tr.line:nth-last-child(2) input')?.focus(); };
  return card(title, isEditor && [button(t('add'), add, 'quiet'), save], holder);
}

export async function couponsView() {
  const [kinds, tiers] = await Promise.all([getTagged('/v1/coupon-kinds'), getTagged('/v1/tiers')]);
  const found = h('div'), code = h('input', { label: t('code'), placeholder: '7K2Q', maxlength: 12, 'data-find': true, autocomplete: 'off' });
  const amount = h('input', { label: t('quote'), placeholder: t('amount'), inputmode: 'decimal', autocomplete: 'off' });
  async function search(event) {
    event.preventDefault();
    const path = `/v1/coupons/${id(code.value.trim())}`, price = amount.value.trim();
    try {
      const { coupon } = await get(path), quote = price && await get(`${path}/quote${query({ amount: price })}`);
      const cost = quote && (quote.applicable ? [money(quote.amount), h('span.soft', ' = ', money(quote.gross), ' − ', money(quote.discount))] : foreign(quote.detail));
      put(found, facts([[t('code'), h('b.mono', coupon.code)], [t('user'), walletLink(coupon.user_id)], [t('kind'), terms(coupon)],
        [t('state'), tag(t(coupon.state), coupon.state === 'usable' ? 'good' : '')], cost && [t('quote'), cost]]));
    } catch (error) { if (!isAbort(error)) put(found, fail(error)); }
  }
  const form = h('form.filters', { onsubmit: search }, code, amount, h('button.b', t('find')));
  const choices = [['', '–'], ...kinds.data.map((kind) => [kind.kind, `${kind.kind} · ${terms(kind)}`])];
  return [head(t('coupons'), h('span.grow'), may.staff() && button(t('grant'), busy(() => grantDialog()), 'main')),
    editor({ title: t('kinds'), path: '/v1/coupon-kinds', field: 'coupon_kinds', columns: KIND_COLUMNS(), more: MORE_COLUMNS(), rows: kinds.data, etag: kinds.etag,
      label: (row) => [row.kind, row.amount_off || row.percent_off ? terms({ ...row, threshold: null }) : ''].join(' · ') }),
    h('div.two', editor({ title: t('tiers'), path: '/v1/tiers', field: 'tiers', columns: [['from', t('from'), 'end'], ['coupon_kind', t('earns'), '', choices]],
      rows: tiers.data, etag: tiers.etag, label: (row) => `${row.from} → ${row.coupon_kind ?? '–'}` }), card(t('look_up'), null, h('div.body', form, found)))];
}
