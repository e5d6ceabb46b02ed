// Today: five figures and a chart of a day, a week or a month, and the newest entries as they are made.

import { bars } from './charts.js';
import { button, card, cells, empty, every, kindTag, rowLink, table } from './parts.js';
import { get, isAbort, session } from './requests.js';
import { cents, count, dayOf, fromCents, h, hour, isoDay, midnight, money, now, put, query, sum, time, when } from './tools.js';
import { t } from './words.js';

const HOUR_MS = 3_600_000, QUARTER_MS = 900_000;
const DAYS = { day: 1, week: 7, month: 30 };
/** The member of a row of the report behind each figure, and the kinds that it counts. */
const FIGURES = { takings: ['takings', ['pay', 'capture']], recharged: ['recharge', ['recharge']], withdrawn: ['withdraw', ['withdraw']],
  refunds: ['refund', ['refund']] };

/** The ends of the hours of a local day: 24 of them, or 23 or 25 where the clocks change. */
function hoursOf(day) {
  const until = +midnight(day, 1), ends = [];
  for (let at = +day; at < until; at += HOUR_MS) ends.push(new Date(at));
  return [...ends, new Date(until)];
}

/** The spans of the chart, and the whole span a week earlier, up to the same quarter of an hour. */
function spans(span, day, isNow) {
  const start = midnight(day, 1 - DAYS[span]);
  const bounds = span === 'day' ? hoursOf(day) : Array.from({ length: DAYS[span] + 1 }, (_, at) => midnight(start, at));
  const until = midnight(day, -6), sameTime = midnight(new Date(now()), -7);
  const soFar = new Date(Math.ceil((+sameTime + now() - midnight(new Date(now()))) / QUARTER_MS) * QUARTER_MS);
  return { start, bounds, before: [midnight(start, -7), isNow && soFar < until && soFar > midnight(start, -7) ? soFar : until] };
}

/** Hours without money before the first and after the last are left out, but none from 7 to 19. */
function busyHours(items) {
  const used = items.flatMap((item, at) => (cents(item.amount) ? [at] : []));
  const from = items.findIndex((item) => item.hour >= 7), to = items.findLastIndex((item) => item.hour < 19);
  return items.slice(Math.min(from, used[0] ?? from), Math.max(to, used.at(-1) ?? to) + 1);
}

const report = async (bounds) => (await get(`/v1/report${query({ bounds: bounds.map((at) => at.toISOString()).join(',') })}`)).data;

