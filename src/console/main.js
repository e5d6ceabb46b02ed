// The console of cashbox: views, dialogs and charts over the public API. It has no power of its own: all it does is done
// with the access token of its reader. Here: the frame, the address, signing in, and keys.

import { couponsView } from './coupons.js';
import { closeDialog, dialog } from './dialogs.js';
import { entriesView } from './entries.js';
import { healthView } from './health.js';
import { locksView } from './locks.js';
import { banner, button, card, fail, head } from './parts.js';
import { Lost, get, isAbort, may, session } from './requests.js';
import { todayView } from './today.js';
import { tokensView } from './tokens.js';
import { walletsView } from './wallets.js';
import { $, clockSkew, h, put, s, span } from './tools.js';
import { language, speak, stored, switchLanguage, t } from './words.js';

const VIEWS = { today: todayView, wallets: walletsView, entries: entriesView, coupons: couponsView, locks: locksView, tokens: tokensView, health: healthView };
const STAFF = ['today', 'wallets', 'entries', 'coupons', 'locks', 'health'];
const VIEWS_OF = { user: ['wallets'], locker: ['locks'], teller: STAFF, auditor: STAFF, admin: Object.keys(VIEWS) };
const allowed = () => VIEWS_OF[session.me.role] ?? [];

/** The parts of the address, and its filters; what is not UTF-8 under its percent signs is an address of nothing. */
function address() {
  const [path, search = ''] = location.hash.slice(2).split('?');
  try { return [path.split('/').map(decodeURIComponent), Object.fromEntries(new URLSearchParams(search))]; } catch { return [[''], {}]; }
}

async function show() {
  session.leaving.abort();
  session.leaving = new AbortController();
  const mine = session.leaving, [[name, ...rest], filters] = address();
  const view = allowed().includes(name) ? name : allowed()[0];
  if (!view) return;
  const isOwnEntry = session.me.role === 'user' && name === 'entries' && rest[0]; // a user has no list of entries, but own ones
  const path = session.me.role === 'user' && !isOwnEntry ? [session.me.user] : view === name || isOwnEntry ? rest : [];
  frame(view);
  $('main').setAttribute('aria-busy', 'true');
  let nodes;
  try { nodes = await VIEWS[isOwnEntry ? 'entries' : view](path, filters); } catch (error) {
    if (isAbort(error) || mine !== session.leaving) return;
    if (error instanceof Lost) waitForServer(mine);
    nodes = [fail(error), h('div', button(t('again'), show))];
  }
  if (mine !== session.leaving) return;
  $('main').removeAttribute('aria-busy');
  put($('main'), nodes);
  document.title = `${document.querySelector('h1')?.textContent ?? t(view)} · cashbox`;
  frame(view); // the first answer may have shown that a clock is wrong
  if (!performance.getEntriesByName('first-view').length) performance.mark('first-view');
}

/** Shows the strip, and the view again as soon as the server answers. */
function waitForServer(mine, pause = 1000) {
  banner(true);
  setTimeout(async () => {
    if (mine !== session.leaving) return;
    try { await get('/healthz'); } catch { waitForServer(mine, Math.min(30_000, pause * 2)); return; }
    banner(false);
    if (session.me.role) show(); else start();
  }, pause);
}

function frame(view) {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  document.querySelector('.skip').textContent = t('skip');
  $('nav').setAttribute('aria-label', t('views'));
  put($('nav'), allowed().map((name) => h('a', { href: `#/${name}`, 'aria-current': name === view && 'page' },
    s('svg', { 'aria-hidden': 'true' }, s('use', { href: `#i-${name}` })), h('span', t(session.me.role === 'user' && name === 'wallets' ? 'wallet' : name)))));
  const { role, user, open } = session.me, press = (text, onclick, props) => h('button', { type: 'button', onclick, ...props }, text);
  const off = clockSkew();
  put($('who'), role && h('span', open ? t('is_open') : [role, user].filter(Boolean).join(' · ')),
    off !== 0 && h('span.warn', t('clock_off', span(Math.abs(off)))),
    h('div', press(language === 'zh' ? 'English' : '中文', async () => { await switchLanguage(); if (role) show(); else signIn(); }, { lang: language === 'zh' ? 'en' : 'zh' }),
      press(t('theme'), () => theme(true)), press(t('keys'), help), sessionStorage.getItem('token') && press(t('forget'), () => forget())));
}

