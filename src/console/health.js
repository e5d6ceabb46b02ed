// Health: whether the server is well, its figures, the audit, a backup, and the journal.

import { busy, button, card, cells, every, facts, fail, feed, empty, head, tag } from './parts.js';
import { download, get, getText, isAbort, may } from './requests.js';
import { foreign, h, isoDay, now, put, size, time } from './tools.js';
import { t } from './words.js';

/** Reads the figures of the page out of the text of `/metrics`. */
function figuresOf(text) {
  const value = (name) => Number(text.match(new RegExp(`^cashbox_${name} (.*)$`, 'm'))?.[1] ?? 0);
  const answered = { 2: 0, 4: 0, 5: 0 };
  for (const [, first, n] of text.matchAll(/^cashbox_requests_total\{.*status="(\d)\d\d"\} (\d+)$/gm)) answered[first] += Number(n);
  return [['good_requests', answered[2]], ['refused_requests', answered[4]], ['failed_requests', answered[5]], ['commands', value('commands_total')],
    ['commits', value('commits_total')], ['replays', value('idempotent_replays_total')], ['lock_waits', value('lock_waits_total')],
    ['takeovers', value('lock_takeovers_total')], ['log', size(value('wal_bytes'))], ['free_bytes', size(value('free_bytes'))]];
}

/** The journal, if this server has one that the caller may read. */
async function journalCard() {
  try { await get('/v1/journal?limit=1'); } catch (error) { if (isAbort(error)) throw error; return null; }
  const columns = [[t('time')], [t('what'), 'wrap'], [t('subject'), 'cut'], [t('by'), 'opt cut']];
  const row = (one) => cells(columns, [time(one.at), one.what.split('_').map((word) => t(word)).join(' ').toLowerCase(), foreign(one.subject ?? '', 'soft'), h('span.mono.soft', one.by ?? '')]);
  return card(t('journal'), null, feed(columns, '/v1/journal', {}, row, empty(t('nothing_yet')), t('journal')));
}

export async function healthView() {
  const state = h('div.body'), figures = h('div.body'), since = h('span'), backupHint = h('p.soft');
  const audit = h('div.body', h('p.soft', t('verify_hint')));
  async function load() {
    const [health, text] = await Promise.all([get('/healthz'), getText('/metrics')]);
    put(state, h('p', tag(health.status, health.status === 'ok' ? 'good' : 'bad')), health.why.map((why) => h('p.error', foreign(why))),
      facts([[t('version'), health.version], [t('queued'), health.queued], [t('waiting'), health.waiting], [t('file_size'), size(health.db_bytes)]], 'end'));
    put(since, t('figures', time(health.started_at)));
    backupHint.textContent = t('backup_hint', size(health.db_bytes + health.wal_bytes));
    put(figures, facts(figuresOf(text).map(([name, figure]) => [t(name), figure]), 'end'));
  }
  const run = button(t('run_verify'), busy(async () => {
    audit.setAttribute('aria-busy', 'true');
    try {
      const found = await get('/v1/verify', { ms: 600_000 });
      const findings = () => fail({ msg: t('findings', found.findings.length) }, found.findings.map((one) => h('small', foreign(one.finding))));
      put(audit, found.ok ? h('p', { role: 'status' }, tag('ok', 'good'), ' ', t('clean', found.entries, found.wallets)) : findings(),
        facts([[t('last_hash'), h('span.mono', found.line ?? found.last_hash)]]));
    } catch (error) { if (!isAbort(error)) put(audit, fail(error)); } finally { audit.removeAttribute('aria-busy'); }
  }), 'main');
  const save = busy(() => download('/v1/backup', `cashbox-${isoDay(new Date(now()))}.db`, '*/*'));
  const [, journal] = await Promise.all([load(), may.audit() && journalCard()]);
  every(5000, load);
  return [head(t('health')), h('div.two', h('div.stack', may.audit() && card(t('verify'), run, audit), card(t('server'), null, state),
    may.admin() && card(t('backup'), button(t('download'), save), h('div.body', backupHint)), journal), card(since, null, figures))];
}
