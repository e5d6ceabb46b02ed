// A walk through the whole console in a real browser: `node walk.mjs CASHBOX BROWSER FILE PICTURES`. Each step is one
// point of what the page has to do; CONSOLE_STEPS=WORD runs those whose names have that word.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Browser } from './browser.mjs';
import { ADMIN, Server } from './server.mjs';
import { bad } from './bad.mjs';
import { look } from './look.mjs';
import { money } from './money.mjs';
import { staff } from './staff.mjs';

const [program, browserPath, db, pictures] = process.argv.slice(2);
const began = Date.now();
const server = await new Server(program, db).start();
const browser = await Browser.launch(browserPath);

/** A page of someone with that token (null: none), on that view. */
async function open(hash = '', token = ADMIN, options = {}) {
  const page = await browser.page({ zone: 'Europe/Berlin', ...options }); // its clocks change in March
  if (token) await page.send('Page.addScriptToEvaluateOnNewDocument', { source: `if (location.pathname.startsWith('/console') && !sessionStorage.getItem('began_')) { sessionStorage.setItem('began_', 'yes'); sessionStorage.setItem('token', ${JSON.stringify(token)}); }` });
  await page.open(`${server.url}/console/${hash}`);
  await page.settled();
  return page;
}

const world = { server, browser, open, assert, pictures, file: (name) => join(dirname(db), name), save: writeFileSync };
const steps = { ...look(world), ...money(world), ...staff(world), ...bad(world) };
const wanted = process.env.CONSOLE_STEPS ?? '';
let failed = 0;
for (const [name, step] of Object.entries(steps)) {
  if (!name.includes(wanted)) continue;
  const start = Date.now();
  try {
    await step();
    console.log(`ok   ${name} (${Date.now() - start} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name} (${Date.now() - start} ms)\n${error.stack}`);
    server.signal('SIGCONT');
  }
}
await browser.close();
await server.stop();
const audit = server.command('verify', '--db', db);
if (audit.status !== 0) { failed += 1; console.log(`FAIL the audit after it all: ${audit.stdout}${audit.stderr}`); }
console.log(`${Object.keys(steps).length} steps, ${failed} failed, ${Date.now() - began} ms`);
process.exit(failed ? 1 : 0);
