// Signing in, roles, and money: each press has one effect.

import { ADMIN } from './server.mjs';

export function money({ server, open, assert }) {
  const post = 'dialog .b.main';
  /** Fills the first step of a dialog and goes on to the second. */
  async function fillIn(page, values) {
    await page.sees('dialog input');
    for (const [name, value] of Object.entries(values)) await page.fill(`dialog [name=${name}]`, value);
    await page.click('text=Continue');
  }
  const review = (page) => page.until(() => document.querySelector('dialog table, dialog .tell'), 'the second step');
  const changes = (page, path) => page.requests.filter((one) => one.includes(path) && !one.includes('dry_run') && !one.startsWith('GET')).length;

  return {
    async 'a wrong token is refused, a right one opens, Forget empties the page'() {
      const page = await open('', null);
      await page.fill('input[type=password]', 'cbx_wrong-but-long-enough');
      await page.key('Enter');
      await page.says('This access token is not accepted (any more).');
      assert.equal(await page.run(() => sessionStorage.getItem('token')), null);
      await page.fill('input[type=password]', ADMIN);
      await page.key('Enter');
      await page.sees('text=Tokens');
      await page.reload();
      await page.sees('text=Tokens');
      assert.equal(await page.run(() => Object.keys(localStorage).filter((name) => localStorage[name].includes('cbx_')).length), 0);
      assert.equal(await page.run(() => document.cookie + location.href.includes('cbx_')), 'false');
      await page.click('text=Forget token');
      await page.sees('input[type=password]');
      assert.deepEqual(await page.run(() => [sessionStorage.getItem('token'), document.querySelectorAll('nav a').length, document.body.innerText.includes('anton')]), [null, 0, false]);
      await page.finish();
    },

    async 'each role sees its views and its buttons'() {
      const staff = ['Today', 'Wallets', 'Entries', 'Coupons', 'Locks', 'Health'];
      const of = { teller: staff, auditor: staff, user: ['Wallet'], locker: ['Locks'], admin: [...staff.slice(0, 5), 'Tokens', 'Health'] };
      for (const [role, views] of Object.entries(of)) {
        const token = role === 'admin' ? ADMIN : await server.token(role === 'user' ? { role, user: 'finn' } : role === 'locker' ? { role, prefix: 'jobs/' } : { role });
        const page = await open('', token);
        // Only buttons: the history has tags of the same words once it is there.
        const has = (...texts) => page.run((all) => all.map((text) => Number([...document.querySelectorAll('main button')].some((one) => one.textContent === text))).join(''), texts);
        const shown = () => page.run(() => [...document.querySelectorAll('nav a')].map((link) => link.textContent));
        assert.deepEqual(await shown(), views, role);
        await page.go('#/tokens');
        assert.equal(await page.has('text=Mint an access token'), role === 'admin', role);
        if (role === 'locker') {
          await page.says('Choose a lock');
          assert.equal(await has('Revoke'), '0');
          await page.finish();
          continue;
        }
        await page.go('#/wallets/finn');
        assert.equal(await has('Recharge', 'Pay', 'Grant a coupon', 'Freeze'), { user: '1100', teller: '1111', auditor: '0000', admin: '1111' }[role], role);
        if (role === 'user') {
          const id = (await server.api('GET', '/v1/wallets/finn/entries?kind=recharge&limit=1')).data[0].id;
          await page.go(`#/entries/${id}`);
          await page.says('Balances after it');
          assert.equal(await has('Refund'), '0');
          await page.go('#/wallets/anton');
          assert.match(await page.run(() => document.querySelector('h1').textContent), /finn/);
        } else {
          await page.go('#/health');
          await page.sees('text=Server');
          assert.equal(await has('Run the audit', 'Download'), { teller: '00', auditor: '10', admin: '11' }[role], role);
          await page.go('#/coupons');
          assert.equal(await has('Save', 'Grant a coupon'), { teller: '01', auditor: '00', admin: '11' }[role], role);
        }
        await page.finish();
      }
    },

    async 'by keyboard only: find a wallet, recharge it, see it'() {
      const page = await open('#/today');
      const before = await server.balance('dana');
      await page.key('2');
      await page.sees('[data-find]');
      await page.settled();
      await page.key('/');
      await page.type('dan');
      await page.until(() => document.querySelectorAll('a.row').length === 1, 'one wallet is left');
      assert.equal(await page.run(() => location.hash), '#/wallets?prefix=dan');
      for (let at = 0; at < 8 && !(await page.run(() => document.activeElement.matches('a.row'))); at += 1) await page.key('Tab');
      await page.key('Enter');
      await page.sees('text=Recharge');
      await page.settled();
      assert.equal(await page.run(() => document.activeElement.id), 'main');
      await page.until(() => document.title === 'Wallets / dana · cashbox', 'the title names the view');
      for (let at = 0; at < 20 && !(await page.run(() => document.activeElement.textContent === 'Recharge')); at += 1) await page.key('Tab');
      await page.key('Enter');
      await page.sees('dialog input');
      await page.type('25');
      await page.key('Enter');
      await review(page);
      await page.says('dana receives 25.00.');
      await page.until(() => document.activeElement.textContent === 'Recharge 25.00', 'the button has the focus');
      await page.key('Enter');
      await page.says('recharged');
      await page.key('Enter');
      await page.until(() => !document.querySelector('dialog[open]'), 'the dialog is closed');
      const after = (Number(before) + 25).toFixed(2);
      await page.until((text) => document.querySelector('.figure b')?.textContent === text, 'the wallet shows it', after);
      await page.until(() => document.activeElement.id === 'main', 'the focus is in the view again');
      assert.equal(await server.balance('dana'), after);
      await page.finish();
    },

    async 'a double click is one entry'() {
      const page = await open('#/wallets/anton'), before = await server.entries('anton');
      await page.click('text=Withdraw');
      await fillIn(page, { amount: '1' });
      await page.sees('text=Withdraw 1.00');
      await page.click(post, 2);
      await page.says('withdrawn');
      assert.equal(await server.entries('anton'), before + 1);
      await page.finish();
    },

    async 'the second press of two passes no step over and presses nothing behind'() {
      const page = await open('#/wallets/olga', ADMIN, { width: 360, height: 740 }), before = await server.entries('olga');
      for (const touch of [false, true]) {
        await page.twice('text=Recharge', 120, touch);
        await page.fill('dialog [name=amount]', '1');
        for (const gap of [0, 60, 250]) {
          await page.twice('text=Continue', gap, touch);
          await page.says('olga receives 1.00.');
          await page.run(() => new Promise((done) => { setTimeout(done, 300); }));
          assert.equal(await page.has('text=Recharge 1.00'), true, `${gap} ms: still to be confirmed`);
          await page.click('text=Back');
        }
        await page.twice('text=Continue', 120, touch);
        await page.sees('text=Recharge 1.00');
        await page.run(() => new Promise((done) => { setTimeout(done, 800); })); // a person reads; the browser counts faster touches as one series
        await page.twice('text=Recharge 1.00', 120, touch);
        await page.sees('text=Done');
        await page.run(() => new Promise((done) => { setTimeout(done, 800); }));
        await page.renewed(() => page.twice('text=Close', 120, touch)); // the bar of the views is under it
        await page.run(() => new Promise((done) => { setTimeout(done, 300); }));
        assert.equal(await page.run(() => location.hash), '#/wallets/olga');
      }
      assert.equal(await server.entries('olga'), before + 2);
      await page.finish();
    },

    async 'a dialog that is opened at once after another keeps its fields'() {
      const page = await open('#/wallets/anton');
      await page.click('text=Recharge');
      await page.sees('dialog input');
      await page.run(() => { document.querySelector('dialog .row button').click(); document.querySelector('main .verbs button').click(); });
      await page.run(() => new Promise((done) => { setTimeout(done, 100); }));
      assert.equal(await page.has('dialog [name=amount]'), true);
      await page.finish();
    },

    async 'a lost answer is tried again under the same key'() {
      const page = await open('#/wallets/bela'), before = Number(await server.balance('bela')), keys = new Set();
      let drops = 1;
      await page.onRequest((request, status) => {
        if (request.method !== 'POST' || request.url.includes('dry_run')) return null;
        keys.add(request.headers['Idempotency-Key']);
        return status && drops-- > 0 ? 'drop' : null;
      });
      await page.click('text=Recharge');
      await fillIn(page, { amount: '10', reference: 'lost' });
      await page.sees('text=Recharge 10.00');
      await page.click(post);
      await page.says('No answer came. It may have happened or not: trying again is safe, it is the same request.');
      assert.equal(await server.balance('bela'), (before + 10).toFixed(2));
      await page.click('text=Try again');
      await page.says('recharged');
      assert.equal(await server.balance('bela'), (before + 10).toFixed(2));
      assert.equal(keys.size, 1);
      assert.match([...keys][0], /^console-[0-9a-f]{32}$/);
      await page.onRequest(null);
      await page.finish();
    },

    async 'more than there is: warned, refused with both amounts, Back keeps the form'() {
      const page = await open('#/wallets/spring'), balance = await server.balance('spring');
      await page.click('text=Pay');
      for (const text of ['0', '1e3', '1.234', '', '0.00', '-1', '10000000000000000']) {
        const sent = page.requests.length;
        await fillIn(page, { amount: text });
        await page.says('Write an amount as 12.50');
        assert.deepEqual(page.requests.slice(sent).filter((one) => one.startsWith('POST')), [], text);
      }
      await fillIn(page, { amount: '9000.5', reference: 'too much' });
      await page.says('More than spring has: it will be refused.');
      assert.equal(await page.run(() => document.querySelector('dialog td b.bad').textContent), `−${(9000.5 - Number(balance)).toFixed(2)}`.replace(/(\d)(\d{3}\.)/, '$1$2'));
      await page.click('text=Pay 9000.50');
      await page.until(() => document.querySelector('dialog .error'), 'the refusal');
      const said = await page.run(() => document.querySelector('dialog .error').textContent);
      assert.ok(said.includes(balance) && said.includes('9000.50'), said);
      await page.click('text=Back');
      assert.deepEqual(await page.run(() => [...document.querySelectorAll('dialog input')].map((field) => field.value)), ['9000.5', '', 'too much']);
      await page.key('Escape');
      await page.until(() => !document.querySelector('dialog[open]'), 'Escape closes');
      assert.equal(await page.run(() => document.activeElement.textContent), 'Pay');
      assert.equal(await server.balance('spring'), balance);
      await page.finish();
    },

    async 'pay with a coupon: price and price paid, or why not'() {
      await server.api('POST', '/v1/wallets/finn/recharge', { amount: '400' });
      await server.api('PATCH', '/v1/wallets/finn', { limit_per_day: null });
      const { coupon } = await server.api('POST', '/v1/wallets/finn/coupons', { kind: '1' });
      const page = await open('#/wallets/finn');
      await page.click('text=Pay');
      await fillIn(page, { amount: '80', coupon: coupon.code });
      await page.until(() => document.querySelector('dialog .error'), 'why it does not fit');
      assert.match(await page.run(() => document.querySelector('dialog .error').textContent), /300\.00/);
      await fillIn(page, { amount: '300', coupon: coupon.code.toLowerCase() });
      await page.says(`finn pays 250.00 instead of 300.00, with coupon ${coupon.code}.`);
      await page.click('text=Pay 250.00');
      await page.says('paid');
      await page.click('text=Close');
      await page.finish();
    },

    async 'a transfer shows both wallets, and a wrong receiver is refused in the form'() {
      await server.api('POST', '/v1/wallets/rich/recharge', { amount: '1000000000000.00' });
      const page = await open('#/wallets/rich'), before = Number(await server.balance('wen'));
      await page.click('text=Transfer');
      await fillIn(page, { to: 'no-such-user', amount: '2' });
      await page.until(() => document.querySelector('dialog .error'), 'the refusal');
      await fillIn(page, { to: 'wen' });
      await page.says('rich gives 2.00 to wen.');
      const cells = await page.run(() => [...document.querySelectorAll('dialog td')].map((cell) => cell.textContent));
      assert.deepEqual(cells.slice(3), ['rich', '1000000000000.00', '999999999998.00', 'wen', before.toFixed(2), (before + 2).toFixed(2)]);
      await page.click('text=Transfer 2.00');
      await page.says('transferred');
      await page.finish();
    },

    async 'refund a part, then the rest: what is left falls, and the button goes'() {
      const { entry } = await server.api('POST', '/v1/wallets/olga/pay', { amount: '5', reference: 'soup' });
      const page = await open(`#/entries/${entry.id}`);
      for (const [amount, left] of [['2', '3.00 can still be refunded'], ['', '']]) {
        await page.click('main .b.bad');
        await page.sees('dialog [name=amount]');
        if (!amount) assert.equal(await page.run(() => document.querySelector('dialog [name=amount]').value), '3.00');
        if (amount) {
          await fillIn(page, { amount });
          await page.says('Write a reason.');
        }
        await fillIn(page, { reference: 'cold <b>soup</b>' });
        await page.says(`of entry ${entry.id} goes back to olga.`);
        await page.click('dialog .b.main.bad');
        await page.says('refunded');
        await page.click('text=Close');
        await page.until((text) => document.body.innerText.includes(text) && !document.querySelector('dialog[open]'), left, left);
      }
      await page.until(() => document.querySelectorAll('main .two .card:nth-child(2) tbody tr').length === 2 && !document.querySelector('main .b.bad'), 'two refunds and no button');
      await page.says('cold <b>soup</b>');
      await page.click('main .two .card:nth-child(2) a.row');
      await page.says(`Refunds entry ${entry.id}`);
      await page.finish();
    },

    async 'a hold is placed, captured in part and voided'() {
      const page = await open('#/wallets/petra');
      await server.api('POST', '/v1/wallets/petra/recharge', { amount: '50' });
      for (const [amount, verb] of [['8', 'Capture'], ['3', 'Void']]) {
        await page.reload();
        await page.click('text=Hold');
        await fillIn(page, { amount, reference: 'bike' });
        await page.says(`${Number(amount).toFixed(2)} of petra is reserved for @sales.`);
        await page.click(`text=Hold ${Number(amount).toFixed(2)}`);
        await page.sees('text=Done');
        await page.renewed(() => page.click('text=Close'));
        await page.sees(`text=${verb}`);
        await page.click(`text=${verb}`);
        if (verb === 'Capture') {
          await fillIn(page, { amount: '5' });
          await page.says('The rest 3.00 goes back');
        }
        await page.until(() => document.querySelector('dialog .b.main')?.textContent.match(/\d$/), 'the second step');
        await page.click(post);
        await page.sees('text=Done');
        await page.renewed(() => page.click('text=Close'));
      }
      await page.sees('text=voided');
      assert.equal((await server.api('GET', '/v1/wallets/petra')).held, '0.00');
      await page.finish();
    },

    async 'a lost card is frozen, a name and a limit are set'() {
      const page = await open('#/wallets/jonas');
      await page.click('text=Freeze');
      await page.says('Money may come into the wallet of jonas; none goes out.');
      await page.click('dialog .b.main.bad');
      await page.until(() => [...document.querySelectorAll('.head .tag')].some((one) => one.textContent === 'frozen'), 'it is frozen');
      await page.click('text=Withdraw');
      await fillIn(page, { amount: '1' });
      await page.says('As it is now, it will be refused:');
      assert.equal(await page.run(() => [...document.querySelectorAll('dialog td')].at(-1).textContent), '', 'nothing comes afterwards');
      await page.click('text=Withdraw 1.00');
      await page.until(() => document.querySelector('dialog .error'), 'the refusal');
      await page.key('Escape');
      await page.click('text=Edit');
      await fillIn(page, {});
      await page.says('Nothing is changed.');
      await fillIn(page, { name: 'Jonas Weiß', limit_per_day: '20' });
      await page.says('Most in a day (UTC): – → 20.00');
      await page.click('text=Save');
      await page.until(() => document.body.innerText.includes('Jonas Weiß') && !document.querySelector('dialog[open]'), 'it is set');
      await page.click('text=Unfreeze');
      await page.says('The wallet of jonas pays again.');
      await page.click(post);
      await page.sees('text=Freeze');
      assert.deepEqual(await server.api('GET', '/v1/wallets/jonas').then((one) => [one.status, one.limit_per_day]), ['open', '20.00']);
      await page.finish();
    },

    async 'on a phone: find a wallet, take a recharge back, freeze a card, change a tier, read the takings'() {
      const { entry } = await server.api('POST', '/v1/wallets/chen.wei/recharge', { amount: '77.70', reference: 'wrong' });
      const page = await open('#/today', ADMIN, { width: 360, height: 780 });
      const takings = await page.run(() => document.querySelector('.figure b').textContent);
      await page.click('text=Wallets');
      await page.fill('[data-find]', 'chen');
      await page.until(() => document.querySelectorAll('main a.row').length === 1, 'one wallet is left');
      await page.click('main a.row');
      await page.until(() => document.querySelector('.wallet tbody a.row'), 'the history');
      assert.ok(await page.run(() => find_('text=Freeze').getBoundingClientRect().top < document.querySelector('.last').getBoundingClientRect().top), 'the history, which goes on for ever, is last');
      await page.click(`a[href="#/entries/${entry.id}"]`);
      await page.says('77.70 can still be refunded');
      await page.click('text=Refund');
      await fillIn(page, { reference: 'typed for another' });
      await page.says(`77.70 of entry ${entry.id} goes back to @bank.`);
      await page.click('text=Refund 77.70');
      await page.says('Balance of chen.wei');
      await page.renewed(() => page.click('text=Close'));
      await page.run(() => history.back());
      await page.click('text=Freeze');
      await page.renewed(() => page.click('dialog .b.main.bad'));
      assert.equal((await server.api('GET', '/v1/wallets/chen.wei')).status, 'frozen');
      await page.renewed(async () => { await page.click('text=Unfreeze'); await page.click('dialog .b.main'); });
      await page.click('text=Coupons');
      await page.fill('.two .card:nth-of-type(1) tr.line:nth-last-child(1) [data-name=from]', '600');
      await page.click('.two .card:nth-of-type(1) header .main');
      await page.says('600');
      await page.renewed(() => page.click('dialog .b.main'));
      assert.equal((await server.api('GET', '/v1/tiers')).data.at(-1).from, '600.00');
      await page.click('text=Today');
      await page.until((text) => document.querySelector('.figure b')?.textContent === text, 'the takings, without the recharge', takings);
      await page.finish();
    },

    async 'a locked wallet is named before, and 423 offers the same request again'() {
      const lock = await server.api('POST', '/v1/locks/wallet%2Fwen', { holder: 'till-9', ttl_ms: 60000 });
      const page = await open('#/wallets/wen'), before = await server.entries('wen');
      await page.says('Locked by till-9');
      await page.click('text=Withdraw');
      await fillIn(page, { amount: '1' });
      await page.says('till-9 has its lock: this waits up to 5 s.');
      let prefer;
      await page.onRequest((request, status) => {
        if (request.method !== 'POST') return null;
        prefer = request.headers.Prefer;
        return status ? null : { status: 423, body: { code: 423, msg: 'locked', error: 'locked', holder: 'till-9', free_in_ms: 59000 }, headers: { 'Content-Type': 'application/problem+json' } };
      });
      await page.click('text=Withdraw 1.00');
      await page.says('till-9 holds the lock, for 59 s at most.');
      assert.equal(prefer, 'wait=5');
      await page.onRequest(null);
      await server.release('wallet%2Fwen', lock);
      await page.click('text=Try again');
      await page.says('withdrawn');
      assert.equal(await server.entries('wen'), before + 1);
      assert.ok(changes(page, '/withdraw') >= 2);
      await page.finish();
    },
  };
}
