"use strict";
// Ports for the servers of the JavaScript suites.
const net = require("node:net");

let given = 0;

/**
 * A port of this process, below those that the kernel gives to whoever asks for any: it stays free while its server
 * restarts. As internal/freeport does it.
 */
exports.freePort = async function freePort(host = "127.0.0.1") {
  for (let tries = 0; tries < 5900; tries++) {
    const port = 10100 + ((process.pid * 64 + given++) % 5900);
    const probe = net.createServer();
    const free = await new Promise((resolve) => probe.once("error", () => resolve(false)).listen(port, host, () => resolve(true)));
    if (!free) continue;
    await new Promise((resolve) => probe.close(resolve));
    return port;
  }
  throw new Error("no port is free");
};
