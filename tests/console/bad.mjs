// What goes wrong: a server that goes away, hangs or is busy, a token that ends, text that is hostile, a clock that is off.

import { ADMIN } from './server.mjs';

const pause = (ms) => new Promise((wake) => { setTimeout(wake, ms); });

export function bad({ server, open, assert }) {
  const strip = (page, shown) => page.until((want) => document.querySelector('#banner').hidden !== want, shown ? 'the strip' : 'no strip any more', shown);

  return {
    async 'the server goes away in the middle of a payment and comes back'() {
      const page = await open('#/wallets/dana'), before = Number(await server.balance('dana'));
      await page.click('text=Pay');
      await page.fill('dialog [name=amount]', '1.10');
      await page.click('text=Continue');
      await page.sees('text=Pay 1.10');
      await server.stop('SIGKILL');
      await page.click('text=Pay 1.10');
      await page.says('No answer came. It may have happened or not');
      await strip(page, true);
      await page.says('History');
      await server.start();
      await page.click('text=Try again');
      await page.says('paid');
      await page.click('text=Close');
      assert.equal(await server.balance('dana'), (before - 1.1).toFixed(2));
      await strip(page, false);
      await page.finish();
    },

    async 'the page opens by itself when the server is back'() {
      const page = await open('#/today');
      await server.stop();
      await strip(page, true);
      await page.says('Takings');
      await page.run(() => { location.hash = '#/tokens'; });
      await page.says('The server does not answer. Trying again …');
      await server.start();
      await page.sees('text=Mint an access token');
      await strip(page, false);
      await page.finish();
    },

    async 'words that could not be fetched leave the language as it was'() {
      const page = await open('#/tokens');
      await page.send('Network.setBlockedURLs', { urls: ['*chinese.js'] });
      await page.click('text=中文');
      await page.sees('text=Mint an access token');
      assert.equal(await page.run(() => document.documentElement.lang), 'en');
      await page.send('Network.setBlockedURLs', { urls: [] });
      await page.reload();
      await page.click('text=中文');
      await page.sees('text=令牌');
      await page.finish();
    },

    async 'a server that hangs is not waited for, and a change is not done twice'() {
      const page = await open('#/wallets/li.na'), before = await server.entries('li.na');
      await page.click('text=Recharge');
      await page.fill('dialog [name=amount]', '3');
      await page.click('text=Continue');
      await page.sees('text=Recharge 3.00');
      server.signal('SIGSTOP');
      await page.click('text=Recharge 3.00');
      assert.equal(await page.run(() => document.querySelector('dialog .main').getAttribute('aria-busy')), 'true');
      await page.click('dialog .b.main');
      await page.says('No answer came.');
      server.signal('SIGCONT');
      await page.click('text=Try again');
      await page.says('recharged');
      assert.equal(await server.entries('li.na'), before + 1);
      await page.finish();
    },

    async '503 counts down, and 500 outcome_unknown is an answer that did not come'() {
      const page = await open('#/wallets/anton');
      await page.click('text=Recharge');
      await page.fill('dialog [name=amount]', '2');
      await page.click('text=Continue');
      await page.sees('text=Recharge 2.00');
      const problem = (status, error, headers = {}) => page.onRequest((request) => (request.method === 'POST' ? { status, body: { code: status, msg: error, error }, headers } : null));
      await problem(503, 'busy', { 'Retry-After': '3' });
      await page.click('text=Recharge 2.00');
      await page.sees('text=Try again in 3 s');
      await page.says('Busy');
      await page.sees('text=Try again in 2 s');
      await problem(500, 'outcome_unknown');
      await page.click('dialog .b.main');
      await page.says('No answer came.');
      await page.onRequest(null);
      await page.click('text=Try again');
      await page.says('recharged');
      await page.finish();
    },

    async 'a token that is revoked while the page is open ends it'() {
      const minted = await server.api('POST', '/v1/tokens', { role: 'teller' });
      const page = await open('#/today', minted.token);
      await server.api('DELETE', `/v1/tokens/${minted.id}`);
      await page.go('#/wallets');
      await page.says('This access token is not accepted (any more).');
      assert.equal(await page.run(() => sessionStorage.getItem('token')), null);
      assert.equal(await page.run(() => document.querySelectorAll('nav a, main table').length), 0);
      await page.finish();
    },

    async 'references of markup, right to left and emoji are text'() {
      const page = await open('#/entries', ADMIN, { width: 360 }), texts = ['<img src=x onerror=alert(1)>', '\u202eآجل' + 'مرجع'.repeat(20), '🦆'.repeat(255), '=1+1'];
      for (const reference of texts) {
        const { entry } = await server.api('POST', '/v1/wallets/wen/recharge', { amount: '1', reference, metadata: { '<b>': reference.slice(0, 90) } });
        await page.go(`#/entries/${entry.id}`);
        await page.says(reference.replace('\u202e', '').slice(0, 8));
        assert.equal(await page.run(() => document.querySelectorAll('main img, main b:not(.figure b)').length), 0);
        for (const hash of [null, '#/entries', '#/wallets/wen', '#/today']) {
          if (hash) await page.go(hash);
          assert.equal(await page.run(() => document.documentElement.scrollWidth), 360, `${hash} ${reference.slice(0, 9)}`);
        }
      }
      await page.finish();
    },

    async 'a long user, a hostile name and a large balance widen nothing'() {
      const user = 'u'.repeat(64), name = '<b>' + '🦆'.repeat(50);
      await server.api('POST', `/v1/wallets/${user}/recharge`, { amount: '1000000000000.00', reference: 'large' });
      await server.api('PATCH', `/v1/wallets/${user}`, { name });
      await server.api('POST', '/v1/tokens', { role: 'user', user, note: 'n'.repeat(60) });
      const page = await open('#/wallets?prefix=uu', ADMIN, { width: 360 });
      for (const hash of ['#/wallets?prefix=uu', `#/wallets/${user}`, '#/entries?find=large', '#/tokens', '#/today']) {
        await page.go(hash);
        await page.until(() => !document.querySelector('.empty button'), 'the list is there');
        for (const width of [320, 360, 768, 1280]) {
          await page.size(width);
          assert.equal(await page.run(() => document.documentElement.scrollWidth), width, hash);
          if (width === 360) assert.deepEqual(await page.run(() => [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent.slice(0, 40))), [], `${hash} at ${width}: a table is cut`);
        }
      }
      await page.go(`#/wallets/${user}`);
      await page.says('<b>');
      await page.finish();
    },

    async 'amounts at both ends are exact on the screen and when copied'() {
      const page = await open('#/wallets/rich');
      await server.api('POST', '/v1/wallets/rich/withdraw', { amount: '0.01' });
      const { balance } = await server.api('GET', '/v1/wallets/rich');
      await page.reload();
      assert.equal(await page.run(() => document.querySelector('.figure b').textContent), balance);
      assert.equal(await page.run(() => { getSelection().selectAllChildren(document.querySelector('.figure b')); return getSelection().toString().trim(); }), balance);
      await page.says('0.01');
      for (const width of [360, 1280]) {
        await page.size(width);
        for (const hash of ['#/wallets/rich', '#/today', '#/wallets?order=balance']) {
          await page.go(hash);
          assert.equal(await page.run(() => document.documentElement.scrollWidth), width, hash);
        }
      }
      await page.finish();
    },

    async 'a clock of the browser that is a day off: days are the server’s'() {
      const before = 'const Real = Date; window.Date = class extends Real { constructor(...given) { if (given.length) super(...given); else super(Real.now() + 86400000); } static now() { return Real.now() + 86400000; } };';
      await server.api('POST', '/v1/wallets/wen/recharge', { amount: '7.77' });
      const page = await open('#/today', ADMIN, { before });
      await page.says('The clock of this device is off by 24 h');
      const time = await page.run(() => document.querySelector('main .two .card:nth-child(2) time').textContent);
      assert.match(time, /^\d\d:\d\d:\d\d$/, 'an entry of now is one of today');
      assert.notEqual(await page.run(() => document.querySelector('.figures > :nth-child(2) b').textContent), '0.00');
      await page.finish();
    },

    async 'addresses of what does not exist'() {
      const page = await open('#/wallets/no.one');
      await page.says('no.one has no wallet yet; the first recharge makes one.');
      await page.sees('text=Recharge');
      for (const hash of ['#/entries/999999', '#/wallets/%3Cb%3E', '#/wallets/@nothing']) {
        await page.go(hash);
        await page.until(() => document.querySelector('main .error'), `${hash} is refused`);
      }
      for (const hash of ['#/nonsense', '#/%E0%A4%A', '#/today?day=nonsense&span=x&show=y', '']) {
        await page.go(hash);
        await page.sees('text=Newest entries');
      }
      await page.finish();
    },

    async 'nothing is asked while the page is not seen'() {
      const page = await open('#/locks');
      const turn = (hidden) => page.run((to) => {
        Object.defineProperty(document, 'hidden', { configurable: true, get: () => to });
        document.dispatchEvent(new Event('visibilitychange'));
      }, hidden);
      await turn(true);
      await pause(300);
      const asked = page.requests.length;
      await pause(2600);
      assert.equal(page.requests.length, asked);
      await turn(false);
      await page.until(() => performance.getEntriesByType('resource').length > 0, 'it goes on');
      await pause(2200);
      assert.ok(page.requests.length > asked);
      await page.finish();
    },

    async 'single keys are turned off for good, language and theme stay chosen'() {
      const page = await open('#/entries');
      await page.key('?');
      await page.click('text=Single keys are on');
      await page.click('text=Close');
      await page.key('2');
      await pause(150);
      assert.equal(await page.run(() => location.hash), '#/entries');
      await page.click('text=中文');
      await page.sees('text=流水');
      await page.click('text=主题');
      await page.reload();
      assert.deepEqual(await page.run(() => [document.documentElement.lang, document.documentElement.dataset.theme, document.title]), ['zh-CN', 'dark', '流水 · cashbox']);
      await page.key('2');
      await pause(150);
      assert.equal(await page.run(() => location.hash), '#/entries');
      await page.finish();
    },

    async 'Today follows with one parked request and no more than one round in 3 s'() {
      const page = await open('#/today');
      await pause(3500);
      const start = page.requests.length;
      await pause(3000);
      assert.ok(page.requests.length - start <= 2, `an idle page asked ${page.requests.slice(start).join(', ')}`);
      await server.api('POST', '/v1/wallets/wen/recharge', { amount: '4.44' });
      await page.says('4.44');
      const busy = page.requests.length;
      for (let at = 0; at < 20; at += 1) await server.api('POST', '/v1/wallets/wen/recharge', { amount: `5.${10 + at}` });
      await pause(3000);
      assert.ok(page.requests.slice(busy).filter((one) => one.includes('/v1/report')).length <= 4, 'two rounds at most');
      await page.says('5.29');
      await page.click('text=live');
      await page.sees('text=paused');
      const paused = page.requests.length;
      await server.api('POST', '/v1/wallets/wen/recharge', { amount: '6.66' });
      await pause(1000);
      assert.equal(page.requests.length, paused);
      await page.finish();
    },
  };
}
