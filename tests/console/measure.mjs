// How soon a view is there: `node measure.mjs CASHBOX BROWSER`. Medians of 20 loads in a browser that has seen the page
// before, from the request to the view in the document, and of a wallet of 100,000 entries, from the press on its row.

import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Browser } from './browser.mjs';
import { ADMIN, Server } from './server.mjs';

const [program, browserPath] = process.argv.slice(2);
const LOADS = 20, ENTRIES = 100_000, BATCH = 10_000;
const folder = mkdtempSync(join(tmpdir(), 'console-measure-'));
const server = await new Server(program, join(folder, 'measure.db')).start();
const busy = (count, item) => server.api('POST', '/v1/batch', Array.from({ length: count }, item));
await busy(200, (_, at) => ({ op: 'recharge', user: `user-${at}`, amount: '100' }));
await busy(1, () => ({ op: 'recharge', user: 'busy', amount: '1000000' }));
for (let made = 1; made < ENTRIES; made += BATCH) await busy(Math.min(BATCH, ENTRIES - made), (_, at) => ({ op: 'pay', user: 'busy', amount: '1.50', reference: `till-${at}` }));

const load = loadavg()[0].toFixed(1);
const browser = await Browser.launch(browserPath), page = await browser.page();
await page.send('Page.addScriptToEvaluateOnNewDocument', { source: `if (location.pathname.startsWith('/console')) sessionStorage.setItem('token', ${JSON.stringify(ADMIN)});` });

function say(name, times) {
  const sorted = times.map(Math.round).sort((a, b) => a - b);
  console.log(`${name}: median ${sorted[sorted.length >> 1]} ms, ${sorted[0]} to ${sorted.at(-1)} ms`);
}

for (const hash of ['#/today', '#/wallets', '#/wallets/busy']) {
  const times = [];
  for (let at = -2; at < LOADS; at += 1) {
    await page.open(`${server.url}/console/${hash}`);
    await page.settled();
    const time = await page.run(() => performance.getEntriesByName('first-view')[0].startTime - performance.getEntriesByType('navigation')[0].requestStart);
    if (at >= 0) times.push(time); // the first two fill the browser's memory
  }
  say(`${hash} from the request`, times);
}

const rows = [], lines = [];
for (let at = -2; at < LOADS; at += 1) {
  await page.open(`${server.url}/console/#/wallets?prefix=busy`);
  await page.until(() => document.querySelectorAll('main a.row').length === 1);
  const [row, line] = await page.run(() => new Promise((done) => {
    const start = performance.now(), times = [];
    const look = () => {
      if (!times.length && document.querySelectorAll('.wallet tbody a.row').length >= 50) times.push(performance.now() - start);
      if (times.length && document.querySelector('.wallet svg.chart')) done([...times, performance.now() - start]); else requestAnimationFrame(look);
    };
    document.querySelector('main a.row').click();
    look();
  }));
  if (at >= 0) { rows.push(row); lines.push(line); }
}
say(`a wallet of ${ENTRIES} entries, its rows`, rows);
say(`a wallet of ${ENTRIES} entries, its line too`, lines);
console.log(`load of the machine: ${load} before, ${loadavg()[0].toFixed(1)} after`);
await page.finish();
await browser.close();
await server.stop();
rmSync(folder, { recursive: true, force: true });
