'use strict';
// xano-realtime.md 11.3 "Robustness" and the bad input of design.md 8: each gets a defined answer, and the server
// is alive afterwards (every test ends with a client that chats, see lively()).

const { test, describe, afterEach } = require('node:test');
const assert = require('node:assert/strict');
const { serve, assertError, tick } = require('../lib/suite');
const { open, nested } = require('../lib/rules');
const { span } = require('../lib/wait');

const EXACT = ['a.b', 'a/b', 'a b', 'A/b', 'a*', '>', 'a', 'ab', 'a.b.c', 'a.*', 'a.>', '*', 'a/b/', '/a/b', 'a//b', 'a/b ', ' a/b', 'a\tb', 'a\u0000b', 'a%2Fb', 'a=2Fb', 'a=', '=', '=-',
  'caf\u00e9', 'cafe\u0301', '\u{1f3ba}', 'a_b', 'a-b', '.', '..', '$KV', '_INBOX', 'fanfare'];

const s = serve({}, async (server) => ({
  rt: await server.realtime([
    open('room1', { history: 25, client_private_messaging: true }),
    nested('n', { history: 25 }),
    ...EXACT.map((name) => open(name, { history: 25 })),
  ]),
}));

afterEach(async () => {
  const client = await s.rt.raw();
  await client.joined('n/alive', { presence: true, history: true });
  await client.published('n/alive', 'ok');
  await client.wait({ action: 'message', payload: 'ok' });
  await client.close();
});

/** Sends something and gives the one frame it is answered with, before anything that comes later. */
async function answerTo(client, bytes) {
  const from = client.mark;
  client.send(bytes);
  await client.settled();
  const answers = client.since(from).slice(0, -1);
  assert.equal(answers.length, 1, `one answer to ${String(bytes).slice(0, 200)}: ${JSON.stringify(answers)}`);
  return answers[0];
}

