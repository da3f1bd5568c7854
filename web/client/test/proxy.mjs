// A TCP proxy that does to connections what networks do: cut, delay, stop one direction, swallow.
import net from "node:net";

export class Proxy {
  #pairs = new Set();
  /** Milliseconds each chunk waits, a number or a function. */
  delay = 0;
  /** New connections are refused. */
  down = false;

  constructor(target) {
    this.target = target; // port
  }

  async listen(port = 0) {
    this.server = net.createServer({ allowHalfOpen: true }, (client) => {
      if (this.down) return client.resetAndDestroy();
      const server = net.connect({ port: this.target, host: "127.0.0.1", allowHalfOpen: true });
      const pair = { client, server, swallow: false };
      this.#pairs.add(pair);
      this.#pipe(pair, client, server);
      this.#pipe(pair, server, client);
    });
    await new Promise((done) => this.server.listen(port, "127.0.0.1", done));
    this.port = this.server.address().port;
    return this;
  }

  #pipe(pair, from, to) {
    let last = Promise.resolve();
    from.on("data", (chunk) => {
      if (pair.swallow) return;
      const wait = typeof this.delay === "function" ? this.delay() : this.delay;
      if (!wait) last = last.then(() => void (to.destroyed || to.write(chunk)));
      else {
        const due = new Promise((done) => setTimeout(done, wait).unref());
        last = last.then(() => due).then(() => void (to.destroyed || to.write(chunk)));
      }
    });
    from.on("end", () => void last.then(() => to.destroyed || to.end()));
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#pairs.delete(pair);
      void last.then(() => to.destroy());
    });
  }

  get connections() {
    return this.#pairs.size;
  }

  /** Resets every connection on both sides. */
  cut() {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  /** Ends one direction: the receiver reads an end, the other direction goes on. */
  halfClose(side) {
    for (const pair of this.#pairs) pair[side].end();
  }

  /** The network takes everything and delivers nothing, without a word. */
  swallow() {
    for (const pair of this.#pairs) pair.swallow = true;
  }

  async close() {
    this.cut();
    await new Promise((done) => this.server.close(done));
  }
}
