// Small tools: nodes, amounts, times. Text becomes text nodes, never markup. Amounts are text or BigInt cents; a Number is
// only ever a pixel, a count or a time.

import { language, t } from './words.js';

const present = (children) => children.flat(9).filter((child) => child !== null && child !== undefined && child !== false);
/** Puts children in the place of those that a node has. */
export const put = (node, ...children) => node.replaceChildren(...present(children));

/** `name` may carry classes, as in `p.small`; a plain object after it has the attributes; `label` is `aria-label`. */
function make(space, name, [props, ...children]) {
  const [tag, ...styles] = name.split('.'), node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  if (props?.constructor !== Object) children.unshift(props);
  else for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key === 'label' ? 'aria-label' : key, value === true ? '' : value);
  }
  if (styles[0]) node.setAttribute('class', styles.join(' '));
  node.append(...present(children));
  return node;
}
export const h = (name, ...rest) => make(null, name, rest);
export const s = (name, ...rest) => make('http://www.w3.org/2000/svg', name, rest);
export const $ = (id) => document.getElementById(id);
export const id = encodeURIComponent;
/** Text that other people wrote: its direction ends where it ends. */
export const foreign = (text, style) => h('bdi', { class: style, title: style === 'soft' ? text : null }, text ?? '');

export const cents = (text) => BigInt(text.replace('.', ''));
export function fromCents(amount) {
  const digits = (amount < 0n ? -amount : amount).toString().padStart(3, '0');
  return `${amount < 0n ? '-' : ''}${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
export const sum = (texts) => fromCents(texts.reduce((all, text) => all + cents(text), 0n));
export const plus = (a, b) => fromCents(cents(a) + cents(b));
export const less = (a, b) => fromCents(cents(a) - cents(b));

/** An amount as typed, with two decimals; null for what cannot be one. All other rules are the server's. */
export function exact(text) {
  if (!/^\d{1,13}(\.\d{1,2})?$/.test(text) || /^[0.]+$/.test(text)) return null;
  const [whole, part = ''] = text.split('.');
  return `${BigInt(whole)}.${part.padEnd(2, '0')}`;
}

/** Thousands stand apart by a margin, so that what is copied is the exact text but for the minus. */
export function money(text, sign = '') {
  if (text === null || text === undefined) return h('span.soft', '–');
  const [whole, part] = text.replace('-', '').split('.');
  const groups = [];
  for (let at = whole.length; at > 0; at -= 3) groups.unshift(whole.slice(Math.max(0, at - 3), at));
  const parts = groups.map((group, at) => (at ? [h('wbr'), h('i', group)] : group));
  return h('span', { class: text.length > 11 ? 'money long' : 'money' }, text.startsWith('-') ? '−' : sign, parts, `.${part}`);
}

/** The server's clock less this device's, in ms: zero unless they differ by more than a minute. */
let skew = 0;
export const now = () => Date.now() + skew;
export const clockSkew = () => skew;
export function learnClock(header) {
  const difference = Date.parse(header ?? '') - Date.now();
  if (!Number.isNaN(difference)) skew = Math.abs(difference) > 60_000 ? difference : 0;
}

const formats = {}; // each is made once: that costs more than its use
export function when(at, options) {
  const name = language + JSON.stringify(options);
  formats[name] ??= new Intl.DateTimeFormat(language === 'zh' ? 'zh-CN' : 'en-GB', options);
  return formats[name].format(new Date(at));
}
export const utc = (at) => `${at.slice(0, 10)} ${at.slice(11, 23)} UTC`;
export function time(at, full) {
  if (!at) return h('span.soft', '–');
  const date = new Date(at), today = new Date(now());
  const clock = { hour: '2-digit', minute: '2-digit' }, day = { day: 'numeric', month: 'short' };
  let form = { dateStyle: 'medium', timeStyle: 'medium' };
  if (!full && date.toDateString() === today.toDateString()) form = { ...clock, second: '2-digit' };
  else if (!full) form = date.getFullYear() === today.getFullYear() ? { ...day, ...clock } : { ...day, year: 'numeric' };
  return h('time', { datetime: at, title: utc(at) }, when(at, form));
}
export function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86_400)} d`;
}
export const size = (bytes) => (bytes < 2 ** 20 ? `${Math.round(bytes / 2 ** 10)} KiB`
  : bytes < 2 ** 30 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${Math.round(bytes / 2 ** 30)} GiB`);
/** Midnight of the local calendar, some days later. */
export const midnight = (date, days = 0) => new Date(date.getFullYear(), date.getMonth(), date.getDate() + days);
const two = (number) => String(number).padStart(2, '0');
export const isoDay = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
export const hour = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;
/** A day of an address, at its local midnight; null for what is not one. */
export function dayOf(text) {
  const date = new Date(`${text ?? ''}T00:00`);
  return Number.isNaN(+date) ? null : date;
}

/** 128 random bits: one change, however often it is sent. */
export function newKey() {
  const bytes = [...crypto.getRandomValues(new Uint8Array(16))];
  return `console-${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== '' && value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : '';
}
export const count = (number) => (number === 1 ? t('count_one') : t('count', number));
