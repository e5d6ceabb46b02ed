// Dialogs: fill in, read what will happen, done. The key is made with the reading and thrown away when Back changes
// anything, so two presses, and a second try after a lost answer, are one effect.

import { $, h, money, newKey, put } from './tools.js';
import { Lost, isAbort } from './requests.js';
import { busy, button, explain, fail, options, toast } from './parts.js';
import { t } from './words.js';

let shown = 0; // grows with each dialog, so that an answer that comes late opens none
let changed = 0; // the time at which another step was shown, or the dialog closed
const TWICE_MS = 600;
export function dialog(title, ...content) {
  const box = $('dialog');
  shown += 1;
  changed = performance.now();
  put(box, h('form', { method: 'dialog', novalidate: true, onsubmit: (event) => event.preventDefault() },
    h('h2', { id: 'dialog-title' }, title), ...content));
  if (!box.open) box.showModal();
  (box.querySelector('[autofocus]') ?? box.querySelector('input, select, button'))?.focus();
  return box;
}
export const closeDialog = () => $('dialog').close();
$('dialog').addEventListener('close', ({ target: box }) => {
  if (box.open) return; // the next dialog was opened before this event came
  shown += 1;
  changed = performance.now();
  put(box); // a secret that was shown goes with it
});

// The second press of two is not one for what came under it: no step is passed over, and nothing behind a closed dialog is pressed.
for (const name of ['mousedown', 'click']) {
  addEventListener(name, (event) => {
    const isSecond = event.detail > 1 || event.pointerType === 'touch'; // slow taps are not counted
    if (!isSecond || performance.now() - changed > TWICE_MS) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);
}
addEventListener('keydown', (event) => { if (event.repeat && event.key === 'Enter') event.preventDefault(); });

/** Reads the view again. */
const renew = () => dispatchEvent(new Event('show'));

function field({ name, label, kind, hint, list, choices, autofocus }, value) {
  const props = { name, autofocus, autocomplete: 'off', spellcheck: 'false', class: kind, maxlength: 300,
    inputmode: { amount: 'decimal', number: 'numeric' }[kind], list: list && `list-${name}`, value };
  return h('label.field', h('span', label, hint && [' · ', hint]),
    choices ? h('select', { name, autofocus }, options(choices, value)) : h('input', props),
    list && h('datalist', { id: `list-${name}` }, list.map(([code, text]) => h('option', { value: code }, text))));
}

/** Counts down to zero on a button, which works all the time. */
function countDown(at, seconds) {
  if (!(seconds > 0)) return;
  at.textContent = t('try_in', seconds);
  setTimeout(() => { if (at.isConnected) { if (seconds > 1) countDown(at, seconds - 1); else at.textContent = t('again'); } }, 1000);
}

/** What `tell` says: a sentence, lines, each wallet now and afterwards, and what the server would refuse. */
function outlook({ sentence, balances = [], lines = [], note, refusal }) {
  const after = (then) => h('td', then && h('b', { class: then.startsWith('-') ? 'bad' : '' }, money(then)));
  const short = balances.filter(([, , then]) => then?.startsWith('-'));
  return [h('p', sentence), lines.map((line) => h('p.small', line)),
    balances.length > 0 && h('table', h('tr', h('td'), h('td.soft.small', t('now')), h('td.soft.small', t('then'))),
      balances.map(([who, before, then]) => h('tr', h('td', who), h('td', money(before)), after(then)))),
    short.map(([who]) => h('p.small.bad', t('too_much', who))),
    refusal && !short.length && h('div.small.bad', t('would_refuse'), ' ', explain(refusal)),
    note && h('p.small', note)];
}

/** Refusals after which only reading again helps. */
const STALE = ['changed_meanwhile', 'lock_changed'];

/**
 * `fields`: [{ name, label, kind, value, choices, list, hint }]. `tell(values)` checks them and says what will happen;
 * `act(values, key)` does it; `after(answer)` has the nodes of the receipt, or nothing for a passing message.
 */
export function ask({ title, fields, tell, verb, act, after, danger, keyless }) {
  let values = Object.fromEntries(fields.map((one) => [one.name, one.value ?? '']));
  function fill(error) {
    const next = h('button.b.main', t('review'));
    const box = dialog(title, fields.map((one, at) => field({ ...one, autofocus: at === 0 }, values[one.name])),
      error && fail(error), h('div.row', button(t('cancel'), closeDialog), next));
    next.addEventListener('click', busy(async () => {
      values = Object.fromEntries(new FormData(box.querySelector('form')));
      for (const name in values) values[name] = values[name].trim();
      await read();
    }));
  }
  async function read() {
    const mine = shown, asked = { ...values };
    try {
      const what = await tell(asked);
      if (mine === shown) review(asked, what, newKey());
    } catch (error) {
      if (isAbort(error) || mine !== shown) return;
      if (fields.length) return fill(error);
      closeDialog();
      toast(explain(error)[0]);
    }
  }
  function review(asked, what, key, error) {
    const lost = error instanceof Lost, isStale = STALE.includes(error?.error), isOver = isStale || (lost && keyless);
    const leave = () => { closeDialog(); if (lost || isStale) renew(); };
    const go = h('button', { class: `b main ${danger ? 'bad' : ''}`, autofocus: true },
      lost || [423, 503, 500].includes(error?.status) ? t('again') : verb(asked));
    const said = lost ? h('div.error', { role: 'alert' }, t(keyless ? 'lost_keyless' : 'lost'))
      : error && fail(error, isStale && h('small', t(error.error === 'lock_changed' ? 'lock_changed' : 'faster')));
    dialog(title, h('div.tell', outlook(what), !keyless && h('p.soft.small', t('once'))), said,
      h('div.row', isOver ? button(t(isStale ? 'read_again' : 'close'), leave, 'main')
        : [fields.length && !lost ? button(t('back'), () => fill()) : button(t('cancel'), leave), go]));
    countDown(go, error?.status === 503 ? error.retryAfter : 0);
    const mine = shown;
    go.addEventListener('click', busy(async () => {
      try {
        const answer = await act(asked, key);
        if (mine === shown) return done(answer);
        toast(t('done'));
        renew();
      } catch (cause) {
        if (isAbort(cause)) return;
        if (mine === shown) review(asked, what, key, cause); else toast(explain(cause)[0]);
      }
    }));
  }
  function done(answer) {
    const receipt = after?.(answer);
    if (!receipt) { closeDialog(); toast(t('done')); return renew(); }
    dialog(t('done'), h('div.tell', receipt),
      h('div.row', h('button.b.main', { type: 'button', autofocus: true, onclick: closeDialog }, t('close'))));
    $('dialog').addEventListener('close', renew, { once: true });
  }
  if (fields.length) return fill();
  dialog(title, h('p.soft', '…'));
  return read();
}

export const amountField = (hint, value) => ({ name: 'amount', label: t('amount'), kind: 'amount', hint, value });
export const textField = (name, label, value) => ({ name, label, hint: t('optional'), value });