describe('frames that are none', () => {
  const notFrames = {
    nothing: '', blank: '  ', 'not JSON': 'hello', 'half an object': '{"action":"join"', 'two objects': '{"action":"join"}{"action":"join"}',
    null: 'null', 'a number': '5', 'a string': '"join"', true: 'true', 'an empty array': '[]',
    'an array of frames': '[{"action":"join","options":{"channel":"room1"},"payload":{}}]',
    'an empty object': '{}', 'no action': '{"options":{"channel":"room1"}}', 'action null': '{"action":null,"options":{"channel":"room1"}}',
    'action a number': '{"action":5,"options":{"channel":"room1"}}', 'action an object': '{"action":{},"options":{"channel":"room1"}}',
    'trailing comma': '{"action":"join","options":{"channel":"room1",},"payload":{}}', 'single quotes': "{'action':'join'}",
    NaN: '{"action":"message","options":{"channel":"room1"},"payload":NaN}', 'bare control character': '{"action":"message","options":{"channel":"room1"},"payload":"\u0001"}',
    'lone surrogate as escape is fine JSON but no frame': '{"action":"\\ud800"}', 'a byte order mark': '\ufeff{"action":"leave","options":{"channel":"room1"},"payload":null}x',
    'trailing text': '{"action":"leave","options":{"channel":"room1"},"payload":null} x', 'comments': '{"action":"leave"/**/,"options":{"channel":"room1"}}',
  };
  for (const [what, text] of Object.entries(notFrames)) {
    test(what, async () => {
      const client = await s.rt.raw();
      const answer = await answerTo(client, text);
      assertError(answer, what.startsWith('lone') ? undefined : 'invalid_message');
      assert.equal(client.closed, undefined);
    });
  }

  const badFields = {
    'no options': { action: 'join', payload: {} },
    'options null': { action: 'join', options: null, payload: {} },
    'options a string': { action: 'join', options: 'room1', payload: {} },
    'options an array': { action: 'join', options: ['room1'], payload: {} },
    'no channel': { action: 'join', options: {}, payload: {} },
    'channel null': { action: 'join', options: { channel: null }, payload: {} },
    'channel a number': { action: 'join', options: { channel: 5 }, payload: {} },
    'channel an object': { action: 'message', options: { channel: {} }, payload: {} },
    'channel an array': { action: 'leave', options: { channel: ['room1'] }, payload: null },
    'channel false': { action: 'history', options: { channel: false }, payload: null },
    'join payload an array': { action: 'join', options: { channel: 'room1' }, payload: [] },
    'join payload a string': { action: 'join', options: { channel: 'room1' }, payload: 'x' },
    'presence a string': { action: 'join', options: { channel: 'room1' }, payload: { presence: 'yes' } },
    'history a number': { action: 'join', options: { channel: 'room1' }, payload: { history: 1 } },
  };
  for (const [what, frame] of Object.entries(badFields)) {
    test(what, async () => {
      const client = await s.rt.raw();
      const answer = await answerTo(client, JSON.stringify(frame));
      assertError(answer, undefined);
      assert.match(answer.payload.code, /^invalid_(message|channel)$/);
      if (typeof frame.options?.channel === 'string') assert.equal(answer.options?.channel, frame.options.channel);
      else assert.equal(answer.options?.channel, undefined, 'about the connection');
    });
  }

  test('socketId and authenticated of other types are errors (design.md 3)', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    for (const options of [{ socketId: 5 }, { socketId: {} }, { socketId: [] }, { socketId: true }, { authenticated: 'true' }, { authenticated: 1 }, { authenticated: {} }]) {
      const answer = await answerTo(client, JSON.stringify({ action: 'message', options: { channel: 'room1', ...options }, payload: 'x' }));
      assertError(answer, 'invalid_message', undefined, 'room1');
    }
  });

  test('unknown actions, and those only servers send', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    for (const action of ['dance', 'JOIN', 'event', 'error', 'presence_full', 'connection_status', 'ack', 'ping', '', '__proto__', 'constructor', 'x'.repeat(1000)]) {
      const answer = await answerTo(client, JSON.stringify({ action, options: { channel: 'room1' }, payload: null }));
      assertError(answer, undefined);
      assert.match(answer.payload.code, /^(unknown_action|invalid_message)$/, action);
    }
  });

  test('duplicate keys, strange but legal JSON', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    client.send('{"action":"dance","action":"message","options":{"channel":"nothing"},"options":{"channel":"room1"},"payload":1,"payload":2}');
    client.send(' \n\t{ "payload" : [ 1 , 2 ] , "options" : { "channel" : "\\u0072oom1" } , "\\u0061ction" : "mess\\u0061ge" } \r\n');
    client.send('{"action":"message","options":{"channel":"room1"},"payload":"\\ud83c\\udfba \\ud800 \\u0000"}');
    await client.wait({ action: 'message', payload: (p) => Array.isArray(p) && p.length === 2 }, { what: 'the message whose keys and names were written with escapes' });
    client.message('room1', 'fence');
    await client.wait({ action: 'message', payload: 'fence' });
    assert.equal(client.closed, undefined);
  });
});

describe('sizes', () => {
  test('5000-deep JSON is an error; so is anything deeper than json_depth (128); 128 is fine', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    // The payload stands one level below the frame.
    const nestedText = (depth, [a, b] = ['[', ']']) => `{"action":"message","options":{"channel":"room1"},"payload":${a.repeat(depth - 1)}${a === '[' ? '' : '1'}${b.repeat(depth - 1)}}`;
    for (const text of [nestedText(5000), nestedText(5000, ['{"a":', '}']), nestedText(129), '['.repeat(5000) + ']'.repeat(5000), '['.repeat(60_000)]) {
      const answer = await answerTo(client, text);
      assertError(answer, undefined);
      assert.match(answer.payload.code, /^(too_deep|invalid_message)$/);
    }
    client.send(nestedText(128));
    await client.wait({ action: 'message' });
  });

  test('70 KiB is an error and the socket stays; 60 KiB is fine', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    const answer = await answerTo(client, JSON.stringify({ action: 'message', options: { channel: 'room1' }, payload: 'x'.repeat(70 * 1024) }));
    assertError(answer, 'too_large');
    const big = 'y'.repeat(60 * 1024);
    client.message('room1', big);
    await client.wait({ action: 'message', payload: big });
  });

  test('70 KiB with a ref is answered with the ref', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    const answer = await client.publish('room1', 'x'.repeat(70 * 1024), { ref: 'big' });
    assertError(answer, 'too_large');
  });

  test('10 MiB closes the socket (beyond 16 times message_bytes), other sockets live on', async () => {
    const bystander = await s.rt.raw();
    await bystander.joined('room1');
    for (let i = 0; i < 3; i++) {
      const client = await s.rt.raw();
      await client.joined('room1');
      client.message('room1', 'z'.repeat(10 * 1024 * 1024));
      const closed = await client.ended;
      assert.match(String(closed.code), /^(1009|1006)$/);
    }
    bystander.message('room1', 'fine');
    await bystander.wait({ payload: 'fine' });
    assert.equal(bystander.frames.filter((f) => f.payload?.length > 1000).length, 0);
  });

  test('a frame in thousands of fragments is a frame', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    const text = JSON.stringify({ action: 'message', options: { channel: 'room1' }, payload: 'fragmented '.repeat(400) });
    for (let i = 0; i < text.length; i++) client.socket.send(text[i], { fin: i === text.length - 1, binary: false });
    await client.wait({ action: 'message', payload: 'fragmented '.repeat(400) });
  });
});

