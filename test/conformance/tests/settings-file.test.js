'use strict';
// Settings from a file instead of the API (design.md 7).

const { test } = require('node:test');
const assert = require('node:assert/strict');
const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { Realtime, Server } = require('../lib/server');
const { open, nested } = require('../lib/rules');
const { until } = require('../lib/wait');

test('a settings_file is in force from the start, re-read when it changes, and makes the API read-only; a bad file changes nothing', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'fanfare-settings-'));
  const file = join(dir, 'settings.json');
  const write = (channels, text) => writeFileSync(file, text ?? JSON.stringify({ servers: [{ id: 7, name: 'file', enabled: true, hash: 'from-the-file', channels }] }));
  write([open('x'), nested('chat', { history: 25 })]);
  const server = await Server.start({ env: { FANFARE_SETTINGS_FILE: file } });
  try {
    const rt = new Realtime(server, 7, 'from-the-file');
    const client = await rt.raw();
    await client.joined('x');
    await client.joined('chat/a');
    const refused = await server.admin('PUT', '/workspace/7/realtime', { enabled: true, hash: 'other', channels: [] });
    assert.ok(refused.status >= 400 && refused.status < 500, `${refused.status} ${refused.text}`);
    assert.equal((await server.admin('GET', '/workspace/7/realtime')).json.hash, 'from-the-file');
    write([nested('chat', { history: 25 })]);
    const error = await client.wait({ action: 'error' });
    assert.equal(error.options.channel, 'x');
    write([], '{"servers": [{"id": 7, "enabled": true, "hash": "from-the-file", "channels": [{"pattern": "chat", "history": 7}]}]}');
    await until('the log to say what is wrong', () => /history/.test(server.output.slice(-4000)));
    client.message('chat/a', 'still in force');
    await client.wait({ payload: 'still in force' });
  } finally {
    await server.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
