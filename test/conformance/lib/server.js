'use strict';
// The server under test as a process of its own: started on free loopback ports with a data directory of its
// own, ended by its process id.
//
// FANFARE_BIN names the program; it is run as `$FANFARE_BIN serve` and configured by environment alone, so any
// program that honours the same environment variables and the settings API can stand in.

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { randomBytes } = require('node:crypto');
const assert = require('node:assert/strict');

const { until } = require('./wait');
const { freePort } = require('../../freeport.cjs');
const { mint, SECRET } = require('./token');
const { RawClient } = require('./raw');
const { SdkUser } = require('./sdk');

const ADMIN_TOKEN = process.env.CONFORMANCE_ADMIN_TOKEN ?? 'conformance-admin-token';
const API_KEY = process.env.CONFORMANCE_API_KEY ?? 'conformance-api-key';

/** A request; gives status, headers, text and the parsed JSON body when there is one. */
function request(url, { method = 'GET', token, body, headers = {}, ca } = {}) {
  const bytes = body === undefined ? undefined : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return new Promise((resolve, reject) => {
    const outgoing = (url.startsWith('https:') ? https : http).request(url, {
      method,
      ca,
      agent: false,
      timeout: 20_000,
      headers: {
        ...(token ? { authorization: `Bearer ${token}` } : {}),
        ...(bytes ? { 'content-type': 'application/json', 'content-length': bytes.length } : {}),
        ...headers,
      },
    }, (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        let json;
        try {
          json = JSON.parse(text);
        } catch {
          json = undefined;
        }
        resolve({ status: response.statusCode, headers: response.headers, text, json });
      });
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`${method} ${url}: no answer`)));
    outgoing.on('error', reject);
    outgoing.end(bytes);
  });
}

/** A server that runs already, named by CONFORMANCE_URL: it is neither started nor ended. */
class AttachedServer {
  constructor(url) {
    const { hostname, port, protocol } = new URL(url);
    this.url = url.replace(/\/$/, '');
    this.host = hostname;
    this.port = Number(port || (protocol === 'https:' ? 443 : 80));
    this.tls = protocol === 'https:' ? { pem: process.env.CONFORMANCE_CA && readFileSync(process.env.CONFORMANCE_CA) } : undefined;
    this.clients = new Set();
    this.made = [];
  }

  assertHealthy() {}

  async close() {
    await this.closeClients();
    for (const id of this.made) await this.admin('DELETE', `/workspace/${id}`);
  }
}

// Whatever happens to the tests, no server outlives them.
const running = new Set();
process.on('exit', () => {
  for (const server of running) {
    server.child?.kill('SIGKILL');
    if (server.ownsData) rmSync(server.dataDir, { recursive: true, force: true, maxRetries: 5 });
  }
});

class Server {
  /** A server for tests that need none of their own: the one CONFORMANCE_URL names, or a fresh one. */
  static async shared(options) {
    return process.env.CONFORMANCE_URL ? new AttachedServer(process.env.CONFORMANCE_URL) : Server.start(options);
  }

  /**
   * Starts one and waits until it says it is ready.
   * env: further environment; tls: {cert, key, host, port}; dataDir: to go on with an earlier one's data.
   */
  static async start({ env = {}, tls, dataDir, port, opsPort } = {}) {
    const bin = process.env.FANFARE_BIN;
    assert.ok(bin, 'FANFARE_BIN must name the server program (npm test sets it)');
    for (let attempt = 1; ; attempt++) {
      const server = new Server();
      server.bin = bin;
      server.ownsData = dataDir === undefined;
      server.dataDir = dataDir ?? mkdtempSync(join(tmpdir(), 'fanfare-data-'));
      server.host = tls?.host ?? '127.0.0.1';
      server.port = port ?? tls?.port ?? (await freePort(server.host));
      server.opsPort = opsPort ?? (await freePort());
      server.tls = tls;
      server.env = env;
      running.add(server);
      try {
        await server.launch();
        return server;
      } catch (err) {
        await server.discard();
        const taken = /address already in use/.test(server.output);
        if (!taken || attempt === 3 || port !== undefined) throw err;
      }
    }
  }