describe('bytes', () => {
  test('binary frames: an error, the socket stays', async () => {
    const client = await s.rt.raw();
    await client.joined('room1');
    for (const bytes of [Buffer.from([0, 1, 2, 255]), Buffer.alloc(0), Buffer.from(JSON.stringify({ action: 'message', options: { channel: 'room1' }, payload: 'binary' }))]) {
      assertError(await answerTo(client, bytes), 'invalid_message');
    }
    assert.equal(client.frames.filter({ payload: 'binary' }).length, 0);
  });

  test('invalid UTF-8 in a text frame: an error frame or close 1007, and nobody else gets it', async () => {
    const bystander = await s.rt.raw();
    await bystander.joined('room1');
    const make = (bad) => Buffer.concat([Buffer.from('{"action":"message","options":{"channel":"room1"},"payload":"'), bad, Buffer.from('"}')]);
    for (const bad of [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
      const client = await s.rt.raw();
      await client.joined('room1');
      const from = client.mark;
      client.socket.send(make(Buffer.from(bad)), { binary: false });
      const answer = await Promise.race([client.wait({ action: 'error' }, { from }), client.ended]);
      if (answer.action) assertError(answer, 'invalid_message');
      else assert.equal(answer.code, 1007);
    }
    bystander.message('room1', 'fence');
    await bystander.wait({ payload: 'fence' });
    assert.deepEqual(bystander.frames.filter({ action: 'message' }).map((f) => f.payload), ['fence']);
  });

  test('pings of the client are answered, with their data', async () => {
    const client = await s.rt.raw();
    const pong = new Promise((resolve) => client.socket.once('pong', resolve));
    client.socket.ping('are you there');
    assert.equal(String(await pong), 'are you there');
    client.socket.pong('unasked');
    await client.settled();
  });
});

describe('channel names', () => {
  test('201 bytes are refused, 200 are fine; bytes count, not characters', async () => {
    const client = await s.rt.raw();
    const fill = (bytes, character = 'x') => `n/${character.repeat((bytes - 2) / Buffer.byteLength(character))}`;
    await client.joined(fill(200));
    await client.joined(fill(200, 'é'));
    for (const name of [fill(201), fill(203, '語')]) {
      for (const action of ['join', 'message', 'leave', 'history']) {
        const mark = client.mark;
        client.send({ action, options: { channel: name }, payload: null });
        assertError(await client.wait({ action: 'error' }, { from: mark }), 'invalid_channel', undefined, name);
      }
    }
    assertError(await answerTo(client, JSON.stringify({ action: 'join', options: { channel: 'x'.repeat(5000) }, payload: {} })), 'invalid_channel');
  });

  test('16 segments are fine, 17 are refused; the empty name is refused', async () => {
    const client = await s.rt.raw();
    await client.joined(['n', ...tick(15)].join('/'));
    const deep = ['n', ...tick(16)].join('/');
    assertError(await answerTo(client, JSON.stringify({ action: 'join', options: { channel: deep }, payload: {} })), 'invalid_channel', undefined, deep);
    const mark = client.mark;
    client.send({ action: 'join', options: { channel: '' }, payload: {} });
    assertError(await client.wait({ action: 'error' }, { from: mark }), undefined);
  });

  for (const [what, names] of Object.entries({
    'exact rules': EXACT,
    'below one nested rule': EXACT.filter((n) => n !== '*').map((n) => `n/${n}`),
  })) {
    test(`${EXACT.slice(0, 6).join('  ')} and others are different channels and never meet (${what})`, async () => {
      const all = await s.rt.raw({ name: 'all' });
      const singles = new Map();
      for (const name of names) {
        await all.joined(name, { presence: true });
        const one = await s.rt.raw({ name });
        await one.joined(name, { presence: true, history: true });
        singles.set(name, one);
      }
      for (const name of names) await all.published(name, `to ${name}`);
      for (const name of names) await s.rt.event(name, `event ${name}`);
      for (const [name, one] of singles) {
        await one.wait({ action: 'message', payload: `to ${name}` });
        await one.wait({ action: 'event', payload: { data: `event ${name}` } });
        await one.settled();
        const heard = one.since(0, (f) => f.action === 'message' || f.action === 'event');
        assert.deepEqual(heard.map((f) => [f.options.channel, f.payload.data ?? f.payload]), [[name, `to ${name}`], [name, `event ${name}`]]);
        assert.deepEqual((await one.history(name)).history.map((f) => f.payload), [`to ${name}`]);
        const full = one.since(0, { action: 'presence_full' })[0].payload.presence;
        assert.deepEqual(full.map((c) => c.socketId).sort(), [all.socketId, one.socketId].sort(), `presence of ${name}`);
        assert.equal(one.since(0, { action: 'presence_update' }).length, 0);
      }
      for (const name of names) {
        await all.wait({ action: 'event', payload: { data: `event ${name}` } });
        const heard = all.since(0, (f) => f.options?.channel === name && (f.action === 'message' || f.action === 'event'));
        assert.deepEqual(heard.map((f) => f.payload.data ?? f.payload), [`to ${name}`, `event ${name}`]);
      }
    });
  }
});

describe('sockets', () => {
  test('those that never join are tolerated', async () => {
    const idle = await Promise.all(tick(50).map(() => s.rt.raw()));
    await span(2000); // doing nothing is the matter
    for (const client of idle) assert.equal(client.closed, undefined);
    await idle[0].joined('room1');
  });

  test('hundreds that come and are cut, some in the middle of a frame', async () => {
    for (const round of tick(4)) {
      const clients = await Promise.all(tick(50).map(() => s.rt.raw()));
      for (const [i, client] of clients.entries()) {
        client.send({ action: 'join', options: { channel: 'room1' }, payload: { history: true, presence: true } });
        if (i % 3 === 0) client.socket._socket.write(Buffer.from([0x81, 0xfe, 0x10, 0x00, 1, 2, 3, 4, 5, 6]), () => client.terminate());
        else if (i % 3 === 1) client.terminate();
        else client.socket.close(1000);
      }
      await Promise.all(clients.map((c) => c.ended));
      assert.ok(round >= 0);
    }
    const probe = await s.rt.raw();
    const watcher = await s.rt.raw();
    await watcher.joined('room1', { presence: true });
    await probe.joined('room1', { presence: true });
    watcher.message('room1', 'fence');
    await probe.wait({ payload: 'fence' });
  });

  test('protocol violations end the socket, not the server', async () => {
    const violations = {
      'unmasked frame': Buffer.from([0x81, 0x02, 0x7b, 0x7d]),
      'reserved bits': Buffer.from([0xf1, 0x80, 0, 0, 0, 0]),
      'unknown opcode': Buffer.from([0x83, 0x80, 0, 0, 0, 0]),
      'continuation without a beginning': Buffer.from([0x80, 0x80, 0, 0, 0, 0]),
      'long control frame': Buffer.from([0x89, 0xfe, 0x00, 0x7e, 0, 0, 0, 0, ...Buffer.alloc(126)]),
      'fragmented ping': Buffer.from([0x09, 0x80, 0, 0, 0, 0]),
      'length of 2^63': Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
      'close with one byte': Buffer.from([0x88, 0x81, 0, 0, 0, 0, 1]),
      'close with code 1005': Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed]),
    };
    for (const [what, bytes] of Object.entries(violations)) {
      const client = await s.rt.raw();
      client.socket._socket.write(bytes);
      const timer = setTimeout(() => client.terminate(), 5000);
      const closed = await client.ended;
      clearTimeout(timer);
      assert.ok([1002, 1006, 1007, 1009, 1000, 1005].includes(closed.code), `${what}: ${closed.code}`);
    }
  });
});
