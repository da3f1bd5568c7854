'use strict';
// Headless Chromium, driven over its debugging protocol. The host names of the tests are mapped, port included, to
// servers on loopback, so pages dial wss://xano.test as they would anywhere.

const { existsSync, mkdtempSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { chromium } = require('playwright-core');

/** hosts: {name: 'address:port'}. */
async function browser(hosts) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) throw new Error(`${executablePath} does not exist: install chromium, or name one in CHROMIUM`);
  const profile = mkdtempSync(join(tmpdir(), 'fanfare-chromium-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    ignoreHTTPSErrors: true,
    args: [
      '--no-sandbox', '--ignore-certificate-errors', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
      `--host-resolver-rules=${Object.entries(hosts).map(([name, to]) => `MAP ${name} ${to}`).join(',')}`,
    ],
  });
  return {
    context,
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

module.exports = { browser };