export async function todayView(_, filters) {
  const span = Object.hasOwn(DAYS, filters.span) ? filters.span : 'day', show = Object.hasOwn(FIGURES, filters.show) ? filters.show : 'takings';
  const today = midnight(new Date(now())), day = dayOf(filters.day) ?? today, isNow = +day === +today;
  const { start, bounds, before } = spans(span, day, isNow);
  const link = (change) => `#/today${query({ ...filters, ...change })}`;
  const figures = h('section.card.figures', { label: t('today') }), drawn = h('div.body'), newest = h('div');
  let asTable = filters.table === 'yes', rows = [], latest = null;

  function draw() {
    const items = rows.map((row) => {
      const since = new Date(row.since), amount = row[FIGURES[show][0]];
      return span === 'day' ? { hour: since.getHours(), amount, short: String(since.getHours()), long: `${hour(since)} – ${hour(new Date(row.until))}` }
        : { amount, short: when(since, { day: 'numeric', month: 'numeric' }), long: when(since, { dateStyle: 'medium' }) };
    });
    const shown = span === 'day' ? busyHours(items) : items, label = t(span === 'day' ? 'per_hour' : 'per_day', t(show));
    const columns = [[t('time')], [t(show), 'end']];
    put(drawn, asTable ? table(columns, shown.map((item) => cells(columns, [item.long, money(item.amount)])), label) : bars(shown, label));
  }

  async function load() {
    const wallets = ['@bank', '@sales', '@holds'].map((name) => get(`/v1/wallets/${name}`));
    const [found, [earlier], ...systems] = await Promise.all([report(bounds), report(before), ...wallets]);
    rows = found;
    const hold = fromCents(-cents(sum(systems.map((wallet) => wallet.balance))));
    const numberOf = (kinds) => rows.reduce((all, row) => all + kinds.reduce((some, kind) => some + (row.count[kind] ?? 0), 0), 0);
    const figure = ([name, [member, kinds]]) => h('a.figure', { href: link({ show: name }), 'aria-current': show === name && 'true' },
      h('span', t(name)), h('b', money(sum(rows.map((row) => row[member])))),
      h('span', name === 'takings' ? t('takings_why', numberOf(kinds)) : count(numberOf(kinds))),
      h('span', t('last_week', money(earlier[member]))));
    const focused = [...figures.children].indexOf(document.activeElement);
    put(figures, Object.entries(FIGURES).map(figure),
      h('div.figure', h('span', t('customers_hold')), h('b', money(hold)), h('span', t('in_wallets'))));
    if (focused >= 0) figures.children[focused]?.focus();
    draw();
  }

  async function readNewest() {
    const { data } = await get('/v1/entries?limit=7');
    const last = data[0]?.id ?? 0, isFirst = latest === null;
    if (last === latest) return false;
    const columns = [[t('time')], [t('kind')], [t('wallet'), 'cut'], [t('amount'), 'end']];
    const wallet = (entry) => (entry.from === '@bank' || entry.from === '@sales' || entry.from === '@holds' ? entry.to : entry.from);
    const focused = newest.contains(document.activeElement) && document.activeElement.hash;
    put(newest, data.length ? table(columns, data.map((entry) => cells(columns,
      [rowLink(`#/entries/${entry.id}`, time(entry.at)), kindTag(entry.kind), wallet(entry), money(entry.amount)],
      { class: !isFirst && entry.id > latest && 'new' })), t('newest')) : empty(t('nothing_yet')));
    if (focused) [...newest.querySelectorAll('a.row')].find((link) => link.hash === focused)?.focus();
    latest = last;
    newest.dataset.since = data[0]?.at ?? '';
    return !isFirst;
  }

  // Following: a request that waits at the server for the next entry, then one round of reads. No round comes within 3 s of another.
  let following = true, parked = new AbortController();
  async function follow(leaving) {
    if (!following) return;
    parked = new AbortController();
    const signal = AbortSignal.any([leaving, parked.signal]);
    const seen = await get(`/v1/entries${query({ order: 'asc', since: newest.dataset.since, limit: 1000 })}`, { signal });
    if ((seen.data.at(-1)?.id ?? 0) <= (latest ?? 0) && !seen.next) {
      await get(`/v1/entries${query({ order: 'asc', after: seen.cursor, wait_ms: 25_000 })}`, { signal, ms: 40_000 }).catch((error) => {
        if (error.status !== 503) throw error; // too many wait: this round polls
      });
    }
    if (await readNewest() && isNow) await load();
  }
  document.addEventListener('visibilitychange', () => { if (document.hidden) parked.abort(); }, { signal: session.leaving.signal });

  const live = h('button.b.quiet', { type: 'button', 'aria-pressed': 'true' }, h('span.live', t('live')));
  live.addEventListener('click', () => {
    following = !following;
    if (!following) parked.abort();
    live.setAttribute('aria-pressed', following);
    put(live, h('span', { class: `live ${following ? '' : 'off'}` }, t(following ? 'live' : 'paused')));
  });
  const swap = button(t(asTable ? 'as_chart' : 'as_table'), () => {
    asTable = !asTable;
    swap.textContent = t(asTable ? 'as_chart' : 'as_table');
    history.replaceState(null, '', link({ table: asTable ? 'yes' : '' }));
    draw();
  }, 'quiet');

  await Promise.all([load(), readNewest()]);
  every(3000, follow).catch((error) => { if (!isAbort(error)) throw error; });
  const dated = { weekday: 'long', day: 'numeric', month: 'long' }, short = { day: 'numeric', month: 'short' };
  const name = span !== 'day' ? `${when(start, short)} – ${when(day, short)}` : isNow ? t('today') : when(day, dated);
  const step = (days) => link({ day: +midnight(day, days) === +today ? '' : isoDay(midnight(day, days)) });
  return [h('div.head', h('h1', name), isNow && span === 'day' && h('span.soft', when(day, dated)),
    h('span.grow'), h('a.b', { href: step(-DAYS[span]), label: t('earlier') }, '‹'),
    day < today && h('a.b', { href: step(Math.min(DAYS[span], Math.round((today - day) / 86_400_000))), label: t('later') }, '›'),
    h('div.seg', Object.keys(DAYS).map((one) => h('a', { href: link({ span: one }), 'aria-current': span === one && 'true' }, t(one))))),
  figures, h('div.two', card(t(span === 'day' ? 'per_hour' : 'per_day', t(show)), swap, drawn), card(t('newest'), live, newest))];
}
