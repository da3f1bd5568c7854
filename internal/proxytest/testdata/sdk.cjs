'use strict';
// A user in a process of its own: Xano's unmodified SDK, with Node's built-in WebSocket, on wss and port 443 (or
// REWRITE_PORT where a test may not bind that). As WeWeb's plugin does it asks an API of Xano at the same host first.
// Prints what its listener gets, a JSON line each; takes messages as JSON lines; ends with its input.

const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');

const load = createRequire(process.env.MODULES);
const { BASE, HASH, SDK, REWRITE_PORT, API } = process.env;
if (REWRITE_PORT) {
  const BuiltIn = globalThis.WebSocket;
  globalThis.WebSocket = class extends BuiltIn {
    constructor(address, protocols) {
      const url = new URL(address);
      url.port = REWRITE_PORT;
      super(url, protocols);
    }
  };
}
const print = (frame) => process.stdout.write(`${JSON.stringify(frame)}\n`);
const { XanoClient, XanoObjectStorage } = load(SDK);
const client = new XanoClient({ instanceBaseUrl: BASE, apiGroupBaseUrl: `${BASE}${REWRITE_PORT ? `:${REWRITE_PORT}` : ''}/api:AbC123`, realtimeConnectionHash: HASH, storage: new XanoObjectStorage() });

(async () => {
  if (API) {
    const answer = await client.post('/echo', { from: 'weweb' });
    print({ api: answer.getBody() });
  }
  const channel = client.channel('room1', { presence: true, history: true, queueOfflineActions: true });
  channel.on(print, print);
  createInterface({ input: process.stdin })
    .on('line', (line) => channel.message(JSON.parse(line)))
    .on('close', () => {
      channel.destroy();
      setTimeout(() => process.exit(0), 200); // lets the close frame out
    });
})().catch((err) => {
  process.stderr.write(`${err.stack}\n`);
  process.exit(1);
});
