'use strict';
// Tokens as a back end would mint them: compact JWTs, HS256 unless said otherwise.

const { createHmac } = require('node:crypto');

const SECRET = process.env.CONFORMANCE_JWT_SECRET ?? 'conformance-secret-of-more-than-32-bytes';

const b64 = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

/** A token for a user of an auth table; further claims and header fields override. */
function mint({ dbo_id = 17, row_id = 1, extras = {}, exp = now() + 3600, secret = SECRET, header = {}, ...claims } = {}) {
  const head = { alg: 'HS256', typ: 'JWT', ...header };
  const body = { dbo_id, row_id, extras, exp, ...claims };
  for (const key of Object.keys(body)) if (body[key] === undefined) delete body[key];
  const signed = `${b64(head)}.${b64(body)}`;
  const hash = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }[head.alg];
  const signature = hash ? createHmac(hash, secret).update(signed).digest('base64url') : '';
  return `${signed}.${signature}`;
}

module.exports = { mint, now, b64, SECRET };
