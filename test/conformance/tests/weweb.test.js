'use strict';
// WeWeb's plugin (xano-realtime.md appendix A) and the support-chat story of the seeds (1.3).

const { test, describe } = require('node:test');
const assert = require('node:assert/strict');
const { serve } = require('../lib/suite');
const { WeWebPage } = require('../lib/weweb');
const { VERSIONS } = require('../lib/sdk');
const { open, nested, rule } = require('../lib/rules');
const { mint } = require('../lib/token');
const { until } = require('../lib/wait');

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    open('room1', { history: 100 }),
    nested('chat', { history: 25, client_authenticated_messaging: true, client_private_messaging: true }),
    rule('members', { presence: true, client_public_messaging: true }),
  ]),
}));

describe('the support chat of the seeds', () => {
  for (const version of VERSIONS) {
    test(`SDK ${version}: open room1 with presence, history and offline queue; presence; history; send; another receives; close`, async () => {
      const customer = s.rt.sdk({ version });
      const agent = s.rt.sdk({ version, user: { row_id: 7, extras: { name: 'Agent' } } });

      const atAgent = await agent.open('room1', { presence: true, history: true, queueOfflineActions: true });
      const [atCustomer] = customer.prepare(['room1', { presence: true, history: true, queueOfflineActions: true }]);
      atCustomer.listen();
      atCustomer.message('Hello? (typed before the line was open)');

      // Opening: connected, everybody who is there, what was said before.
      await atCustomer.wait({ action: 'connection_status', payload: { status: 'connected' } });
      const full = await atCustomer.wait({ action: 'presence_full' });
      assert.equal(full.payload.presence.length, 2);
      await atCustomer.wait({ action: 'history' });
      await atAgent.wait({ action: 'message', payload: 'Hello? (typed before the line was open)' });

      // Get presence.
      const people = atCustomer.presence();
      assert.deepEqual(people.map((p) => p.extras.name).filter(Boolean), ['Agent']);

      // Request history.
      const mark = atCustomer.mark;
      atCustomer.history();
      const history = await atCustomer.wait({ action: 'history' }, { from: mark });
      assert.equal(history.payload.history.at(-1).payload, 'Hello? (typed before the line was open)');

      // Send; another user receives.
      atCustomer.message({ text: 'My order did not come', order: 4711 });
      const got = await atAgent.wait({ action: 'message', payload: { order: 4711 } });
      assert.deepEqual(got.payload, { text: 'My order did not come', order: 4711 });
      atAgent.message({ text: 'Let me see' });
      await atCustomer.wait({ action: 'message', payload: { text: 'Let me see' } });

      // Close: the other sees the leave, and this side hears of no disconnection.
      atCustomer.destroy();
      await atAgent.wait({ action: 'presence_update', payload: { action: 'leave' } });
      await until('the socket to be closed', () => customer.attempt.closed);
      assert.equal(customer.attempt.closed.code, 1000);
      assert.deepEqual(atCustomer.statuses(), ['connected']);
      assert.equal(atCustomer.frames.filter({ action: 'presence_full' }).length, atCustomer.frames.filter({ action: 'join' }).length);
      assert.equal(atCustomer.errors.length + atAgent.errors.length, 0);
      atAgent.destroy();
    });
  }
});

