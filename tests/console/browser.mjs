// A headless Chromium over its debugging pipe: pages that are clicked and typed into as a person would.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const TIMEOUT_MS = 12_000;
const pause = (ms) => new Promise((wake) => { setTimeout(wake, ms); });

export class Browser {
  #child; #folder; #next = 1; #waiting = new Map(); #pages = new Map(); #rest = '';

  static async launch(path) {
    const browser = new Browser();
    browser.#folder = mkdtempSync(join(tmpdir(), 'console-browser-'));
    browser.#child = spawn(path, ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-pipe', '--hide-scrollbars',
      '--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows', '--disable-dev-shm-usage',
      '--disable-extensions', '--disable-component-update', '--no-proxy-server', `--user-data-dir=${browser.#folder}`, 'about:blank'],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.#child.stdio[4].on('data', (bytes) => browser.#read(bytes.toString()));
    await browser.send('Target.getTargets');
    return browser;
  }

  #read(text) {
    const parts = (this.#rest + text).split('\0');
    this.#rest = parts.pop();
    for (const part of parts) {
      const message = JSON.parse(part);
      if (message.id) {
        const { done, failed, method } = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if (message.error) failed(new Error(`${method}: ${message.error.message}`)); else done(message.result);
      } else this.#pages.get(message.sessionId)?.heard(message.method, message.params);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((done, failed) => { this.#waiting.set(id, { done, failed, method }); });
  }

  /** A page in a context of its own: its storage is shared with no other. */
  async page(options = {}) {
    const { browserContextId } = await this.send('Target.createBrowserContext');
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank', browserContextId });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(this, sessionId, browserContextId);
    this.#pages.set(sessionId, page);
    await page.begin(options);
    return page;
  }

  async close() {
    const ended = new Promise((done) => { this.#child.on('exit', done); });
    this.send('Browser.close').catch(() => {});
    await ended;
    try { rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 }); } catch { /* the last of its processes still writes */ }
  }
}

/** Runs in the page: finds by `text=…` (a button or link with exactly that text, else a label, cell or title) or by a selector. */
const FINDER = `window.find_ = (what) => {
  const isShown = (node) => node.getClientRects().length > 0 && (!document.querySelector('dialog[open]') || node.closest('dialog') || node === document.body);
  if (!what.startsWith('text=')) return [...document.querySelectorAll(what)].find(isShown);
  const text = what.slice(5), shown = (names) => [...document.querySelectorAll(names)].filter(isShown), presses = shown('button, a');
  const isThat = (node) => node.textContent.trim() === text;
  return presses.find(isThat) ?? presses.find((node) => node.ariaLabel === text) ?? shown('label, td, h1, h2, .tag').find(isThat);
};`;

export class Page {
  errors = []; requests = []; intercept = null;

  constructor(browser, session, context) { Object.assign(this, { browser, session, context }); }

  send(method, params) { return this.browser.send(method, params, this.session); }

  async begin({ width = 1280, height = 900, language = 'en', zone, dark = false, before = '' }) {
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await this.send(`${domain}.enable`);
    await this.send('Page.addScriptToEvaluateOnNewDocument', { source: `${FINDER}
      window.violations_ = []; addEventListener('securitypolicyviolation', (event) => violations_.push(event.violatedDirective + ' ' + event.blockedURI));
      try { if (!localStorage.getItem('language')) localStorage.setItem('language', ${JSON.stringify(language)}); } catch {} ${before}` });
    await this.size(width, height);
    await this.look(dark);
    if (zone) await this.send('Emulation.setTimezoneOverride', { timezoneId: zone });
  }

