// A scripted realtime server: the wire as design.md 3 and xano-realtime.md 4 tell it, small and without a
// broker. Tests hook `onFrame` to play what a real server rarely does.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

export class FakeServer {
  channels = new Map(); // name -> {history, stored: [{offset, frame}], next, epoch, members: Set<Session>}
  sessions = new Set();
  received = []; // every frame of every client, with its session
  upgrades = []; // {token, at}
  /** Return true to have handled the frame. */
  onFrame = () => false;
  /** Return an HTTP status to refuse the upgrade, or a function that gets the new session. */
  onUpgrade = () => undefined;
  /** Rules: what a channel is. */
  rules = { presence: true, history: 100 };
  #ids = 0;

  async listen(port = 0) {
    this.http = createServer();
    const wss = new WebSocketServer({ noServer: true, handleProtocols: (set) => [...set][0] });
    this.http.on("upgrade", (request, socket, head) => {
      socket.on("error", () => {}); // clients of these tests go away without a word
      const token = request.headers["sec-websocket-protocol"];
      this.upgrades.push({ token, at: Date.now(), url: request.url });
      const verdict = this.onUpgrade(request);
      if (typeof verdict === "number") {
        socket.end(`HTTP/1.1 ${verdict} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return;
      }
      wss.handleUpgrade(request, socket, head, (ws) => {
        const session = new Session(this, ws, "s" + ++this.#ids, token);
        verdict?.(session);
      });
    });
    await new Promise((done) => this.http.listen(port, "127.0.0.1", done));
    this.port = this.http.address().port;
    this.url = `ws://127.0.0.1:${this.port}/rt/demo`;
    return this;
  }

  async close() {
    for (const session of this.sessions) session.ws.terminate();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  channel(name) {
    let channel = this.channels.get(name);
    if (!channel) {
      this.channels.set(name, (channel = { name, history: this.rules.history, stored: [], next: 1, epoch: "e1", members: new Set(), refs: new Map() }));
    }
    return channel;
  }

  /** Publishes as the server and returns the frame. */
  publish(name, frame, { store = true, to } = {}) {
    const channel = this.channel(name);
    frame.options = { channel: name, ...frame.options, id: "id" + ++this.#ids };
    if (store && channel.history) {
      channel.next += 1 + Math.floor(Math.random() * 3); // growing, not contiguous
      frame.options.offset = String(channel.next);
      channel.stored.push(frame);
      if (channel.stored.length > channel.history) channel.stored.shift();
    }
    for (const session of channel.members) if (!to || to === session.id) session.send(frame);
    return frame;
  }

  /** All messages a channel ever took, as payloads. */
  payloads(name) {
    return this.channel(name).stored.map((frame) => frame.payload);
  }

  frames(action) {
    return this.received.filter(({ frame }) => frame.action === action).map(({ frame }) => frame);
  }
}

class Session {
  joined = new Map(); // channel -> flags
  data = undefined;

  constructor(server, ws, id, token) {
    Object.assign(this, { server, ws, id, token });
    server.sessions.add(this);
    ws.on("message", (data) => {
      const frame = JSON.parse(String(data));
      server.received.push({ frame, session: this });
      if (!server.onFrame(this, frame)) this.handle(frame);
    });
    ws.on("close", () => {
      server.sessions.delete(this);
      for (const name of [...this.joined.keys()]) this.leave(name);
    });
    ws.on("error", () => {});
  }

  send(frame) {
    this.ws.send(JSON.stringify(frame));
  }

  get member() {
    return { socketId: this.id, extras: {}, permissions: { dbo_id: 0, row_id: 0 }, ...(this.data && { data: this.data }) };
  }

  error(code, options = {}, more = {}) {
    this.send({ action: "error", options, client: null, payload: { message: code, code, ...more } });
  }

  handle({ action, options, payload }) {
    const { channel: name, ref } = options;
    if (action === "join") return this.join(name, payload);
    if (!this.joined.has(name) && action !== "leave") return this.error("not_joined", { channel: name, ref });
    if (action === "leave") return this.leave(name);
    if (action === "message") return this.message(name, options, payload);
    if (action === "history") return this.history(name, payload);
    if (action === "presence_update") {
      this.data = payload.data ?? undefined;
      return this.announce(name, "update");
    }
    this.error("unknown_action", { channel: name, ref });
  }

  join(name, { history, presence, resume } = {}) {
    const channel = this.server.channel(name);
    const fresh = !channel.members.has(this);
    this.joined.set(name, { presence });
    const options = { channel: name };
    if (channel.history) Object.assign(options, { offset: String(channel.stored.at(-1)?.options.offset ?? 0), epoch: channel.epoch });
    let missed = null;
    if (resume && channel.history && resume.epoch === channel.epoch) {
      const trimmed = channel.stored.length === channel.history && Number(channel.stored[0].options.offset) > Number(resume.offset);
      if (!trimmed) missed = channel.stored.filter((frame) => Number(frame.options.offset) > Number(resume.offset));
    }
    this.send({ action: "join", options, client: this.member, payload: resume ? { resumed: missed !== null } : null });
    for (const frame of missed ?? []) this.send(frame);
    channel.members.add(this);
    if (presence && this.server.rules.presence) {
      const list = [...channel.members].map((session) => session.member);
      this.send({ action: "presence_full", options: { channel: name }, client: null, payload: { presence: list } });
    }
    if (history || (resume && missed === null)) {
      this.send({ action: "history", options: { channel: name }, client: null, payload: { history: channel.stored } });
    }
    if (fresh) this.announce(name, "join");
  }

  leave(name) {
    if (!this.joined.delete(name)) return;
    this.server.channel(name).members.delete(this);
    this.announce(name, "leave");
  }

  announce(name, action) {
    for (const session of this.server.channel(name).members) {
      if (session !== this && session.joined.get(name)?.presence) {
        session.send({ action: "presence_update", options: { channel: name }, client: null, payload: { action, presence: this.member } });
      }
    }
  }

  message(name, options, payload) {
    const channel = this.server.channel(name);
    const { ref, socketId = null, authenticated = false } = options;
    const key = this.id + " " + ref;
    let frame = ref && channel.refs.get(key);
    if (!frame) {
      frame = this.server.publish(
        name,
        { action: "message", options: { channel: name, authenticated, socketId }, client: this.member, payload },
        { store: !socketId, to: socketId ?? undefined },
      );
      if (ref) channel.refs.set(key, frame);
    }
    if (ref) this.send({ action: "ack", options: { channel: name, ref }, payload: { id: frame.options.id, offset: frame.options.offset } });
  }

  history(name, payload) {
    const { stored } = this.server.channel(name);
    const { limit = 1000, after, before } = payload ?? {};
    const number = (frame) => Number(frame.options.offset);
    let all = stored;
    if (after !== undefined) all = stored.filter((frame) => number(frame) > Number(after));
    if (before !== undefined) all = stored.filter((frame) => number(frame) < Number(before));
    const items = after !== undefined ? all.slice(0, limit) : all.slice(-limit);
    const paged = payload && Object.keys(payload).length > 0;
    this.send({
      action: "history",
      options: { channel: name },
      client: null,
      payload: { history: items, ...(paged && { more: items.length < all.length }) },
    });
  }
}
