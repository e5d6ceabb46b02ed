// What a shop must get right, provoked, with node:test: `node --test`.
"use strict";
const assert = require("node:assert/strict");
const { after, before, beforeEach, test } = require("node:test");
const { start } = require("./cashbox.js");

let cashbox;
const alice = "/v1/wallets/alice";
before(async () => (cashbox = await start()));
after(() => cashbox.stop());
beforeEach(async () => {
  await cashbox.reset();
  await cashbox.must("POST", `${alice}/recharge`, { amount: "100" });
});

test("a lost answer is asked for again", async () => {
  await cashbox.fault("drop_after", { key: "order-1" });
  await assert.rejects(cashbox.ask("POST", `${alice}/pay`, { amount: "30" }, "order-1"));
  await cashbox.must("POST", `${alice}/pay`, { amount: "30" }, "order-1");
  assert.equal(await cashbox.balance("alice"), "70.00");
});

test("a double click pays once", async () => {
  const pause = await cashbox.pause("before_commit", { key: "order-1" });
  const pay = () => cashbox.ask("POST", `${alice}/pay`, { amount: "30" }, "order-1");
  const first = pay();
  await pause.reached();
  const second = pay();
  await pause.release();
  assert.equal((await first).entry.id, (await second).entry.id);
  assert.equal(await cashbox.balance("alice"), "70.00");
});

test("an expired hold cannot be captured", async () => {
  const { hold } = await cashbox.must("POST", `${alice}/holds`, { amount: "30", expires_in_s: 600 });
  await cashbox.advance(599_999);
  assert.equal(await cashbox.balance("alice"), "70.00");
  await cashbox.advance(1);
  assert.equal(await cashbox.balance("alice"), "100.00");
  assert.equal((await cashbox.ask("POST", `/v1/holds/${hold.id}/capture`)).error, "hold_expired");
});

for (const first of ["refund", "payment"]) {
  test(`a refund races a payment, and the ${first} comes first`, async () => {
    const recharge = (await cashbox.must("GET", "/v1/entries?limit=1")).data[0].id;
    const requests = {
      refund: ["POST", `/v1/entries/${recharge}/refund`, {}, "refund"],
      payment: ["POST", `${alice}/pay`, { amount: "60" }, "payment"],
    };
    const late = first === "refund" ? "payment" : "refund";
    const pause = await cashbox.pause("arrival", { key: late });
    const slow = cashbox.ask(...requests[late]);
    await pause.reached();
    await cashbox.must(...requests[first]);
    await pause.release();
    assert.equal((await slow).error, "insufficient_funds");
    assert.equal(await cashbox.balance("alice"), first === "refund" ? "0.00" : "40.00");
  });
}
