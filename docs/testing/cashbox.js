// A cashbox for the tests of one file, for node:test and for jest.
"use strict";
const { spawn } = require("node:child_process");
const http = require("node:http");

const TOKEN = "cbx_test-admin-token"; // of every server for tests

/** Starts a server; `stop` ends it. */
async function start() {
  const process = spawn("cashbox", ["serve", "--test", "--while-input"], { stdio: ["pipe", "pipe", "ignore"] });
  const line = await new Promise((resolve, reject) => {
    process.once("error", reject);
    process.stdout.once("data", (bytes) => resolve(String(bytes)));
  });
  return new Cashbox(process, line.trim().split(" ").pop()); // listening on http://127.0.0.1:34567
}

class Cashbox {
  constructor(process, url) {
    Object.assign(this, { process, url });
  }

  stop() {
    this.process.stdin.end();
    return new Promise((resolve) => this.process.once("exit", resolve));
  }

  /** The status and the JSON of the answer; an error if the connection is closed without one. */
  ask(method, path, body, key) {
    const headers = { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" };
    if (key) headers["Idempotency-Key"] = key;
    return new Promise((resolve, reject) => {
      const request = http.request(this.url + path, { method, headers, agent: false }, (answer) => {
        let text = "";
        answer.on("data", (part) => (text += part));
        answer.on("end", () => resolve({ status: answer.statusCode, ...(text ? JSON.parse(text) : {}) }));
      });
      request.on("error", reject);
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** A good answer. */
  async must(method, path, body, key) {
    const answer = await this.ask(method, path, body, key);
    if (answer.status >= 300) throw new Error(JSON.stringify(answer));
    return answer;
  }

  async balance(user) {
    return (await this.must("GET", `/v1/wallets/${user}`)).balance;
  }

  reset() {
    return this.must("POST", "/test/reset");
  }

  advance(ms) {
    return this.must("POST", "/test/clock", { advance_ms: ms });
  }

  fault(effect, match) {
    return this.must("POST", "/test/faults", { do: effect, match });
  }

  /** A pause: `reached` waits until a request stands there, `release` lets it go on. */
  async pause(at, match) {
    const { pause } = await this.must("POST", "/test/pauses", { at, match });
    const path = `/test/pauses/${pause.id}`;
    return {
      reached: async () => {
        const { pause } = await this.must("GET", `${path}?wait_ms=10000`);
        if (pause.state !== "paused") throw new Error(`no request came: ${pause.state}`);
      },
      release: () => this.must("POST", `${path}/release`),
    };
  }
}

module.exports = { start };
