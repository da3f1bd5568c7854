// Why somebody did not get a message: from what is known about sockets, rules and the message to sentences.
import type { Connection, Explanation, Membership } from "./api.js";
import type { Frame } from "../client.js";

/** The message that was asked about, as far as it is known. */
export interface Asked {
  frame: Frame;
  /** When a gateway accepted it, in milliseconds. */
  at?: number;
  /** The channel it was sent on, never a pattern. */
  channel: string;
}

export interface Finding {
  connection: Connection;
  /** got: it was handed to the socket; late: it was on its way; no: it was not. */
  verdict: "got" | "late" | "no" | "state";
  text: string;
}

const reasons: Record<string, string> = {
  client: "the client closed it",
  lost: "the connection broke",
  drain: "the gateway was restarted and sent it away",
  shutdown: "the gateway stopped",
  slow_backlog: "it did not read fast enough: more than limits.backlog_bytes waited for it",
  slow_write: "it took nothing for limits.write_timeout",
  slow_hold: "too much came while it was being caught up",
  write_error: "writing to it failed",
  rate_limit: "it kept sending more than limits.frames_per_second",
  pong_timeout: "it did not answer pings for limits.pong_timeout",
  too_large: "it sent a frame far beyond limits.message_bytes",
  protocol_error: "it broke the WebSocket protocol",
  unknown_hash: "its connection hash is not (or no longer) valid",
  disconnected: "a back end disconnected it",
  broker_cut: "its gateway was cut from the broker",
};
/** The close of a socket in words. */
export const closing = (c: Connection) =>
  `${reasons[c.reason ?? ""] ?? c.reason ?? "unknown reason"} (${c.code ? `close code ${c.code}` : "no close frame: 1006"})`;

const slow = new Set(["slow_backlog", "slow_write", "slow_hold", "write_error", "lost", "pong_timeout"]);

export function span(ms: number): string {
  const s = Math.abs(ms) / 1000;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 120) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 7200) return `${Math.round(s / 60)} minutes`;
  return `${Math.round(s / 3600)} hours`;
}

export const covers = (name: string, channel: string) => name === channel || (name.endsWith("/*") && channel.startsWith(name.slice(0, -1)) && channel.length > name.length - 1);

const removed = (m: Membership) => (m.why === "left" ? "It left the channel" : `It was removed from the channel (${m.why})`);

