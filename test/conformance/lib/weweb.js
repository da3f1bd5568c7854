'use strict';
// WeWeb's Xano plugin, as far as it touches the SDK (xano-realtime.md appendix A): which calls it makes, in which
// order, with which arguments. It uses SDK 2.0.1, XanoClient, one catch-all pair of listeners per channel.

const { SdkUser } = require('./sdk');
const { Log } = require('./wait');

class WeWebPage {
  /** rt: a Realtime; token: of the auth plugin's signed-in user, if any. */
  constructor(rt, { token } = {}) {
    this.user = new SdkUser({
      version: '2.0.1',
      kind: 'XanoClient',
      hash: rt.hash,
      target: { host: rt.server.host, port: rt.server.port, tls: rt.server.tls },
      name: 'weweb page',
    });
    this.onclosed = undefined;
    rt.server.clients.add(this);
    this.xano = this.user.client;
    this.open = new Map();
    this.triggered = new Log('weweb triggers'); // {trigger, channel, data, type?}
    if (token) {
      this.xano.setAuthToken(token);
      this.xano.setRealtimeAuthToken(token);
      this.xano.realtimeReconnect();
    }
  }

  openChannel(name, presence = false, history = false, queueOfflineActions = true) {
    if (this.open.has(name)) this.closeChannel(name);
    const channel = this.xano.channel(name, { presence, history, queueOfflineActions });
    const fire = (frame) => {
      this.triggered.push({ trigger: 'all', channel: name, data: frame, type: frame.action });
      this.triggered.push({ trigger: frame.action, channel: name, data: frame });
    };
    channel.on(fire, fire);
    this.open.set(name, channel);
  }

  closeChannel(name) {
    this.opened(name).destroy();
    this.open.delete(name);
  }

  sendMessage(name, message, audience = 'public', socketId = null) {
    this.opened(name).message(message, { authenticated: audience === 'authenticated', socketId });
  }

  getPresence(name) {
    return this.opened(name).getPresence();
  }

  requestHistory(name) {
    this.opened(name).history();
  }

  opened(name) {
    const channel = this.open.get(name);
    if (!channel) throw new Error(`channel ${name} is not open`);
    return channel;
  }

  wait(trigger, data = () => true, options) {
    return this.triggered.wait((t) => t.trigger === trigger && (typeof data === 'function' ? data(t.data, t.channel) : true), options);
  }

  all(trigger) {
    return this.triggered.filter({ trigger });
  }

  async close() {
    for (const name of [...this.open.keys()]) {
      try {
        this.closeChannel(name);
      } catch {
        // still connecting
      }
    }
    await this.user.close();
  }
}

module.exports = { WeWebPage };
