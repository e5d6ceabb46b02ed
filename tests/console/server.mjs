// The real server on the file of the walk: started, stopped, held up and started again at the same address.

import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const ADMIN = 'cbx_the-admin-of-the-console';

export class Server {
  #program; #db; #child; log = '';

  constructor(program, db) { this.#program = program; this.#db = db; }

  async start(listen = this.url?.slice(7) ?? '127.0.0.1:0', more = []) {
    const token = join(dirname(this.#db), 'admin');
    writeFileSync(token, ADMIN);
    const child = spawn(this.#program, ['serve', '--db', this.#db, '--listen', listen, '--token-file', token, '--accept-clock', '--min-free', '0', ...more],
      { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stderr.on('data', (text) => { this.log += text; });
    this.url = await new Promise((done, failed) => {
      child.stdout.on('data', (text) => done(String(text).match(/http:\S+/)[0]));
      child.on('exit', () => failed(new Error(`the server ended: ${this.log}`)));
    });
    return this;
  }

  signal(name) { this.#child.kill(name); }

  async stop(signal = 'SIGTERM') {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((done) => { this.#child.on('exit', done); });
    this.signal(signal);
    await ended;
  }

  /** Asks the API, and expects a good answer. */
  async api(method, path, body, token = ADMIN) {
    const answer = await fetch(this.url + path, { method, headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body) });
    const json = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${JSON.stringify(json)}`);
    return json;
  }

  release(id, { token }) { return fetch(`${this.url}/v1/locks/${id}`, { method: 'DELETE', headers: { Authorization: `Bearer ${ADMIN}`, 'Lock-Token': token } }); }
  balance(user) { return this.api('GET', `/v1/wallets/${user}`).then((wallet) => wallet.balance); }
  entries(user) { return this.api('GET', `/v1/wallets/${user}`).then((wallet) => wallet.entries); }
  token(values) { return this.api('POST', '/v1/tokens', values).then((answer) => answer.token); }

  command(...words) { return spawnSync(this.#program, words, { encoding: 'utf8' }); }
}