  size(width, height = 900) {
    return this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 700 });
  }

  look(dark) {
    return this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' },
      { name: 'prefers-reduced-motion', value: 'reduce' }] });
  }

  heard(method, params) {
    if (method === 'Runtime.exceptionThrown') this.errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === 'Runtime.consoleAPICalled') this.errors.push(`console: ${params.args.map((arg) => arg.value).join(' ')}`);
    // A refusal is an error to the log of the network; the page shows each, and the steps expect them.
    if (method === 'Log.entryAdded' && params.entry.level === 'error' && params.entry.source !== 'network') this.errors.push(params.entry.text);
    if (method === 'Network.requestWillBeSent') this.requests.push(`${params.request.method} ${params.request.url}`);
    if (method === 'Fetch.requestPaused') this.#paused(params);
  }

  /** `rule(request, status)` of each request to the API, before it is sent (no status) and before its answer is read: nothing lets
   * it pass, 'drop' ends it without an answer, an object is answered instead. */
  async onRequest(rule) {
    this.intercept = rule;
    const pattern = (requestStage) => ({ urlPattern: '*/v1/*', requestStage });
    await (rule ? this.send('Fetch.enable', { patterns: [pattern('Request'), pattern('Response')] }) : this.send('Fetch.disable'));
  }

  async #paused({ requestId, request, responseStatusCode }) {
    const what = this.intercept?.(request, responseStatusCode);
    const { send } = { send: this.send.bind(this) };
    try {
      if (what === 'drop') await send('Fetch.failRequest', { requestId, errorReason: 'ConnectionClosed' });
      else if (what) await send('Fetch.fulfillRequest', { requestId, responseCode: what.status, body: Buffer.from(JSON.stringify(what.body)).toString('base64'),
        responseHeaders: Object.entries(what.headers ?? {}).map(([name, value]) => ({ name, value })) });
      else await send('Fetch.continueRequest', { requestId });
    } catch { /* the page has left the request */ }
  }

  async open(url) {
    await this.send('Page.navigate', { url: 'about:blank' });
    await this.send('Page.navigate', { url });
    await this.until(() => document.readyState === 'complete' && document.querySelector('main h1, main .error'), `${url} opens`);
  }

  async go(hash) {
    await this.run((to) => { location.hash = to; }, hash);
    await pause(60);
    await this.settled();
  }

  async reload() {
    await this.send('Page.reload');
    await pause(80);
    await this.until(() => document.readyState === 'complete' && document.querySelector('main h1, main .error'), 'the page opens again');
    await this.settled();
  }

  settled() { return this.until(() => !document.querySelector('main[aria-busy]') && document.querySelector('main h1, main .error'), 'the view is there'); }

  /** Calls a function in the page. */
  async run(work, ...args) {
    const expression = `(${work})(${args.map((arg) => JSON.stringify(arg)).join(', ')})`;
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (exceptionDetails) throw new Error(`${work}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until a function in the page returns what is true, and returns it. */
  async until(work, what, ...args) {
    const end = Date.now() + TIMEOUT_MS;
    for (;;) {
      const value = await this.run(work, ...args).catch((error) => (/context|navigat/i.test(error.message) ? null : Promise.reject(error)));
      if (value) return value === true ? true : value;
      if (Date.now() > end) throw new Error(`not within ${TIMEOUT_MS} ms: ${what ?? work}\npage says: ${(await this.text()).slice(0, 700)}`);
      await pause(25);
    }
  }

  text() { return this.run(() => `${document.querySelector("dialog")?.innerText ?? ""}\n--\n${document.querySelector("main")?.innerText}\n--\n${document.querySelector('#toast').innerText}`); }
  says(text) { return this.until((wanted) => document.body.innerText.toLowerCase().includes(wanted.toLowerCase()), `the page says "${text}"`, text); }
  has(what) { return this.run((one) => Boolean(find_(one)), what); }
  sees(what) { return this.until((one) => Boolean(find_(one)), `there is ${what}`, what); }
  gone(what) { return this.until((one) => !find_(one), `${what} is gone`, what); }

  /** Where the middle of it is, in sight. */
  async #place(what) {
    await this.sees(what);
    return this.run((one) => {
      const node = find_(one);
      node.scrollIntoView({ block: 'center' });
      const { x, y, width, height } = node.getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2 };
    }, what);
  }

  async click(what, times = 1) {
    const at = await this.#place(what);
    const mouse = (type, clickCount) => this.send('Input.dispatchMouseEvent', { type, ...at, button: 'left', clickCount });
    const events = [];
    for (let count = 1; count <= times; count += 1) events.push(mouse('mousePressed', count), mouse('mouseReleased', count)); // without waiting between
    await Promise.all(events);
  }

  /** Two presses of an impatient finger or mouse at one place, `gap` ms apart. */
  async twice(what, gap = 120, touch = false) {
    if (touch) await pause(700); // a person has looked first: an earlier touch is one of the series before
    const at = await this.#place(what);
    for (let count = 1; count <= 2; count += 1) {
      if (count === 2) await pause(gap);
      for (const [type, finger] of [['mousePressed', 'touchStart'], ['mouseReleased', 'touchEnd']]) {
        if (touch) await this.send('Input.dispatchTouchEvent', { type: finger, touchPoints: finger === 'touchStart' ? [at] : [] });
        else await this.send('Input.dispatchMouseEvent', { type, ...at, button: 'left', clickCount: count });
      }
    }
  }

  async key(name, times = 1) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowDown: 40, ArrowUp: 38 }, text = name === 'Enter' ? '\r' : name.length === 1 ? name : undefined;
    for (let count = 0; count < times; count += 1) {
      const of = { key: name, code: name.length === 1 ? undefined : name, windowsVirtualKeyCode: codes[name] ?? name.toUpperCase().charCodeAt(0), text };
      await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...of });
      await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...of, text: undefined });
    }
  }

  type(text) { return this.send('Input.insertText', { text }); }

  /** Puts text in the place of what a field has. */
  async fill(what, text) {
    await this.sees(what);
    await this.run((one) => { const field = find_(one); field.focus(); field.select?.(); }, what);
    if (text) await this.type(text); else await this.run((one) => { find_(one).value = ''; find_(one).dispatchEvent(new Event('input', { bubbles: true })); }, what);
  }

  async choose(what, value) {
    await this.sees(what);
    await this.run((one, to) => { const field = find_(one); field.value = to; for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true })); }, what, value);
  }

  /** Presses, and waits until the view has been read again. */
  async renewed(press) {
    await this.run(() => { document.querySelector('main h1').dataset.old = 'yes'; });
    await press();
    await this.until(() => document.querySelector('main h1') && !document.querySelector('main h1[data-old], dialog[open]'), 'the view is read again');
    await this.settled();
  }

  async picture(file) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    writeFileSync(file, Buffer.from(data, 'base64'));
  }

  /** The file that a press saves: its name and its bytes as Latin-1 text. */
  async saved(press) {
    await this.run(() => {
      window.saved_ = null;
      const make = URL.createObjectURL.bind(URL);
      URL.createObjectURL = (blob) => { window.blob_ = blob; return make(blob); };
      HTMLAnchorElement.prototype.click = function save() {
        const name = this.download, reader = new FileReader();
        reader.onload = () => { window.saved_ = { name, text: reader.result }; };
        reader.readAsBinaryString(window.blob_);
      };
    });
    await press();
    return this.until(() => window.saved_, 'a file is saved');
  }

  async finish() {
    const violations = await this.run(() => window.violations_);
    const errors = [...this.errors, ...violations.map((one) => `policy: ${one}`)];
    await this.browser.send('Target.disposeBrowserContext', { browserContextId: this.context });
    if (errors.length) throw new Error(`the page reported errors:\n${errors.join('\n')}`);
  }
}
