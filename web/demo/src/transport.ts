import { Fanfare, type ChannelOptions, type Frame } from "../client.js";
import { hash, room, socketUrl } from "./params.js";
import { sdkHost } from "./wire.js";

/** What the chat needs of a realtime client; both clients can do it. */
export interface Transport {
  readonly name: string;
  /** Presence data: names and typing without a message. The stock SDK has none. */
  readonly presenceData: boolean;
  /** Messages are acknowledged and queued while away. The stock SDK loses those sent between two attempts. */
  readonly reliable: boolean;
  open(handlers: Handlers): void;
  leave(): void;
  /** Settles when accepted; undefined when the client cannot tell. */
  send(payload: object, to?: string): Promise<unknown> | undefined;
  setData(data: object): void;
  /** Messages kept from before a reload. */
  waiting(): unknown[];
}

export interface Handlers {
  frame(frame: Frame<any>): void;
  link(state: Link): void;
}

export interface Link {
  state: "connecting" | "connected" | "waiting" | "ended";
  /** Milliseconds until the next attempt, where known. */
  retryIn?: number;
}

export function fanfare(): Transport {
  const client = new Fanfare({ url: socketUrl });
  const options: ChannelOptions = { presence: true, history: true, queue: "persistent" };
  const channel = client.channel(room, options);
  let handlers: Handlers | undefined;
  channel.on((frame) => handlers?.frame(frame));
  channel.on("queue", (frame) => handlers?.frame(frame));
  client.on("status", ({ state, retryIn }) => {
    if (state !== "idle") handlers?.link({ state, retryIn });
  });
  return {
    name: "Fanfare client",
    presenceData: true,
    reliable: true,
    open(next) {
      handlers = next;
      channel.open().catch(() => {});
    },
    leave() {
      handlers = undefined;
      channel.close();
    },
    send: (payload, to) => channel.send(payload, { to }),
    setData: (data) => channel.setPresence(data),
    waiting: () => channel.pending().map((message) => message.payload),
  };
}

interface XanoChannel {
  on(all: (frame: Frame<any>) => void, error: (frame: Frame<any>) => void): void;
  message(payload: object, options?: object): void;
  destroy(): void;
}

interface XanoConstructor {
  new (options: object): { channel(name: string, options: object): XanoChannel };
}

/** The SDK as it is published: its script defines the global XanoClient. */
export function xano(): Transport {
  const XanoClient = (window as unknown as { XanoClient: XanoConstructor }).XanoClient;
  const client = new XanoClient({
    instanceBaseUrl: `https://${sdkHost}/`,
    realtimeConnectionHash: hash,
    realtimeConnectionCanonical: hash,
  });
  let channel: XanoChannel | undefined;
  return {
    name: "Xano SDK",
    presenceData: false,
    reliable: false,
    open(handlers) {
      handlers.link({ state: "connecting" });
      const mine = (channel = client.channel(room, { presence: true, history: true, queueOfflineActions: true }));
      const take = (frame: Frame<any>) => {
        if (channel !== mine) return;
        if (frame.action === "connection_status") {
          handlers.link({ state: frame.payload.status === "connected" ? "connected" : "waiting" });
        }
        handlers.frame(frame);
      };
      mine.on(take, take);
    },
    leave() {
      channel?.destroy();
      channel = undefined;
    },
    send(payload, to) {
      channel?.message(payload, to ? { socketId: to } : {});
      return undefined;
    },
    setData() {},
    waiting: () => [],
  };
}
