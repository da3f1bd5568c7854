'use strict';
// Tokens other than HMAC ones: public keys from a key server (JWKS) with rotation and outage, and encrypted tokens as
// Xano makes them (JWE with A256KW).

const { test, describe, before, after } = require('node:test');
const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const http = require('node:http');
const { once } = require('node:events');
const { deflateRawSync } = require('node:zlib');
const { Server } = require('../lib/server');
const { b64, now, mint } = require('../lib/token');
const { open } = require('../lib/rules');
const { until } = require('../lib/wait');

const KINDS = {
  RS256: ['rsa', { modulusLength: 2048 }, (data, key) => crypto.sign('sha256', data, key)],
  RS512: ['rsa', { modulusLength: 2048 }, (data, key) => crypto.sign('sha512', data, key)],
  PS256: ['rsa', { modulusLength: 2048 }, (data, key) => crypto.sign('sha256', data, { key, padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })],
  ES256: ['ec', { namedCurve: 'P-256' }, (data, key) => crypto.sign('sha256', data, { key, dsaEncoding: 'ieee-p1363' })],
  ES384: ['ec', { namedCurve: 'P-384' }, (data, key) => crypto.sign('sha384', data, { key, dsaEncoding: 'ieee-p1363' })],
  EdDSA: ['ed25519', {}, (data, key) => crypto.sign(null, data, key)],
};

class Key {
  constructor(alg, kid = `${alg}-1`) {
    const [type, options] = KINDS[alg];
    Object.assign(this, { alg, kid }, crypto.generateKeyPairSync(type, options));
  }

  get jwk() {
    return { ...this.publicKey.export({ format: 'jwk' }), kid: this.kid, alg: this.alg, use: 'sig' };
  }

  token(claims = {}, header = {}) {
    const body = { dbo_id: 17, row_id: 1, exp: now() + 600, ...claims };
    const signed = `${b64({ alg: this.alg, kid: this.kid, typ: 'JWT', ...header })}.${b64(body)}`;
    return `${signed}.${KINDS[this.alg][2](Buffer.from(signed), this.privateKey).toString('base64url')}`;
  }
}

const JWE_KEY = crypto.randomBytes(32);

/** A compact JWE of these claims: alg dir or A256KW, enc A256GCM or A256CBC-HS512 (as in Xano's tokens). */
function encrypt(claims, { alg = 'A256KW', enc = 'A256GCM', key = JWE_KEY, zip } = {}) {
  const size = enc === 'A256GCM' ? 32 : 64;
  const cek = alg === 'dir' ? key : crypto.randomBytes(size);
  let wrapped = Buffer.alloc(0);
  if (alg === 'A256KW') {
    const cipher = crypto.createCipheriv('id-aes256-wrap', key, Buffer.alloc(8, 0xa6));
    wrapped = Buffer.concat([cipher.update(cek), cipher.final()]);
  }
  const protectedHeader = b64({ alg, enc, ...(zip ? { zip } : {}) });
  let text = Buffer.from(typeof claims === 'string' ? claims : JSON.stringify(claims));
  if (zip) text = deflateRawSync(text);
  let iv;
  let body;
  let tag;
  if (enc === 'A256GCM') {
    iv = crypto.randomBytes(12);
    const cipher = crypto.createCipheriv('aes-256-gcm', cek, iv).setAAD(Buffer.from(protectedHeader));
    body = Buffer.concat([cipher.update(text), cipher.final()]);
    tag = cipher.getAuthTag();
  } else {
    iv = crypto.randomBytes(16);
    const cipher = crypto.createCipheriv('aes-256-cbc', cek.subarray(32), iv);
    body = Buffer.concat([cipher.update(text), cipher.final()]);
    const aad = Buffer.from(protectedHeader);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(aad.length * 8));
    tag = crypto.createHmac('sha512', cek.subarray(0, 32)).update(Buffer.concat([aad, iv, body, length])).digest().subarray(0, 32);
  }
  return [protectedHeader, ...[wrapped, iv, body, tag].map((b) => b.toString('base64url'))].join('.');
}

const keys = Object.fromEntries(Object.keys(KINDS).map((alg) => [alg, new Key(alg)]));
let published = Object.values(keys);
let down = false;
let fetched = 0;
let site;
let server;
let rt;

before(async () => {
  site = http.createServer((req, res) => {
    fetched++;
    if (down) return req.socket.destroy();
    res.setHeader('content-type', 'application/json');
    res.end(JSON.stringify({ keys: published.map((k) => k.jwk) }));
  });
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  server = await Server.start({ env: { FANFARE_AUTH_JWKS_URL: `http://127.0.0.1:${site.address().port}/jwks.json`, FANFARE_AUTH_JWE_KEY: JWE_KEY.toString('base64url') } });
  rt = await server.realtime([open('room')]);
}, { timeout: 150_000 });

after(async () => {
  await server?.close();
  site?.closeAllConnections();
  site?.close();
});

/** The row id a token gives a socket; 0 when it is not accepted. */
async function rowOf(token) {
  const client = await rt.raw({ token });
  const { answer } = await client.joined('room');
  const told = client.frames.filter({ action: 'error' }).length;
  await client.close();
  assert.equal(told > 0, answer.client.permissions.row_id === 0, 'told exactly when it is not accepted');
  return answer.client.permissions.row_id;
}