  constructor() {
    this.clients = new Set();
    this.workspaces = 0;
    this.output = '';
    this.judged = 0;
  }

  get url() {
    return `http${this.tls ? 's' : ''}://${this.host}:${this.port}`;
  }

  get ops() {
    return `http://127.0.0.1:${this.opsPort}`;
  }

  async launch() {
    this.exited = undefined;
    this.ending = false;
    const child = spawn(this.bin, ['serve'], {
      cwd: this.dataDir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        HOME: this.dataDir,
        FANFARE_LISTEN: `${this.host}:${this.port}`,
        FANFARE_OPS_LISTEN: `127.0.0.1:${this.opsPort}`,
        FANFARE_DATA_DIR: join(this.dataDir, 'store'),
        FANFARE_ADMIN_TOKEN: ADMIN_TOKEN,
        FANFARE_API_KEYS: API_KEY,
        FANFARE_AUTH_JWT_SECRET: SECRET,
        FANFARE_TRIGGERS_ALLOW_PRIVATE: 'true',
        // Tests talk faster than people; the tests of these limits start servers with the limits on.
        FANFARE_LIMITS_FRAMES_PER_SECOND: '0',
        FANFARE_LIMITS_UPGRADES_PER_SECOND: '0',
        FANFARE_DRAIN: '1s',
        ...(process.env.GORACE ? { GORACE: process.env.GORACE } : {}),
        ...(this.tls ? { FANFARE_TLS_CERT: this.tls.cert, FANFARE_TLS_KEY: this.tls.key } : {}),
        ...this.env,
      },
    });
    this.child = child;
    const collect = (chunk) => {
      this.output += chunk;
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    this.gone = once(child, 'exit').then(([code, signal]) => {
      this.exited = { code, signal };
      return this.exited;
    });
    const failed = (err) => new Error(`the server did not get ready (${JSON.stringify(this.exited)}):\n${this.output.slice(-4000)}`, { cause: err });
    await until('the server to be ready', async () => this.exited || (await request(`${this.ops}/readyz`)).status === 200, { timeout: 60_000, every: 20 })
      .catch((err) => { throw failed(err); });
    if (this.exited) throw failed();
  }

  /** SIGTERM; resolves to {code, signal} when the process has ended. */
  async stop({ timeout = 40_000 } = {}) {
    if (!this.exited) {
      this.ending = true;
      this.child.kill('SIGTERM');
      const timer = setTimeout(() => this.child.kill('SIGKILL'), timeout);
      await this.gone;
      clearTimeout(timer);
    }
    return this.exited;
  }

  /** SIGKILL: the process gets no chance to do anything. */
  async kill() {
    if (this.child && !this.exited) {
      this.ending = true;
      this.child.kill('SIGKILL');
      await this.gone;
    }
  }

  /** The same server again, on the same ports and the same data. */
  async restart() {
    assert.ok(this.exited, 'still running');
    await this.launch();
  }

  /** Waits until the server knows that nobody is connected: who leaves is on its channels until it has noticed, which the next test must not see. */
  async deserted() {
    await until('the server to have no sockets', async () => this.exited || /^fanfare_sessions 0$/m.test((await request(`${this.ops}/metrics`)).text), { timeout: 40_000 });
  }

  /** Fails when the process is gone or has shown that something in it broke. */
  assertHealthy() {
    assert.ok(!this.exited || this.ending, `the server died: ${JSON.stringify(this.exited)}\n${this.output.slice(-4000)}`);
    const broken = /^(panic:|fatal error:|WARNING: DATA RACE)[^]{0,3000}/m.exec(this.output.slice(this.judged));
    this.judged = this.output.length; // told once
    if (broken) assert.fail(`the server broke:\n${broken[0]}`);
  }

  /** Ends clients and server; for after(). */
  async close() {
    await this.closeClients();
    try {
      this.assertHealthy();
    } finally {
      await this.discard();
    }
  }

  async discard() {
    await this.kill();
    running.delete(this);
    if (this.ownsData) rmSync(this.dataDir, { recursive: true, force: true });
  }
}

