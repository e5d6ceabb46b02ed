// Tokens: which access tokens there are, a new one, and the end of one.

import { button, card, cells, copyButton, empty, feed, head, tag } from './parts.js';
import { ask, textField } from './dialogs.js';
import { send, session, unfit } from './requests.js';
import { foreign, h, id, time } from './tools.js';
import { t } from './words.js';

const ROLES = ['teller', 'user', 'locker', 'auditor', 'admin'];
const name = (token) => [token.role, token.user ?? token.prefix, token.note].filter(Boolean).join(' · ');

const revokeTokenDialog = (token) => ask({ title: t('revoke'), danger: true, fields: [], verb: () => t('revoke'),
  tell: async () => ({ sentence: t('tell_token_revoke', foreign(name(token))), note: session.me.by === token.id && t('own_token') }),
  act: (_, key) => send('DELETE', `/v1/tokens/${id(token.id)}`, undefined, key) });

function mintDialog() {
  ask({ title: t('mint'), keyless: true, verb: () => t('mint_one'),
    fields: [{ name: 'role', label: t('role'), choices: ROLES.map((role) => [role, role]), value: 'teller' }, { name: 'user', label: t('user'), hint: 'user' },
      { name: 'prefix', label: t('prefix'), hint: 'locker' },
      textField('note', t('note')), { ...textField('days', t('valid_days')), kind: 'number' }],
    async tell(values) {
      if (values.role === 'user' && !values.user) throw unfit(t('no_user'));
      if (!/^\d{0,5}$/.test(values.days)) throw unfit(`${t('valid_days')}: ${t('a_number')}`);
      return { sentence: t('tell_mint', foreign(name(values))), note: t('shown_once') };
    },
    act: ({ role, user, prefix, note, days }) => send('POST', '/v1/tokens', { role, user: user || null, prefix: prefix || null, note: note || null, expires_in_s: days ? Number(days) * 86_400 : null }),
    after(answer) {
      const secret = h('code.mono', { tabindex: '0' }, answer.token);
      return [h('p', t('shown_once')), h('div.secret', secret, copyButton(secret))];
    } });
}

export async function tokensView() {
  const columns = [[t('role')], [t('user'), 'cut'], [t('note'), 'cut'], [t('created'), 'opt'], [t('last_used'), 'opt'], [t('expires'), 'opt'], [t('id'), 'opt'], ['', 'end']];
  const row = (token) => cells(columns, [tag(token.role, token.role === 'admin' ? 'warn' : ''), token.user ?? token.prefix ?? '–', foreign(token.note ?? '', 'soft'),
    time(token.created_at), time(token.last_used_at), token.expires_at ? time(token.expires_at) : h('span.soft', t('never')),
    h('span.mono.soft', token.id), token.revoked_at ? tag(t('revoked'), 'bad')
      : h('button.b.quiet.bad', { label: `${t('revoke')} ${name(token)}`, onclick: () => revokeTokenDialog(token) }, t('revoke'))]);
  return [head(t('tokens'), h('span.grow'), button(t('mint'), mintDialog, 'main')),
    card(null, null, feed(columns, '/v1/tokens', {}, row, empty(t('no_tokens')), t('tokens')))];
}
