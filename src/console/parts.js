// Parts that several views use: cards, tables, lists that go on, refusals, and what is asked again and again.

import { $, cents, foreign, h, id, money, put, query, span } from './tools.js';
import { Lost, get, isAbort, may, session } from './requests.js';
import { t } from './words.js';

export const card = (title, side, ...body) => h('section.card',
  title && h('header', h('h2', title), h('span.grow'), side), ...body);
export const empty = (text, more) => h('div.empty', h('p', text), more);
export const button = (text, onclick, kind = '') => h('button', { class: `b ${kind}`, type: 'button', onclick }, text);
export const tag = (text, kind = '') => h('span', { class: `tag ${kind}` }, text);
export const kindTag = (kind) => tag(t(kind), { refund: 'warn', recharge: 'good' }[kind]);
export const head = (title, ...rest) => h('div.head', h('h1', title), ...rest);
export const crumb = (href, name, here) => [h('a', { href }, name), h('span.soft', ' / '), here];
export const facts = (list, style) => h('dl',
  list.filter(Boolean).map(([name, value]) => [h('dt', name), h('dd', { class: style }, value)]));
export const walletLink = (user) => (user.startsWith('@') || !may.all() ? h('span.soft', user)
  : h('a', { href: `#/wallets/${id(user)}` }, user));
const KINDS = ['recharge', 'withdraw', 'pay', 'transfer', 'refund', 'hold', 'capture', 'release'];
export const options = (pairs, chosen) => pairs.map(([value, text]) => h('option', { value, selected: value === chosen }, text));
export const kindOptions = (chosen = '') => options([['', t('all_kinds')], ...KINDS.map((kind) => [kind, t(kind)])], chosen);
export const terms = (coupon) => [coupon.amount_off ? t('off_amount', coupon.amount_off) : t('off_percent', coupon.percent_off),
  coupon.max_off && t('at_most', coupon.max_off), coupon.threshold && cents(coupon.threshold) > 0n && t('from_amount', coupon.threshold),
  coupon.single_use === false && t('for_life'), coupon.expires_at && t('until_day', coupon.expires_at.slice(0, 10))].filter(Boolean).join(', ');

export function toast(text) {
  const line = h('p', text);
  $('toast').append(line);
  setTimeout(() => line.remove(), 4000);
}
/** The strip that says that the server is waited for. */
export function banner(isShown) {
  $('banner').textContent = isShown ? `${t('no_server')} ${t('trying')}` : '';
  $('banner').hidden = !isShown;
}

/** What a refusal says: its `msg`, its `detail`, and the facts that help. */
export function explain(error) {
  if (error instanceof Lost) return [t('no_server')];
  const lines = [error.status === 503 && error.error === 'busy' ? t('busy') : error.msg ?? String(error)];
  if (error.status === 402 && error.needed) {
    lines.push(h('small', t('balance'), ' ', money(error.balance), ' · ', t('needed'), ' ', money(error.needed)));
  } else if (error.status === 423) {
    lines.push(h('small', t('holds_lock', foreign(error.holder ?? t('another')), span(error.free_in_ms ?? 0))));
  } else if (error.detail) lines.push(h('small', foreign(error.detail)));
  return lines;
}
export const fail = (error, ...more) => h('div.error', { role: 'alert' }, explain(error), ...more);

/** Runs `work` on a press, and not a second time until it is over. A refusal is shown beside the button's view. */
export const busy = (work) => async (event) => {
  event.preventDefault();
  const at = event.currentTarget;
  if (at.getAttribute('aria-busy') === 'true') return;
  at.setAttribute('aria-busy', 'true');
  try { await work(event); } catch (error) { if (!isAbort(error)) toast(explain(error)[0]); } finally { at.removeAttribute('aria-busy'); }
};

export function table(columns, rows, caption) {
  return h('div.scroll', h('table', { label: caption },
    h('thead', h('tr', columns.map(([name, style]) => h('th', { scope: 'col', class: style }, name)))), h('tbody', rows)));
}
export const cells = (columns, values, props) => h('tr', props, values.map((value, at) => h('td', { class: columns[at][1] }, value)));
export const rowLink = (href, text, props) => h('a.row', { href, ...props }, text);

/**
 * A table that grows as one scrolls; the button does the same for a keyboard. Of several `filters` each begins where the one
 * before ends, without the wallets that were there already; `order` compares items of lists that are one page each.
 */
export function feed(columns, path, filters, row, none, caption, order) {
  const holder = table(columns, [], caption), body = holder.querySelector('tbody'), lists = [filters].flat(), seenUsers = new Set(), items = [];
  const more = button(t('more'), () => load(), 'quiet'), foot = h('div.empty', more);
  let after, loading = false;
  async function load() {
    if (loading) return;
    loading = true;
    try {
      let fresh;
      do { // a page that was filtered may be empty and still go on
        const page = await get(path + query({ limit: 50, ...lists[0], after }));
        fresh = page.data.filter(({ user_id: user }) => !user || (!seenUsers.has(user) && seenUsers.add(user)));
        items.push(...fresh);
        after = page.next;
        if (!after) lists.shift();
      } while (lists.length && (order || !fresh.length));
      body.append(...(order ? items.sort(order) : fresh).map(row));
      put(foot, lists.length ? more : items.length ? h('span.small', t('end')) : none);
      if (!lists.length) seen.disconnect();
      else { seen.unobserve(foot); seen.observe(foot); } // asks again where the end is still in sight
    } catch (error) {
      if (isAbort(error)) return;
      put(foot, fail(error), more);
      if (!(error instanceof Lost)) return;
      banner(true);
      setTimeout(() => holder.isConnected && load(), 3000);
    } finally { loading = false; }
  }
  const seen = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && load(), { rootMargin: '400px' });
  seen.observe(foot);
  return h('div', holder, foot);
}

const SILENT_MS = 30_000;
/** Asks again and again while the page can be seen, until the view is left; less and less often while no answer comes. */
export async function every(ms, work) {
  const { signal } = session.leaving;
  for (let pause = ms; ;) {
    await new Promise((wake) => { setTimeout(wake, pause); });
    while (document.hidden) await new Promise((wake) => { document.addEventListener('visibilitychange', wake, { once: true }); });
    if (signal.aborted) return;
    try {
      await work(signal);
      pause = ms;
    } catch (error) {
      if (isAbort(error)) continue;
      pause = Math.min(SILENT_MS, pause * 2);
      if (error instanceof Lost) banner(true);
    }
  }
}

/** Copies, or selects the text where the browser gives no clipboard. */
export const copyButton = (node) => {
  const press = button(t('copy'), async () => {
    try {
      await navigator.clipboard.writeText(node.textContent);
      press.textContent = t('copied');
    } catch { getSelection().selectAllChildren(node); }
  });
  return press;
};
