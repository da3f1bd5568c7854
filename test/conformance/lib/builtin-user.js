'use strict';
// A user in a process of its own: the unmodified SDK with Node's built-in WebSocket (--experimental-websocket).
// Prints what its listener gets, a JSON line each; takes commands as JSON lines; ends with its input.

const { createInterface } = require('node:readline');

if (process.env.REWRITE_PORT) {
  const BuiltIn = globalThis.WebSocket;
  globalThis.WebSocket = class extends BuiltIn {
    constructor(address, protocols) {
      const url = new URL(address);
      url.port = process.env.REWRITE_PORT;
      super(url, protocols);
    }
  };
}

const { XanoNodeClient } = require('@xano/js-sdk');

const client = new XanoNodeClient({
  instanceBaseUrl: process.env.BASE,
  realtimeConnectionCanonical: process.env.HASH,
  realtimeAuthToken: process.env.TOKEN || null,
});
const print = (frame) => process.stdout.write(`${JSON.stringify(frame)}\n`);
const channel = client.channel('room1', { presence: true, history: true, queueOfflineActions: true });
channel.on(print, print);

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line);
    if ('message' in command) channel.message(command.message);
    if (command.history) channel.history();
    if (command.reconnect) client.realtimeReconnect();
  })
  .on('close', () => {
    channel.destroy();
    setTimeout(() => process.exit(0), 200); // lets the close frame out
  });