function judge(c: Connection, asked: Asked): { verdict: Finding["verdict"]; text: string } {
  const o = asked.frame.options ?? {};
  const { at } = asked;
  if (o.socketId && o.socketId !== c.socketId) return { verdict: "no", text: `The message is private, for socket ${String(o.socketId)}.` };
  if (o.authenticated && !c.authenticated) return { verdict: "no", text: "The message is for signed-in members only; this socket is anonymous." };
  const opened = Date.parse(c.connected);
  const closed = c.closed ? Date.parse(c.closed) : undefined;
  if (at !== undefined && at < opened) return { verdict: "no", text: `It connected ${span(opened - at)} after the message, so it can only have it from history or by resuming.` };
  if (at !== undefined && closed !== undefined && at > closed) return { verdict: "no", text: `It had ended ${span(at - closed)} before the message: ${closing(c)}.` };
  const now = c.channels.filter((m) => covers(m.channel, asked.channel));
  const before = c.left.filter((m) => covers(m.channel, asked.channel)).reverse();
  const offset = o.offset ? BigInt(o.offset) : undefined;
  const after = (m: Membership) => (m.stored && offset !== undefined && m.channel === asked.channel ? BigInt(m.joined_offset) >= offset : at !== undefined && Date.parse(m.joined) > at);
  for (const m of [...now, ...before]) {
    if (after(m)) continue;
    const left = m.left ? Date.parse(m.left) : undefined;
    if (left !== undefined && at !== undefined && left < at) continue;
    const reached = !m.stored || offset === undefined || m.channel !== asked.channel || BigInt(m.offset) >= offset;
    if (!reached) {
      if (left !== undefined) return { verdict: "no", text: `${removed(m)} ${at === undefined ? "before the message" : span(left - at) + " after the message, before it"} was written to it.` };
      if (c.state === "closed") return { verdict: "no", text: `It ended before the message was written to it: ${closing(c)}.` };
      if (m.catching_up) return { verdict: "late", text: "It is being caught up with history; the message waits behind that." };
      return { verdict: "late", text: `The message waits in gateway ${c.gateway} for the channel's next flush.` };
    }
    if (m.catching_up) return { verdict: "late", text: "It is being caught up with history; the message waits behind that." };
    if (c.state !== "open" && slow.has(c.reason ?? "")) {
      return {
        verdict: "late",
        text: `The message was handed to the socket, but then it ended: ${closing(c)}.${c.backlog_bytes ? ` ${c.backlog_bytes.toLocaleString("en")} bytes had not been taken.` : ""} The last messages before that may not have arrived; a client that resumes gets them again.`,
      };
    }
    if (c.backlog_bytes > 0 && c.state === "open") {
      return { verdict: "late", text: `The message was handed to the socket. The client reads slowly: ${c.backlog_bytes.toLocaleString("en")} bytes still wait, it may be among them.` };
    }
    return { verdict: "got", text: "The message was handed to this socket and has left the gateway. If the page does not show it, look there: a handler, a filter, the network in between." };
  }
  if (now[0]) {
    const m = now[0];
    return { verdict: "no", text: `It joined ${at === undefined ? "after the message" : span(Date.parse(m.joined) - at) + " after the message"}, so it can only have it from history or by resuming.` };
  }
  if (before[0]) {
    const m = before[0];
    return { verdict: "no", text: `${removed(m)}${at === undefined || !m.left ? "" : ` ${span(at - Date.parse(m.left))} before the message`}.` };
  }
  return { verdict: "no", text: "It was not on the channel." + (c.channels_total > c.channels.length ? " (Not all of its channels are known.)" : "") };
}

/** What became of the message, socket by socket; without one, how the sockets stand. */
export function findings(connections: Connection[], asked: Asked | undefined): Finding[] {
  const order = { open: 0, closing: 1, closed: 2 };
  const list = [...connections].sort((x, y) => order[x.state] - order[y.state] || Date.parse(y.connected) - Date.parse(x.connected));
  return list.map((connection) => {
    if (asked) return { connection, ...judge(connection, asked) };
    const text =
      connection.state === "open"
        ? connection.backlog_bytes > 0
          ? `Open. It reads slowly: ${connection.backlog_bytes.toLocaleString("en")} bytes wait for it.`
          : "Open, and nothing waits for it."
        : `${connection.state === "closing" ? "Closing" : "Closed"}: ${closing(connection)}.`;
    return { connection, verdict: "state", text };
  });
}

/** The answer in one sentence. */
export function headline(list: Finding[], asked: Asked | undefined, join: Explanation | undefined, who: string): { good: boolean; text: string } {
  const may = join && !join.allowed ? ` The rules do not let ${who} join: ${join.text}` : "";
  if (list.length === 0) return { good: false, text: `No socket of ${who} is known: none is open, and none is among those that ended last.${may}` };
  if (!asked) {
    const open = list.filter((f) => f.connection.state === "open").length;
    return { good: open > 0, text: `${open} open, ${list.length - open} ended.${may}` };
  }
  const got = list.filter((f) => f.verdict === "got").length;
  if (got > 0) return { good: true, text: `Delivered to ${got === list.length ? (got === 1 ? "the socket" : `all ${got} sockets`) : `${got} of ${list.length} sockets`} of ${who} that are known.` };
  const late = list.find((f) => f.verdict === "late");
  if (late) return { good: false, text: `Not certain. ${late.text}` };
  return { good: false, text: (list.length === 1 ? `No. ${list[0]!.text}` : `No: none of the ${list.length} sockets of ${who} got it.`) + may };
}
