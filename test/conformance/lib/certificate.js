'use strict';
// A self-signed certificate with the names a client is going to dial in its subjectAltName.

const { execFileSync } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

function certificate({ names = ['xano.test', 'localhost'], addresses = ['127.0.0.1'] } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'fanfare-cert-'));
  const cert = join(dir, 'cert.pem');
  const key = join(dir, 'key.pem');
  const san = [...names.map((n) => `DNS:${n}`), ...addresses.map((a) => `IP:${a}`)].join(',');
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-subj', `/CN=${names[0] ?? addresses[0]}`, '-addext', `subjectAltName=${san}`, '-keyout', key, '-out', cert],
    { stdio: 'pipe' },
  );
  return { cert, key, pem: readFileSync(cert), remove: () => rmSync(dir, { recursive: true, force: true }) };
}

module.exports = { certificate };
