'use strict';
// Runs the suite: builds the server unless FANFARE_BIN names one, then all files of tests/, or those named on the
// command line, and ends with node's own summary and exit code.

const { execFileSync, spawn } = require('node:child_process');
const { mkdtempSync, readdirSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join, resolve } = require('node:path');

const here = __dirname;
let scratch;
const attached = Boolean(process.env.CONFORMANCE_URL);
if (!attached && !process.env.FANFARE_BIN) {
  scratch = mkdtempSync(join(tmpdir(), 'fanfare-bin-'));
  process.env.FANFARE_BIN = join(scratch, 'fanfare');
  console.log('building the server …');
  execFileSync('go', ['build', '-o', process.env.FANFARE_BIN, './cmd/fanfare'], { cwd: resolve(here, '../..'), stdio: 'inherit' });
}
if (!attached) process.env.FANFARE_BIN = resolve(process.env.FANFARE_BIN);

const args = process.argv.slice(2);
const options = args.filter((a) => a.startsWith('-'));
const named = args.filter((a) => !a.startsWith('-'));
// These start, stop and configure servers themselves, which a running one cannot offer.
const own = ['browser', 'durability', 'handshake', 'keys', 'limits', 'reconnect', 'settings-file', 'wss'].map((n) => `${n}.test.js`);
const files = named.length
  ? named.map((n) => resolve(n))
  : readdirSync(join(here, 'tests')).filter((n) => n.endsWith('.test.js') && !(attached && own.includes(n))).map((n) => join(here, 'tests', n));

// Several files at a time: most of them wait for clocks (back-offs, drains, expiries), not for the processor.
const child = spawn(
  process.execPath,
  ['--test', '--test-force-exit', '--test-concurrency=3', '--test-timeout=300000', '--test-reporter=spec', ...options, ...files],
  { stdio: 'inherit' },
);
child.on('exit', (code, signal) => {
  if (scratch) rmSync(scratch, { recursive: true, force: true });
  process.exit(signal ? 1 : code);
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
