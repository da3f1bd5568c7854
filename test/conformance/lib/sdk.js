'use strict';
// Xano's SDK, unmodified. It keeps one socket per module instance and takes WebSocket from the global scope, so
// a user is a fresh instance of the package, and the global WebSocket is ours: it records what passes and
// leads the host name of each user to the server under test. Host names nobody registered are dialled as they
// are.

const { dirname, sep } = require('node:path');
const Ws = require('ws');
const { Log, until } = require('./wait');

const PACKAGES = { '3.0.1': '@xano/js-sdk', '2.0.1': 'xano-sdk-2', '1.0.36': 'xano-sdk-1' };
const VERSIONS = Object.keys(PACKAGES);

const users = new Map(); // host name -> SdkUser
let serial = 0;

/** What a user who has gone gets when a retry timer still dials: a socket to which nothing happens. */
const STILLBORN = { readyState: Ws.CONNECTING, addEventListener() {}, close() {}, send() {} };

/** The one thing that is not the SDK's: an environment with WebSocket, as Node 20 has none. */
class ShimWebSocket extends Ws {
  constructor(address, protocols) {
    const url = new URL(address);
    const user = users.get(url.hostname);
    if (user?.done) return STILLBORN;
    const attempt = { at: performance.now(), url: address, protocols: protocols ? [...protocols] : [], sent: [], received: [] };
    const target = user?.target;
    super(
      target ? `ws${target.tls ? 's' : ''}://${target.host}:${target.port}${url.pathname}` : address,
      protocols,
      { perMessageDeflate: user?.compression ?? true, ca: target?.tls?.pem ?? user?.ca, servername: user?.servername, headers: user?.headers },
    );
    // ws throws when nobody listens; a browser's WebSocket only closes.
    this.on('error', (err) => { attempt.error = err; });
    this.on('unexpected-response', (req, res) => {
      attempt.status = res.statusCode;
      attempt.retryAfter = res.headers['retry-after'];
      res.resume();
      this.terminate();
    });
    this.on('upgrade', (res) => { attempt.upgrade = res.headers; });
    this.on('open', () => { attempt.openedAt = performance.now(); });
    this.on('close', (code, reason) => { attempt.closed = { code, reason: String(reason), at: performance.now() }; });
    this.on('message', (data, binary) => attempt.received.push({ at: performance.now(), text: data.toString(), binary }));
    attempt.socket = this;
    user?.attempts.push(attempt);
    this.attempt = attempt;
  }

  send(data, ...rest) {
    // ws throws while connecting, as a browser does; only what really goes out is recorded.
    super.send(data, ...rest);
    this.attempt.sent.push(String(data));
  }
}

function loadSdk(version) {
  const name = PACKAGES[version];
  if (!name) throw new Error(`no SDK ${version} here`);
  globalThis.WebSocket = ShimWebSocket;
  const root = dirname(require.resolve(`${name}/package.json`)) + sep;
  for (const file of Object.keys(require.cache)) if (file.startsWith(root)) delete require.cache[file];
  return require(name);
}

/** One open channel of a user, with everything its listeners were given. */
class OpenChannel {
  constructor(user, name, options) {
    this.user = user;
    this.name = name;
    this.channel = user.client.channel(name, options);
    this.frames = new Log(`${user.name} ${name}`); // as listeners get them
    this.errors = new Log(`${user.name} ${name} errors`);
  }

  listen() {
    this.channel.on((frame) => this.frames.push(frame), (frame) => this.errors.push(frame));
    return this;
  }

  get mark() {
    return this.frames.length;
  }

  wait(pattern, options) {
    return this.frames.wait(pattern, options);
  }

  message(payload, options) {
    return this.channel.message(payload, options);
  }

  history() {
    return this.channel.history();
  }

  presence() {
    return this.channel.getPresence();
  }

  statuses() {
    return this.frames.filter({ action: 'connection_status' }).map((f) => f.payload.status);
  }

  destroy() {
    this.user.channels.delete(this);
    this.channel.destroy();
  }
}

class SdkUser {
  /**
   * target: {host, port, tls} of the server to lead it to; without one the address is dialled as the SDK makes
   * it, and hostname says which one that is (one such user at a time).
   */
  constructor({ version, token, hash, target, config = {}, kind = 'XanoNodeClient', name, hostname, ...rest }) {
    this.version = version;
    serial++;
    this.host = hostname ?? `user${serial}.xano.test`;
    this.name = name ?? `sdk ${version} user${serial}`;
    this.target = target;
    Object.assign(this, rest); // compression, headers, ca, servername
    this.attempts = [];
    this.channels = new Set();
    users.set(this.host, this);
    this.module = loadSdk(version);
    const settings = {
      instanceBaseUrl: `https://${this.host}/`,
      [version === '3.0.1' ? 'realtimeConnectionCanonical' : 'realtimeConnectionHash']: hash,
      ...(token ? { realtimeAuthToken: token } : {}),
      ...config,
    };
    if (kind === 'XanoClient') settings.storage ??= new this.module.XanoObjectStorage();
    this.client = new this.module[kind](settings);
  }

  /** The newest socket, whether it is open or not. */
  get attempt() {
    return this.attempts.at(-1);
  }

  get socket() {
    return this.attempt?.socket;
  }

  /** Makes channels before listening on any of them, as the SDK demands while its socket is connecting. */
  prepare(...names) {
    return names.map((entry) => {
      const [name, options] = Array.isArray(entry) ? entry : [entry, undefined];
      const channel = new OpenChannel(this, name, options);
      this.channels.add(channel);
      return channel;
    });
  }

  /** Opens a channel and waits until the server has answered its join. */
  async open(name, options) {
    if (this.socket?.readyState === Ws.CONNECTING) await until('the socket to open', () => this.socket.readyState === Ws.OPEN);
    const [channel] = this.prepare([name, options]);
    channel.listen();
    await channel.wait({ action: 'join' });
    return channel;
  }

  setToken(token) {
    this.client.setRealtimeAuthToken(token);
  }

  reconnect() {
    this.client.realtimeReconnect();
  }

  /** The TCP connection is cut without a word. */
  terminate() {
    this.socket?.terminate();
  }

  /** Ends all channels, by which the SDK closes its socket. */
  async close() {
    for (const channel of [...this.channels]) {
      try {
        channel.destroy();
      } catch {
        // destroy() throws while the socket is connecting
      }
    }
    this.done = true;
    for (const { socket } of this.attempts) if (socket.readyState !== Ws.CLOSED) socket.terminate();
    this.onclosed?.();
  }
}

module.exports = { SdkUser, OpenChannel, ShimWebSocket, loadSdk, VERSIONS };
