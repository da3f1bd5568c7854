'use strict';
// An HTTP server that plays the back end behind a rule's triggers.

const http = require('node:http');
const { once } = require('node:events');
const { Log } = require('./wait');

class Webhooks {
  static async start() {
    const hooks = new Webhooks();
    hooks.calls = new Log('webhook calls'); // {path, body, headers, at}
    hooks.handlers = new Map();
    hooks.server = http.createServer((req, res) => hooks.serve(req, res));
    hooks.server.listen(0, '127.0.0.1');
    await once(hooks.server, 'listening');
    hooks.url = `http://127.0.0.1:${hooks.server.address().port}`;
    return hooks;
  }

  /**
   * Registers a handler and gives its address. It gets the parsed body and gives the JSON value to answer, or
   * {raw, status, delay, drop} inside Webhooks.answer().
   */
  on(path, handler) {
    this.handlers.set(path, handler);
    return this.url + path;
  }

  static answer(details) {
    return Object.assign(Object.create(Answer), details);
  }

  async serve(req, res) {
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const body = JSON.parse(text);
    this.calls.push({ path: req.url, body, text, headers: req.headers, at: performance.now() });
    const result = await this.handlers.get(req.url)?.(body);
    const details = Object.getPrototypeOf(result ?? 0) === Answer ? result : { raw: JSON.stringify(result ?? null) };
    if (details.delay) await new Promise((resolve) => setTimeout(resolve, details.delay));
    if (details.drop) return req.socket.destroy();
    res.writeHead(details.status ?? 200, { 'content-type': 'application/json', ...details.headers });
    res.end(details.raw ?? JSON.stringify(details.value ?? null));
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

const Answer = {};

module.exports = { Webhooks };
