// Entries, coupons, locks, tokens, health: what the staff looks up and changes.

export function staff({ server, open, assert, file, save }) {
  const rows = (page) => page.run(() => document.querySelectorAll('main tbody tr').length);
  const find = async (page, values) => {
    for (const [name, value] of Object.entries(values)) await (name === 'find' ? page.fill('[name=find]', value) : page.choose(`[name=${name}]`, value));
    await page.renewed(() => page.click('text=Find'));
  };

  return {
    async 'entries: pages, filters, nothing found, and the same rows as CSV'() {
      const page = await open('#/entries');
      await page.until(() => document.querySelectorAll('main tbody tr').length >= 50, 'the first page');
      await page.run(() => scrollTo(0, document.body.scrollHeight));
      await page.until(() => document.querySelectorAll('main tbody tr').length > 60, 'the next page');
      await find(page, { find: 'till-2-02903' });
      const one = await rows(page);
      await find(page, { find: 'till=2', kind: 'withdraw' });
      await page.until(() => document.body.innerText.includes('That is all.'), 'all of them');
      assert.ok(await rows(page) >= 5 && one <= 1);
      await find(page, { find: 'no such reference', kind: '' });
      await page.says('No entries match.');
      await find(page, { find: '', since: '2026-03-29', until: '2026-03-29' });
      await page.until(() => document.body.innerText.includes('That is all.'), 'the entries of that day');
      assert.equal(await rows(page), 24);
      assert.match(await page.run(() => location.hash), /since=2026-03-29/);
      const saved = await page.saved(() => page.click('text=CSV'));
      assert.match(saved.name, /^entries-.*\.csv$/);
      const lines = saved.text.trim().split('\n');
      assert.equal(lines.length, 25);
      const shown = await page.run(() => [...document.querySelectorAll('main tbody tr')].map((row) => row.querySelector('a').hash.split('/')[2]));
      assert.deepEqual(lines.slice(1).map((line) => line.split(',')[0]), shown);
      await find(page, { find: '3' });
      await page.says('Balances after it');
      await page.click('main dd a.link');
      await page.settled();
      assert.match(await page.run(() => location.hash), /find=till%3D2/);
      await page.reload();
      assert.equal(await page.run(() => document.querySelector('[name=find]').value), 'till=2');
      await page.finish();
    },

    async 'wallets are found by user and by name'() {
      await server.api('PATCH', '/v1/wallets/olga', { name: 'Finnja Berg' });
      const page = await open('#/wallets'), users = () => page.run(() => [...document.querySelectorAll('main a.row')].map((row) => row.textContent).join());
      const finds = async (text, wanted) => {
        await page.fill('[data-find]', text);
        await page.until((all) => [...document.querySelectorAll('main a.row')].map((row) => row.textContent).join() === all && document.body.innerText.includes('That is all.'), `${text} finds ${wanted}`, wanted);
      };
      for (const [text, wanted] of [['fin', 'finn,olga'], ['finn l', 'finn'], ['Finnja', 'olga'], ['林', 'mei.lin'], ['mei', 'mei.lin']]) await finds(text, wanted);
      await page.fill('[data-find]', 'no such <b>');
      await page.says('No wallet begins with “no such <b>”.');
      await finds('fin', 'finn,olga');
      await page.reload();
      await page.until(() => document.body.innerText.includes('That is all.'), 'the address keeps what was looked for');
      assert.equal(await users(), 'finn,olga');
      await server.api('POST', '/v1/wallets/olga/recharge', { amount: '5000' });
      await page.choose('[aria-label=Order]', 'balance');
      await page.until(() => document.querySelector('main a.row')?.textContent === 'olga', 'the largest balance first');
      assert.equal(await users(), 'olga,finn');
      await page.finish();
    },

    async 'a tier and a kind are changed, added and removed; of two editors the second is stopped'() {
      const page = await open('#/coupons'), other = await open('#/coupons');
      const kinds = '.card:nth-of-type(1)', tiers = '.two .card:nth-of-type(1)';
      assert.equal(await page.run(() => [...document.querySelectorAll('header .main')].every((save) => save.disabled)), true);
      await page.fill(`${kinds} tr.line:nth-of-type(1) [data-name=amount_off]`, '55');
      await page.click(`${kinds} header .quiet`);
      await page.fill(`${kinds} tr.line:nth-last-child(2) [data-name=kind]`, 'tea');
      await page.fill(`${kinds} tr.line:nth-last-child(2) [data-name=amount_off]`, '2.50');
      await page.click(`${kinds} tr.line:nth-last-child(2) [title^=Dates]`);
      await page.fill(`${kinds} tr.extra:last-child [data-name=claim_code]`, 'SPRING');
      await page.fill(`${kinds} tr.extra:last-child [data-name=valid_days]`, '14');
      await page.click(`${kinds} header .main`);
      await page.says('4 rows apply from now on.');
      await page.says('New: tea');
      await page.says('Changed: 1');
      await page.renewed(() => page.click('dialog .b.main'));
      const { data } = await server.api('GET', '/v1/coupon-kinds');
      assert.deepEqual(data.map((kind) => [kind.kind, kind.amount_off, kind.valid_days, kind.claim_code]).filter(([kind]) => ['1', 'tea'].includes(kind)), [['1', '55.00', null, null], ['tea', '2.50', 14, 'SPRING']]);

      await page.fill(`${tiers} tr.line:nth-of-type(1) [data-name=from]`, '90');
      await page.click(`${tiers} header .main`);
      await page.says('Removed: 100.00 → 3');
      await page.renewed(() => page.click('dialog .b.main'));
      await other.fill(`${tiers} tr.line:nth-of-type(1) [data-name=from]`, '80');
      await other.click(`${tiers} header .main`);
      await other.click('dialog .b.main');
      await other.says('Another editor was faster.');
      assert.equal((await server.api('GET', '/v1/tiers')).data[0].from, '90.00');
      await other.renewed(() => other.click('text=Read it again'));
      await other.until(() => [...document.querySelectorAll('[data-name=from]')].some((one) => one.value === '90.00'), 'it is read again');
      await page.click(`${tiers} tr.line:nth-of-type(1) [title^=Remove]`);
      await page.click(`${tiers} header .main`);
      await page.says('Removed: 90.00');
      await page.renewed(() => page.click('dialog .b.main'));
      assert.equal(await page.run(() => document.querySelectorAll('.two tr.line').length), 2);
      await page.fill(`${kinds} tr.line:nth-of-type(1) [data-name=percent_off]`, 'x');
      await page.click(`${kinds} header .main`);
      await page.click('dialog .b.main');
      await page.until(() => document.querySelector('dialog .error'), 'the server refuses what cannot be a number');
      await page.key('Escape');
      for (const one of [page, other]) await one.finish();
    },

    async 'a code is looked up, priced, claimed and granted'() {
      const page = await open('#/coupons');
      const { coupon } = await server.api('POST', '/v1/wallets/olga/coupons', { kind: '3' });
      await page.fill('[aria-label=Code]', coupon.code);
      await page.fill('[aria-label="What would it cost?"]', '40');
      await page.click('.two .card:nth-of-type(2) .b');
      await page.says('30.00');
      assert.match(await page.run(() => document.querySelector('.two .card:nth-of-type(2)').innerText), /olga[\s\S]*10\.00 off[\s\S]*40\.00/);
      await page.click('text=Grant a coupon');
      await page.fill('dialog [name=user]', 'olga');
      await page.choose('dialog [name=kind]', '3');
      await page.click('text=Continue');
      await page.says('olga gets a coupon: 10.00 off.');
      await page.click('dialog .b.main');
      await page.sees('text=Done');
      await page.go('#/wallets/olga');
      await page.click('text=Enter a code');
      await page.fill('dialog [name=code]', 'spring');
      await page.click('text=Continue');
      await page.says('olga gets the coupon of the code SPRING.');
      await page.says('2.50 off');
      await page.click('dialog .b.main');
      await page.says('2.50 off');
      await page.finish();
    },

    async 'a claim code has its dates and its limit'() {
      const kinds = (await server.api('GET', '/v1/coupon-kinds')).data;
      const more = ['EARLY', 'LATE', 'SCARCE'].map((code) => ({ kind: code.toLowerCase(), amount_off: '1', claim_code: code, limit_total: code === 'SCARCE' ? 1 : null }));
      await server.api('PUT', '/v1/coupon-kinds', { coupon_kinds: [...kinds, ...more] });
      const page = await open('#/coupons');
      const day = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
      const extra = async (kind) => {
        const at = await page.run((name) => [...document.querySelectorAll('.card:nth-of-type(1) tbody tr')].findIndex((row) => row.querySelector('[data-name=kind]')?.value === name), kind);
        return `.card:nth-of-type(1) tbody tr:nth-child(${at + 2})`;
      };
      await page.choose(`${await extra('early')} [data-name=valid_from]`, day(7));
      await page.choose(`${await extra('late')} [data-name=valid_until]`, day(-7));
      await page.click('.card:nth-of-type(1) header .main');
      await page.says('Changed: late');
      await page.renewed(() => page.click('dialog .b.main'));
      const saved = (await server.api('GET', '/v1/coupon-kinds')).data, of = (kind) => saved.find((one) => one.kind === kind);
      const local = (days, hour) => new Date(new Date(`${day(days)}T${hour}Z`).getTime() - 3_600_000).toISOString(); // Berlin in winter
      if (!/-(0[4-9]|10)-/.test(day(0))) assert.deepEqual([of('early').valid_from, of('late').valid_until], [local(7, '00:00:00.000'), local(-7, '23:59:59.999')]);
      assert.equal(await page.run((at) => document.querySelector(at).value, `${await extra('early')} [data-name=valid_from]`), day(7));
      await page.fill(`${await extra('early')} [data-name=limit_total]`, '9');
      await page.click('.card:nth-of-type(1) header .main');
      await page.renewed(() => page.click('dialog .b.main'));
      assert.equal((await server.api('GET', '/v1/coupon-kinds')).data.find((one) => one.kind === 'early').valid_from, of('early').valid_from, 'a day that was not changed stays to the millisecond');
      await server.api('POST', '/v1/wallets/anton/coupons/claim', { code: 'SCARCE' });
      await page.go('#/wallets/bela');
      for (const [code, why] of [['early', 'given from'], ['late', 'were given until'], ['scarce', 'scarce'], ['nothing', '']]) {
        await page.click('text=Enter a code');
        await page.fill('dialog [name=code]', code);
        await page.click('text=Continue');
        await page.until((text) => document.querySelector('dialog .error')?.textContent.includes(text), `${code} is refused`, why);
        assert.equal(await page.run(() => document.querySelector('dialog [name=code]').value), code);
        await page.key('Escape');
      }
      await server.api('PUT', '/v1/coupon-kinds', { coupon_kinds: kinds });
      await page.finish();
    },

    async 'a lock that rests is shown until it may be had again'() {
      const lock = await server.api('POST', '/v1/locks/nightly', { holder: 'report.sh', ttl_ms: 60000, min_hold_ms: 3600000 });
      await server.release('nightly', lock);
      const page = await open('#/locks?id=nightly&prefix=nightly');
      await page.sees('text=resting');
      await page.until(() => /^59 min \d+ s$/.test(document.querySelector('main tbody td:nth-child(5)').textContent), 'its rest runs down');
      await page.says('released');
      await page.click('text=Revoke');
      assert.equal(await page.run(() => document.querySelector('dialog [name=delay_s]').value), '0');
      await page.fill('dialog [name=reason]', 'run it again');
      await page.click('text=Continue');
      await page.says('The lock nightly rests no longer: any client may take it.');
      await page.click('dialog .b.main.bad');
      await page.gone('text=resting');
      await page.says('run it again');
      const again = await server.api('POST', '/v1/locks/nightly', { holder: 'report.sh', ttl_ms: 60000 });
      assert.equal(again.fence > lock.fence, true);
      await page.says('held');
      await page.finish();
    },

    async 'locks: time falls, revoke asks for a reason, and a changed fence is refused'() {
      const lock = (id, holder) => server.api('POST', `/v1/locks/${id}`, { holder, ttl_ms: 60000, grace_ms: 0 });
      const [first] = [await lock('a-report', '<b>report</b>'), await lock('import', 'import.sh')];
      const page = await open('#/locks'), left = () => page.run(() => document.querySelector('main tbody td:nth-child(5)').textContent);
      await page.says('<b>report</b>');
      const before = await left(), asked = page.requests.length;
      await page.until((text) => document.querySelector('main tbody td:nth-child(5)').textContent !== text, 'the time falls', before);
      assert.ok(page.requests.length - asked <= 3, 'between two requests');
      await page.fill('[data-find]', 'a-rep');
      await page.until(() => document.querySelectorAll('.two > .card tbody tr').length === 1, 'one lock is left');
      await page.click('main a.row');
      await page.sees('text=Revoke');
      await page.click('text=Revoke');
      await page.click('text=Continue');
      await page.says('Write a reason.');
      await page.fill('dialog [name=reason]', 'unplugged');
      await page.fill('dialog [name=delay_s]', '0');
      await page.click('text=Continue');
      await page.says('<b>report</b> loses the lock a-report.');
      // Meanwhile another client has it.
      await server.release('a-report', first);
      await lock('a-report', 'newer');
      await page.click('dialog .b.main.bad');
      await page.says('Another client has it now; it is read again.');
      await page.click('text=Read it again');
      await page.gone('dialog[open]');
      await page.says('newer');
      await page.click('text=Revoke');
      await page.fill('dialog [name=reason]', 'unplugged');
      await page.click('text=Continue');
      await page.says('newer loses the lock a-report.');
      await page.click('dialog .b.main.bad');
      await page.says('unplugged');
      await page.finish();
    },

    async 'a token is minted, copied, gone from the page, and revoked'() {
      const page = await open('#/tokens');
      await page.click('text=Mint an access token');
      await page.fill('dialog [name=note]', 'till 7');
      await page.fill('dialog [name=days]', '30');
      await page.click('text=Continue');
      await page.says('A new access token: teller · till 7.');
      await page.click('dialog .b.main');
      await page.sees('.secret');
      const secret = await page.run(() => document.querySelector('.secret code').textContent);
      assert.match(secret, /^cbx_/);
      await page.run(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
      await page.click('text=Copy');
      assert.equal(await page.run(() => getSelection().toString()), secret);
      await page.click('text=Close');
      await page.says('till 7');
      assert.equal(await page.run((text) => document.documentElement.outerHTML.includes(text) || JSON.stringify([{ ...localStorage }, { ...sessionStorage }]).includes(text), secret), false);
      assert.equal((await server.api('GET', '/v1/me', undefined, secret)).role, 'teller');
      await page.click('[aria-label="Revoke teller · till 7"]');
      await page.says('teller · till 7 stops working at once.');
      await page.click('dialog .b.main.bad');
      await page.until(() => [...document.querySelectorAll('main tr')].some((row) => /till 7.*revoked/s.test(row.textContent)), 'it is marked');
      await page.onRequest((request) => (request.method === 'POST' ? 'drop' : null));
      await page.click('text=Mint an access token');
      await page.click('text=Continue');
      await page.click('dialog .b.main');
      await page.says('No answer came. Close this and look at the list before you try again.');
      assert.equal(await page.has('text=Try again'), false);
      await page.onRequest(null);
      await page.finish();
    },

    async 'the journal has what changed, by which token, and goes on as one scrolls'() {
      for (let at = 0; at < 60; at += 1) await server.api('PATCH', '/v1/wallets/petra', { name: `Petra ${at}` });
      const { id } = await server.api('POST', '/v1/tokens', { role: 'locker', note: 'for the journal' });
      const page = await open('#/health'), lines = () => page.run(() => document.querySelectorAll('[aria-label=Journal] tbody tr').length);
      await page.until(() => document.querySelectorAll('[aria-label=Journal] tbody tr').length >= 50, 'its first page');
      const newest = () => page.run(() => [...document.querySelectorAll('[aria-label=Journal] tbody tr')].slice(0, 2).map((row) => [...row.cells].map((cell) => cell.textContent)));
      const [minted, named] = await newest();
      assert.deepEqual(minted.slice(1, 3), ['token minted', id]);
      assert.deepEqual(named.slice(1, 3), ['wallet set', 'petra']);
      assert.match(minted[3], /^tok:/);
      await page.run(() => scrollTo(0, document.body.scrollHeight));
      await page.until(() => document.querySelectorAll('[aria-label=Journal] tbody tr').length > 60, 'the next page');
      await page.until(() => { scrollTo(0, document.body.scrollHeight); return /That is all.*$/s.test(document.querySelector('[aria-label=Journal]').parentNode.parentNode.textContent); }, 'its end');
      assert.equal(await lines(), (await server.api('GET', '/v1/journal?limit=1')).data[0].seq);
      const auditor = await open('#/health', await server.token({ role: 'auditor' })), teller = await open('#/health', await server.token({ role: 'teller' }));
      await auditor.sees('text=Journal');
      assert.equal(await teller.has('text=Journal'), false);
      for (const one of [page, auditor, teller]) await one.finish();
    },

    async 'health: an audit, and a backup that verify accepts'() {
      const page = await open('#/health');
      await page.click('text=Run the audit');
      await page.says('every hash and balance as it must be');
      const saved = await page.saved(() => page.click('text=Download'));
      assert.match(saved.name, /^cashbox-\d{4}-\d\d-\d\d\.db$/);
      assert.ok(saved.text.startsWith('SQLite format 3'));
      save(file('copy.db'), Buffer.from(saved.text, 'latin1'));
      const audit = server.command('verify', '--db', file('copy.db'));
      assert.equal(audit.status, 0, audit.stderr);
      await page.finish();
    },
  };
}
