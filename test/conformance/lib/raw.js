'use strict';
// A client that knows nothing but WebSockets and JSON: it sends what it is told and keeps all that comes.

const WebSocket = require('ws');
const { randomUUID } = require('node:crypto');
const { Log } = require('./wait');

class RawClient {
  constructor(url, { token, protocols = token ? [token] : [], headers, name = 'raw', ca, compression = false, autoPong = true } = {}) {
    this.name = name;
    this.frames = new Log(`${name} frames`);
    this.raw = []; // {at, text, binary}
    this.pings = 0;
    this.token = token;
    this.closed = undefined; // {code, reason, at}
    const socket = new WebSocket(url, protocols, { headers, ca, perMessageDeflate: compression, autoPong, handshakeTimeout: 15_000 });
    this.socket = socket;
    this.opened = new Promise((resolve, reject) => {
      socket.once('open', () => resolve(this));
      socket.once('error', reject);
      socket.once('unexpected-response', (req, res) => {
        this.response = { status: res.statusCode, headers: res.headers };
        const err = new Error(`the server answered ${res.statusCode} to the upgrade`);
        err.response = this.response;
        res.resume();
        reject(err);
        socket.terminate();
      });
    });
    this.opened.catch(() => {});
    socket.on('upgrade', (res) => { this.upgrade = res; });
    socket.on('error', (err) => { this.error = err; });
    socket.on('ping', () => { this.pings++; });
    socket.on('message', (data, binary) => {
      const text = data.toString('utf8');
      this.raw.push({ at: performance.now(), text, binary });
      let frame;
      try {
        frame = JSON.parse(text);
      } catch {
        frame = { unreadable: text };
      }
      this.frames.push(frame);
    });
    this.ended = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.closed = { code, reason: reason.toString(), at: performance.now() };
        this.onclosed?.();
        resolve(this.closed);
      });
    });
  }

  get mark() {
    return this.frames.length;
  }

  /** Sends an object as JSON, or a string or bytes as they are. */
  send(frame) {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
    return this;
  }

  message(channel, payload, options = {}) {
    return this.send({ action: 'message', options: { ...options, channel }, payload });
  }

  wait(pattern, options) {
    return this.frames.wait(pattern, options);
  }

  /**
   * Joins and waits for all the answers the flags and rule lead to: resolves to {answer, presence, history} or,
   * when it is refused, {error}.
   */
  async join(channel, { presence = false, history = false, resume, expect = {} } = {}) {
    const from = this.mark;
    const payload = { history, presence };
    if (resume !== undefined) payload.resume = resume;
    this.send({ action: 'join', options: { channel }, payload });
    const first = await this.wait(
      (f) => f.options?.channel === channel && (f.action === 'join' || f.action === 'error'),
      { from, what: `the answer to join ${channel}` });
    if (first.action === 'error') return { error: first.payload };
    const result = { answer: first, from };
    if (presence && expect.presence !== false) {
      result.presence = (await this.wait({ action: 'presence_full', options: { channel } }, { from })).payload.presence;
    }
    if (history && expect.history !== false) {
      result.history = (await this.wait({ action: 'history', options: { channel } }, { from })).payload.history;
    }
    this.socketId = first.client?.socketId ?? this.socketId;
    return result;
  }

  /** Like join, but being refused is a failure. */
  async joined(channel, options) {
    const result = await this.join(channel, options);
    if (result.error) throw new Error(`${this.name} was refused ${channel}: ${JSON.stringify(result.error)}`);
    return result;
  }

  leave(channel) {
    return this.send({ action: 'leave', options: { channel }, payload: null });
  }

  /** Asks for history; resolves to the payload of the answer. */
  async history(channel, payload = null) {
    const from = this.mark;
    this.send({ action: 'history', options: { channel }, payload });
    const answer = await this.wait((f) => f.options?.channel === channel && (f.action === 'history' || f.action === 'error'), { from });
    if (answer.action === 'error') throw new Error(`history of ${channel}: ${JSON.stringify(answer.payload)}`);
    return answer.payload;
  }

  /** Sends with a ref and resolves to the frame that answers it: an ack or an error. */
  async publish(channel, payload, { ref = randomUUID(), timeout = 15_000, ...options } = {}) {
    const from = this.mark;
    this.message(channel, payload, { ...options, ref });
    return this.wait((f) => (f.action === 'ack' || f.action === 'error') && f.options?.ref === ref, { from, timeout, what: `the answer to ref ${ref}` });
  }

  /** Publishes and fails unless acknowledged; resolves to {id, offset}. */
  async published(channel, payload, options) {
    const answer = await this.publish(channel, payload, options);
    if (answer.action !== 'ack') throw new Error(`${this.name}: not acknowledged: ${JSON.stringify(answer)}`);
    return answer.payload;
  }

  /** All frames sent so far have been processed when this resolves: a request for the history of a channel
   * never joined is answered with an error naming that channel, and frames are processed in order. */
  async settled() {
    const channel = `settled-${randomUUID()}`;
    const from = this.mark;
    this.send({ action: 'history', options: { channel }, payload: null });
    await this.wait({ action: 'error', options: { channel } }, { from });
  }

  /** Frames since a mark, optionally only those that match. */
  since(mark, pattern = () => true) {
    return this.frames.filter(pattern, mark);
  }

  /** The TCP connection is cut without a word. */
  terminate() {
    this.socket.terminate();
  }

  async close(code = 1000) {
    if (this.closed) return this.closed;
    if (this.socket.readyState === WebSocket.CONNECTING) this.socket.terminate();
    else this.socket.close(code);
    const timer = setTimeout(() => this.socket.terminate(), 3000);
    const closed = await this.ended;
    clearTimeout(timer);
    return closed;
  }
}

module.exports = { RawClient };
