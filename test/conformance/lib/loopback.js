'use strict';
// The SDK dials port 443 and no other. On loopback every address of 127.0.0.0/8 has a port 443 of its own, so
// several servers fit on one machine; binding it needs root or net.ipv4.ip_unprivileged_port_start.

const net = require('node:net');

/** An address of loopback whose port 443 is free, or undefined where this user may not bind it. */
async function loopback443() {
  for (let attempt = 0; attempt < 50; attempt++) {
    const octet = () => 1 + Math.floor(Math.random() * 253);
    const host = `127.${octet()}.${octet()}.${octet()}`;
    const outcome = await new Promise((resolve) => {
      const probe = net.createServer();
      probe.once('error', (err) => resolve(err.code));
      probe.listen(443, host, () => probe.close(() => resolve('free')));
    });
    if (outcome === 'free') return host;
    if (outcome === 'EACCES') return undefined;
  }
  throw new Error('no free loopback address');
}

module.exports = { loopback443 };