describe('the WeWeb plugin', () => {
  test('open, send, request history, get presence, close: the triggers fire as its documentation says', async () => {
    const [a, b] = [new WeWebPage(s.rt), new WeWebPage(s.rt)];
    a.openChannel('chat/1', true, true);
    await a.wait('presence_full');
    b.openChannel('chat/1', true, true);
    await b.wait('presence_full');
    await a.wait('presence_update', (f) => f.payload.action === 'join');
    assert.equal(a.getPresence('chat/1').length, 2);
    a.sendMessage('chat/1', { text: 'hi' });
    const got = await b.wait('message');
    assert.equal(got.channel, 'chat/1');
    assert.deepEqual(got.data.payload, { text: 'hi' });
    assert.ok(got.data.client.socketId);
    await a.wait('message');
    b.requestHistory('chat/1');
    await b.wait('history', (f) => f.payload.history.length === 1);
    b.closeChannel('chat/1');
    await a.wait('presence_update', (f) => f.payload.action === 'leave');
    assert.throws(() => b.sendMessage('chat/1', 'x'), /not open/);
    assert.equal(b.all('connection_status').filter((t) => t.data.payload.status === 'disconnected').length, 0);
    assert.equal(a.all('error').length + b.all('error').length, 0);
    assert.deepEqual([...new Set(a.all('all').map((t) => t.type))].sort(), ['connection_status', 'history', 'join', 'message', 'presence_full', 'presence_update']);
  });

  test('the frames it sends carry authenticated and socketId always, and are understood', async () => {
    const page = new WeWebPage(s.rt, { token: mint({ row_id: 1 }) });
    const [member, guest] = [await s.rt.raw({ user: { row_id: 2 } }), await s.rt.raw()];
    await member.joined('chat/2');
    await guest.joined('chat/2');
    page.openChannel('chat/2');
    page.sendMessage('chat/2', 'public');
    await guest.wait({ action: 'message', payload: 'public' });
    page.sendMessage('chat/2', 'for members', 'authenticated');
    await member.wait({ action: 'message', payload: 'for members' });
    page.sendMessage('chat/2', 'psst', 'private', guest.socketId);
    await guest.wait({ action: 'message', payload: 'psst', options: { socketId: guest.socketId } });
    page.sendMessage('chat/2', 'fence');
    await member.wait({ payload: 'fence' });
    await guest.wait({ payload: 'fence' });
    const heard = (c) => c.frames.filter({ action: 'message' }).map((f) => f.payload);
    assert.deepEqual([heard(member), heard(guest)], [['public', 'for members', 'fence'], ['public', 'psst', 'fence']]);
    const options = page.user.attempt.sent.map((t) => JSON.parse(t)).filter((f) => f.action === 'message').map((f) => f.options);
    assert.deepEqual(options[0], { authenticated: false, socketId: null, channel: 'chat/2' });
    assert.deepEqual(options[1], { authenticated: true, socketId: null, channel: 'chat/2' });
    assert.deepEqual(options[2], { authenticated: false, socketId: guest.socketId, channel: 'chat/2' });
  });

  test('a signed-in page: both tokens are the same, the realtime one is used', async () => {
    const token = mint({ row_id: 3, extras: { name: 'Signed in' } });
    const page = new WeWebPage(s.rt, { token });
    page.openChannel('members', true);
    const full = await page.wait('presence_full');
    assert.deepEqual(full.data.payload.presence.map((c) => c.extras.name), ['Signed in']);
    assert.deepEqual(page.user.attempt.protocols, [token]);
  });

  test('messages sent right after Open channel are queued and arrive (queueOfflineActions is its default)', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('chat/3');
    const page = new WeWebPage(s.rt);
    page.openChannel('chat/3');
    page.sendMessage('chat/3', 'one');
    page.sendMessage('chat/3', 'two');
    const got = await watcher.frames.waitMany({ action: 'message' }, { count: 2 });
    assert.deepEqual(got.map((f) => f.payload), ['one', 'two']);
  });

  test('an error reaches its error trigger with the channel', async () => {
    const page = new WeWebPage(s.rt);
    page.openChannel('members', true, true);
    const error = await page.wait('error');
    assert.equal(error.channel, 'members');
    assert.equal(error.data.payload.message, 'Anonymous clients cannot join this channel.');
  });

  test('opening a channel again while another is open: destroyed and joined anew, one membership', async () => {
    const watcher = await s.rt.raw();
    await watcher.joined('chat/4', { presence: true });
    const page = new WeWebPage(s.rt);
    page.openChannel('chat/other');
    await page.wait('join');
    page.openChannel('chat/4', true, true);
    await page.wait('presence_full');
    page.openChannel('chat/4', true, true);
    await page.wait('presence_full', undefined, { count: 2 });
    page.sendMessage('chat/4', 'once');
    await page.wait('message');
    page.sendMessage('chat/4', 'fence');
    await page.wait('message', (f) => f.payload === 'fence');
    assert.equal(page.all('message').filter((t) => t.data.payload === 'once').length, 1);
    const { presence } = await watcher.joined('chat/4', { presence: true });
    assert.equal(presence.length, 2);
  });

  test('a server event arrives with its data in payload.data', async () => {
    const page = new WeWebPage(s.rt);
    page.openChannel('chat/5');
    await page.wait('join');
    await s.rt.event('chat/5', { order: 'shipped' });
    const event = await page.wait('event');
    assert.deepEqual(event.data.payload, { data: { order: 'shipped' }, dbo_id: 0, row_id: 0 });
  });
});