/** What clients of the settings API do, whoever started the server. */
const shared = {
  async closeClients() {
    await Promise.all([...this.clients].map((client) => client.close()));
    this.clients.clear();
    await this.deserted?.();
  },

  admin(method, path, body) {
    return request(`${this.url}/api:meta${path}`, { method, body, token: ADMIN_TOKEN, ca: this.tls?.pem });
  },

  /** A realtime server (Xano: workspace) of its own, enabled, with these channel rules, in force. */
  async realtime(channels = []) {
    const hash = newHash();
    let id = 1;
    if (this.made || this.workspaces++ > 0) {
      const made = await this.admin('POST', '/workspace', { name: `conformance-${hash}` });
      assert.ok(made.status === 200 || made.status === 201, `POST workspace: ${made.status} ${made.text}`);
      id = made.json.id;
      this.made?.push(id);
    }
    const realtime = new Realtime(this, id, hash);
    await realtime.put({ channels });
    await realtime.inForce();
    return realtime;
  },
};
Object.assign(AttachedServer.prototype, shared);
Object.assign(Server.prototype, shared);


/** Something like Xano's own hashes: 27 URL-safe characters. */
function newHash() {
  return randomBytes(20).toString('base64url');
}

/** One realtime server: its settings, and clients of it. */
class Realtime {
  constructor(server, id, hash) {
    this.server = server;
    this.id = id;
    this.hash = hash;
    this.users = 0;
  }

  get path() {
    return `/workspace/${this.id}/realtime`;
  }

  /** Replaces the settings; refuses to go on unless the server accepts them. */
  async put({ enabled = true, hash = this.hash, channels }) {
    const answer = await this.server.admin('PUT', this.path, { enabled, hash, channels });
    assert.equal(answer.status, 200, `PUT settings: ${answer.status} ${answer.text}`);
    this.hash = hash;
    this.channels = channels;
    return answer.json;
  }

  /** Waits until the address answers to this hash. */
  async inForce() {
    await until('the settings to be in force', async () => {
      const probe = new RawClient(this.socketUrl, { ca: this.server.tls?.pem });
      try {
        await probe.opened;
        probe.send({ action: 'history', options: { channel: 'conformance-probe' }, payload: null });
        const answer = await probe.frames.wait({ action: 'error' }, { timeout: 3000 });
        return answer.options?.channel === 'conformance-probe';
      } finally {
        await probe.close();
      }
    }, { timeout: 30_000, every: 50 });
  }

  get socketUrl() {
    return `${this.server.url.replace('http', 'ws')}/rt/${this.hash}`;
  }

  /** A client without SDK; resolves when its socket is open. */
  async raw({ user, token = user && mint(user), ...options } = {}) {
    const client = new RawClient(this.socketUrl, { token, name: `raw${++this.users}`, ca: this.server.tls?.pem, ...options });
    this.server.clients.add(client);
    client.onclosed = () => this.server.clients.delete(client);
    await client.opened;
    return client;
  }

  /** A user with an SDK instance of its own; nothing is dialled before its first channel is opened. */
  sdk({ version = '3.0.1', user, token = user && mint(user), ...options } = {}) {
    const client = new SdkUser({ version, token, hash: this.hash, target: { host: this.server.host, port: this.server.port, tls: this.server.tls }, ...options });
    this.server.clients.add(client);
    client.onclosed = () => this.server.clients.delete(client);
    return client;
  }

  api(method, path, body, { key = API_KEY } = {}) {
    return request(`${this.server.url}/api/v1/${this.hash}${path}`, { method, body, token: key, ca: this.server.tls?.pem });
  }

  /** A server-side event; the answer must be 2xx. */
  async event(channel, data, more = {}) {
    const answer = await this.api('POST', '/events', { channel, data, ...more });
    assert.ok(answer.status >= 200 && answer.status < 300, `POST events: ${answer.status} ${answer.text}`);
    return answer.json;
  }
}

module.exports = { Server, Realtime, request, freePort, newHash, ADMIN_TOKEN, API_KEY };