describe('public keys', () => {
  for (const alg of Object.keys(KINDS)) {
    test(`${alg} is accepted`, async () => {
      assert.equal(await rowOf(keys[alg].token({ row_id: 31 })), 31);
    });
  }

  test('a token without kid is tried with the keys that fit', async () => {
    assert.ok([0, 32].includes(await rowOf(keys.ES256.token({ row_id: 32 }, { kid: undefined }))));
  });

  test('expired, another key under the same kid, another algorithm under the same key: anonymous', async () => {
    assert.equal(await rowOf(keys.RS256.token({ exp: now() - 5 })), 0);
    const impostor = new Key('RS256', keys.RS256.kid);
    assert.equal(await rowOf(impostor.token()), 0);
    assert.equal(await rowOf(keys.RS256.token({}, { alg: 'RS512' })), 0);
    // The public key as an HMAC secret (key confusion), in the forms attackers use.
    const { publicKey } = keys.RS256;
    for (const secret of [publicKey.export({ type: 'spki', format: 'pem' }), publicKey.export({ type: 'spki', format: 'der' }), JSON.stringify(keys.RS256.jwk)]) {
      assert.equal(await rowOf(mint({ row_id: 1, secret, header: { kid: keys.RS256.kid } })), 0);
    }
  });

  test('keys in the token itself (jwk, jku, x5u) are not believed', async () => {
    const own = new Key('ES256', 'own');
    assert.equal(await rowOf(own.token({}, { jwk: own.jwk })), 0);
    assert.equal(await rowOf(own.token({}, { jku: `http://127.0.0.1:${site.address().port}/jwks.json` })), 0);
  });

  test('HMAC tokens with the shared secret still work beside them', async () => {
    assert.equal(await rowOf(mint({ row_id: 33 })), 33);
  });

  test('a rotated key is found, and unknown kids do not hammer the key server', async () => {
    const next = new Key('ES256', 'ES256-2');
    published = [...Object.values(keys), next];
    await until('the new key', async () => (await rowOf(next.token({ row_id: 34 }))) === 34, { timeout: 40_000, every: 500 });
    const count = fetched;
    const unknown = new Key('ES256', 'never-published');
    for (let i = 0; i < 30; i++) assert.equal(await rowOf(unknown.token({}, { kid: `made-up-${i}` })), 0);
    assert.ok(fetched - count < 10, `${fetched - count} fetches for 30 unknown kids`);
  });

  test('an outage of the key server does not lock people out', async () => {
    down = true;
    assert.equal(await rowOf(keys.RS256.token({ row_id: 35 })), 35);
    assert.equal(await rowOf(keys.EdDSA.token({ row_id: 36 })), 36);
    down = false;
  });
});

describe('encrypted tokens', () => {
  for (const alg of ['A256KW', 'dir']) {
    for (const enc of alg === 'dir' ? ['A256GCM'] : ['A256GCM', 'A256CBC-HS512']) {
      test(`${alg} with ${enc} is accepted`, async () => {
        const extras = { name: 'Jo' };
        const client = await rt.raw({ token: encrypt({ dbo_id: 17, row_id: 41, extras, exp: now() + 600 }, { alg, enc }) });
        const { answer } = await client.joined('room');
        assert.deepEqual([answer.client.permissions, answer.client.extras], [{ dbo_id: 17, row_id: 41 }, extras]);
        await client.close();
      });
    }
  }

  test('SDK 3.0.1 with such a token (its length is that of Xano\'s own)', async () => {
    const token = encrypt({ dbo_id: 17, row_id: 42, extras: { filler: 'x'.repeat(600) }, exp: now() + 600 }, { enc: 'A256CBC-HS512' });
    assert.ok(token.length > 900);
    const user = rt.sdk({ token });
    const channel = await user.open('room');
    assert.equal((await channel.wait({ action: 'join' })).client.permissions.row_id, 42);
    await user.close();
  });

  test('another key, a changed body, an expired one: anonymous', async () => {
    assert.equal(await rowOf(encrypt({ row_id: 1, exp: now() + 600 }, { key: crypto.randomBytes(32) })), 0);
    const parts = encrypt({ row_id: 1, exp: now() + 600 }).split('.');
    parts[3] = Buffer.from(Buffer.from(parts[3], 'base64url').map((b, i) => (i === 0 ? b ^ 1 : b))).toString('base64url');
    assert.equal(await rowOf(parts.join('.')), 0);
    assert.equal(await rowOf(encrypt({ row_id: 1, exp: now() - 5 })), 0);
  });

  test('a compressed bomb is refused', async () => {
    const bomb = encrypt(JSON.stringify({ dbo_id: 17, row_id: 1, exp: now() + 600, extras: { a: 'a'.repeat(8 << 20) } }), { zip: 'DEF' });
    assert.ok(bomb.length < 16_000, `${bomb.length}`);
    const started = performance.now();
    assert.equal(await rowOf(bomb), 0);
    assert.ok(performance.now() - started < 15_000);
  });
});
