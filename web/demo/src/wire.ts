/**
 * What stands between the page's clients and the network. It lets the page go offline on purpose, shows the
 * frames, and brings the stock SDK here: that one dials wss on port 443 of a host and nothing else, so its address
 * is rewritten to this server's. The SDK itself stays as it is.
 */
export interface Traffic {
  direction: "in" | "out" | "note";
  text: string;
  at: number;
}

/** The host the stock SDK is told; no such host exists. */
export const sdkHost = "fanfare-demo.invalid";

const sockets = new Set<WebSocket>();
const listeners = new Set<(traffic: Traffic) => void>();
let offline = false;

export function isOffline(): boolean {
  return offline;
}

export function onTraffic(listener: (traffic: Traffic) => void): void {
  listeners.add(listener);
}

function tell(direction: Traffic["direction"], text: string): void {
  for (const listener of listeners) listener({ direction, text, at: Date.now() });
}

/** Cuts the open sockets and lets no other one through, until it is called again. */
export function setOffline(value: boolean): void {
  offline = value;
  tell("note", value ? "offline: the socket is cut" : "online again");
  // 4000 is the code after which both clients come back.
  if (value) for (const socket of sockets) socket.close(4000);
  else window.dispatchEvent(new Event("online"));
}

/** A socket that never opens, as in a tunnel. */
class Unreachable extends EventTarget {
  readyState = 0;
  bufferedAmount = 0;
  onopen: unknown = null;
  onmessage: unknown = null;
  onclose: ((event: CloseEvent) => void) | null = null;
  onerror: ((event: Event) => void) | null = null;

  constructor() {
    super();
    setTimeout(() => {
      this.readyState = 3;
      const error = new Event("error");
      const close = new CloseEvent("close", { code: 1006 });
      this.onerror?.(error);
      this.dispatchEvent(error);
      this.onclose?.(close);
      this.dispatchEvent(close);
    }, 50);
  }

  send(): void {}
  close(): void {}
}

export function install(address: string): void {
  const Native = window.WebSocket;
  class Gate extends Native {
    constructor(url: string | URL, protocols?: string | string[]) {
      if (offline) return new Unreachable() as unknown as Gate;
      const wanted = new URL(url);
      super(wanted.hostname === sdkHost ? new URL(wanted.pathname, address).href : wanted.href, protocols);
      sockets.add(this);
      this.addEventListener("message", (event) => tell("in", String(event.data)));
      this.addEventListener("open", () => tell("note", "connected to " + this.url));
      this.addEventListener("close", (event) => {
        sockets.delete(this);
        tell("note", `closed with ${event.code}`);
      });
    }

    override send(data: string): void {
      super.send(data);
      tell("out", data);
    }
  }
  window.WebSocket = Gate;
}
