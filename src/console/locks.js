// Locks: what is held, by which client and for how long; what happened; and taking one from its holder.

import { button, card, cells, empty, every, head, rowLink, table, tag } from './parts.js';
import { ask } from './dialogs.js';
import { get, isAbort, lockPath, may, send, unfit } from './requests.js';
import { $, foreign, h, put, query, span, time } from './tools.js';
import { t } from './words.js';

const lockTag = (state) => tag(t(state === 'held' ? 'is_held' : state), { held: 'good', grace: 'warn', revoked: 'bad' }[state]);
const eventTag = (what) => tag(t(what === 'created' ? 'granted' : what), { revoked: 'bad', taken_over: 'warn' }[what]);
const hasEnd = (lock) => ['held', 'grace', 'revoked', 'resting'].includes(lock.state);
const end = (lock) => (lock.state === 'held' ? lock.expires_in_ms : lock.free_in_ms);

function eventTable(events, withLock) {
  const columns = [[t('time')], [t('event')], [t(withLock ? 'id' : 'holder'), 'wrap']];
  const row = (event) => cells(columns, [time(event.at), eventTag(event.what),
    [withLock ? rowLink(`#/locks${query({ id: event.lock })}`, foreign(event.lock)) : foreign(event.holder ?? event.by),
      h('div.soft.small', withLock && [foreign(event.holder ?? event.by), ' · '], `${t('fence')} ${event.fence ?? '–'}`,
        event.reason && [' · ', foreign(event.reason)])]]);
  return events.length ? table(columns, events.map(row), t('events')) : empty(t('nothing_yet'));
}

export async function locksView(_, filters) {
  const columns = [[t('id'), 'cut'], [t('state')], [t('holder'), 'opt cut'], [t('fence'), 'end opt'], [t('left'), 'end'], [t('queue'), 'end']];
  const list = h('div'), side = h('div');
  const box = h('input', { type: 'search', value: filters.prefix, placeholder: t('find_lock'), label: t('find_lock'), 'data-find': true, maxlength: 255 });
  let wait, ticks = [], shape = '', about = '';
  box.addEventListener('input', () => { clearTimeout(wait); wait = setTimeout(() => {
    if (!list.isConnected) return;
    filters = { ...filters, prefix: box.value.trim() };
    history.replaceState(null, '', `#/locks${query(filters)}`);
    load().catch((error) => { if (!isAbort(error)) throw error; });
  }, 150); });

  async function load() {
    const { data } = await get(`/v1/locks${query({ prefix: filters.prefix, limit: 200 })}`), at = performance.now();
    const looks = JSON.stringify(data.map((lock) => [lock.id, lock.fence, lock.state, lock.holder, lock.queue]));
    if (looks !== shape) {
      const focused = document.activeElement?.dataset.lock;
      ticks = data.map(() => h('span'));
      const row = (lock, n) => cells(columns, [rowLink(`#/locks${query({ ...filters, id: lock.id })}`, foreign(lock.id), { 'data-lock': lock.id }),
        lockTag(lock.state), foreign(lock.holder ?? '–'), lock.fence, ticks[n], lock.queue || ''], { class: lock.id === filters.id && 'chosen' });
      put(list, data.length ? table(columns, data.map(row), t('locks')) : empty(t('no_locks')));
      shape = looks;
      if (focused) [...list.querySelectorAll('[data-lock]')].find((link) => link.dataset.lock === focused)?.focus();
    }
    data.forEach((lock, n) => {
      ticks[n].tick = () => { ticks[n].textContent = hasEnd(lock) ? span(end(lock) - (performance.now() - at)) : '–'; };
      ticks[n].tick();
    });
    await detail();
  }

  async function detail() {
    if (!filters.id && !may.all()) return put(side, card(null, null, empty(t('pick_lock'))));
    if (!filters.id) {
      const { data } = await get('/v1/lock-events?limit=20');
      if (about === (about = JSON.stringify(data))) return;
      put(side, card(t('all_events'), null, eventTable(data, true)));
      return;
    }
    const [lock, { data }] = await Promise.all([get(lockPath(filters.id)), get(lockPath(filters.id, '/events?limit=50'))]);
    if (about === (about = JSON.stringify([lock.state, lock.fence, lock.waiting, data]))) return;
    const columns = [[t('waits')], [t('since'), 'end'], [t('until'), 'end']];
    const waiting = (lock.waiting ?? []).map((one) => cells(columns, [foreign(one.holder ?? '–'), time(one.since), time(one.until)]));
    put(side, card(foreign(filters.id), may.admin() && ['held', 'grace', 'resting'].includes(lock.state) && button(t('revoke'), () => revokeLockDialog(lock), 'bad'),
      waiting.length > 0 && table(columns, waiting, t('queue')), eventTable(data)));
  }

  await load();
  every(2000, load);
  const ticking = setInterval(() => (list.isConnected || !$('main').contains(list) ? ticks.forEach((one) => one.tick?.()) : clearInterval(ticking)), 500);
  return [head(t('locks'), h('span.live.soft.small', t('live')), h('span.grow'), box),
    h('div.two', card(null, null, list), side)];
}

const revokeLockDialog = (lock) => ask({
  title: [t('revoke'), ' · ', foreign(lock.id)], danger: true, verb: () => t('revoke'),
  fields: [{ name: 'reason', label: t('why') }, { name: 'delay_s', label: t('delay'), kind: 'number', value: lock.state === 'resting' ? '0' : '10' }],
  async tell(values) {
    if (!values.reason) throw unfit(t('no_reason'));
    if (!/^\d{1,5}$/.test(values.delay_s)) throw unfit(`${t('delay')}: ${t('a_number')}`);
    if (lock.state === 'resting') return { sentence: t('tell_unrest', foreign(lock.id)) };
    return { sentence: t('tell_revoke', foreign(lock.holder ?? '–'), foreign(lock.id)), note: t('tell_revoke_more', lock.fence, values.delay_s) };
  },
  act: ({ reason, delay_s }, key) => send('POST', lockPath(lock.id, '/revoke'), { fence: lock.fence, delay_ms: Number(delay_s) * 1000, reason }, key),
});
