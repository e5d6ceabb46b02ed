// Requests: one place knows the access token, the language, the time to wait, and what a refusal looks like.

import { $, h, id, learnClock, query } from './tools.js';
import { language } from './words.js';

/** An answer that says no, with the members of its problem. */
export class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.msg);
    Object.assign(this, problem, { status, retryAfter });
  }
}
/** No answer came, or none that says what happened. */
export class Lost extends Error {}

/** What was typed cannot be sent. */
export const unfit = (msg) => new Refusal(0, { msg });

/** `leaving` ends what the view that is left still reads; `ending` ends everything, when the token is forgotten. */
export const session = { me: { role: null }, leaving: new AbortController(), ending: new AbortController() };

const READ_MS = 6_000, CHANGE_MS = 10_000; // a change waits up to 5 s for a lock
export const isAbort = (error) => error.name === 'AbortError';

/** The `Response`, if it is a good one. `read` takes its body within the same time. */
async function request(method, path, options = {}, read = (answer) => answer) {
  const { body, key, accept = 'application/json', match, prefer, signal, ms } = options;
  const headers = { Accept: accept, 'Accept-Language': language };
  const token = sessionStorage.getItem('token');
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers['Idempotency-Key'] = key;
  if (match) headers['If-Match'] = match;
  if (prefer) headers.Prefer = prefer;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const stop = [session.ending.signal, signal].filter(Boolean), late = new AbortController();
  const timer = setTimeout(() => late.abort(), ms ?? (method === 'GET' ? READ_MS : CHANGE_MS));
  let answer, problem;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? null : JSON.stringify(body), cache: 'no-store',
      credentials: 'omit', signal: AbortSignal.any([...stop, late.signal]) });
    learnClock(answer.headers.get('Date'));
    $('banner').hidden = true;
    if (answer.ok) return await read(answer);
    problem = await answer.json();
  } catch (cause) {
    if (stop.some((one) => one.aborted)) throw new DOMException('', 'AbortError');
    if (!answer || answer.ok || answer.status >= 500) throw new Lost(`${cause.message}`);
    problem = { msg: `HTTP ${answer.status}` };
  } finally { clearTimeout(timer); }
  if (answer.status === 401 && session.me.role) {
    dispatchEvent(new Event('token-refused'));
    throw new DOMException('', 'AbortError');
  }
  if (problem.error === 'outcome_unknown' || [502, 504].includes(answer.status)) throw new Lost(problem.msg);
  throw new Refusal(answer.status, problem, Math.ceil(Number(answer.headers.get('Retry-After')) || 0));
}

const json = (answer) => (answer.status === 204 ? null : answer.json());
/** Reads for the view that is shown; it ends when that is left. */
export const get = (path, options) => request('GET', path, { signal: session.leaving.signal, ...options }, json);
export const getText = (path) => request('GET', path, { signal: session.leaving.signal, accept: 'text/plain' }, (answer) => answer.text());
/** Reads for a change that is being prepared, which may outlive the view. */
export const look = (path) => request('GET', path, {}, json);
export const getTagged = (path) => request('GET', path, { signal: session.leaving.signal },
  async (answer) => ({ ...await answer.json(), etag: answer.headers.get('ETag') }));
/** Changes something. Leaving the view does not end it. */
export const send = (method, path, body, key, match) => request(method, path, { body, key, match, prefer: 'wait=5' }, json);
/** The server's own answer of what a change would do now; nothing is done. */
export const tryOut = (path, body) => request('POST', `${path}?dry_run=true`, { body }, json);

/** Saves an answer as a file. */
export async function download(path, name, accept) {
  const blob = await request('GET', path, { accept, ms: 600_000 }, (answer) => answer.blob());
  const link = h('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export const walletPath = (user, rest = '', values = {}) => `/v1/wallets/${id(user)}${rest}${query(values)}`;
export const lockPath = (lock, rest = '') => `/v1/locks/${id(lock)}${rest}`;

const isOne = (...roles) => () => roles.includes(session.me.role);
export const may = { money: isOne('user', 'teller', 'admin'), staff: isOne('teller', 'admin'), admin: isOne('admin'),
  audit: isOne('auditor', 'admin'), all: isOne('teller', 'auditor', 'admin') };