function theme(next) {
  let chosen = stored('theme');
  if (next) {
    const isDark = (chosen || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
    chosen = isDark ? 'light' : 'dark';
    stored('theme', chosen);
  }
  if (chosen) document.documentElement.dataset.theme = chosen;
}

function help() {
  const on = stored('keys') !== 'off';
  dialog(t('keys'), h('div.tell', ['key_views', 'key_find', 'key_rows', 'key_esc'].map((name) => h('p.small', t(name)))),
    h('div.row', button(t(on ? 'keys_on' : 'keys_off'), () => { stored('keys', on ? 'off' : 'on'); help(); }), button(t('close'), closeDialog, 'main')));
}

/** Forgets the access token, ends all that is under way, and empties the page. */
function forget(message) {
  sessionStorage.removeItem('token');
  session.ending.abort();
  session.leaving.abort();
  Object.assign(session, { me: { role: null }, ending: new AbortController(), leaving: new AbortController() });
  closeDialog();
  banner(false);
  signIn(message);
}

function signIn(message) {
  frame();
  const box = h('input', { type: 'password', name: 'token', autocomplete: 'off', spellcheck: 'false', label: t('sign_in'), placeholder: 'cbx_…' });
  const said = h('div', message && fail({ msg: message }));
  const form = h('form.body', { onsubmit: async (event) => {
    event.preventDefault();
    const token = box.value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) return put(said, fail({ msg: t('bad_token') }));
    sessionStorage.setItem('token', token);
    try { session.me = await get('/v1/me'); } catch (error) {
      if (isAbort(error)) return undefined;
      sessionStorage.removeItem('token');
      return put(said, fail(error.status === 401 ? { msg: t('bad_token') } : error));
    }
    await show();
    return $('main').focus();
  } }, h('p', t('sign_hint')), h('div.filters', box, h('button.b.main', t('open_it'))), said,
  h('p.soft.small', t('sign_where')));
  document.title = 'cashbox';
  $('main').removeAttribute('aria-busy');
  put($('main'), head(t('sign_in')), card(null, null, form));
}

async function start() {
  theme();
  const spoken = speak();
  try { session.me = await get('/v1/me'); } catch (error) {
    await spoken;
    if (isAbort(error)) return;
    if (error.status === 401) return sessionStorage.getItem('token') ? forget(t('bad_token')) : signIn();
    frame();
    put($('main'), fail(error), h('div', button(t('again'), start)));
    if (error instanceof Lost) waitForServer(session.leaving);
    return;
  }
  await spoken;
  await show();
}

addEventListener('token-refused', () => forget(t('bad_token')));
addEventListener('show', async () => {
  await show();
  if (document.activeElement === document.body) $('main').focus({ preventScroll: true }); // what had it was in the view
});
addEventListener('hashchange', async () => {
  if ($('dialog').open) closeDialog();
  await show();
  $('main').focus();
  scrollTo(0, 0);
});
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); $('main').focus(); });
addEventListener('keydown', (event) => {
  const rows = [...document.querySelectorAll('a.row')], at = rows.indexOf(document.activeElement);
  if (at >= 0 && ['ArrowDown', 'ArrowUp'].includes(event.key)) {
    event.preventDefault();
    rows[at + (event.key === 'ArrowDown' ? 1 : -1)]?.focus();
  }
  const isTyping = event.ctrlKey || event.metaKey || event.altKey || $('dialog').open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (isTyping || stored('keys') === 'off' || !session.me.role) return;
  if (event.key === '/') {
    event.preventDefault();
    const box = document.querySelector('[data-find]');
    if (box) box.focus(); else if (may.all()) location.hash = '#/wallets';
  } else if (event.key === '?') help();
  else if (/^[1-7]$/.test(event.key) && allowed()[event.key - 1]) location.hash = `#/${allowed()[event.key - 1]}`;
});
start();
