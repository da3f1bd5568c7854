// The frames of an open channel, one below the other.
import { memo } from "react";
import type { Frame, Member } from "../client.js";
import type { Trace } from "./api.js";
import { stages, type Clock } from "./traces.js";
import { Button, Json } from "./ui.js";

export interface Seen {
  key: number;
  /** When it came, by this browser's clock. */
  at: number;
  frame: Frame;
  past: boolean;
}

export const who = (m: Member | null | undefined) => {
  if (!m) return "";
  const label = m.extras && (m.extras["name"] ?? m.extras["email"]);
  const id = m.permissions?.row_id;
  const user = id && id !== 0 ? `user ${String(id)}` : "anonymous";
  return (typeof label === "string" ? `${label}, ` : "") + user;
};

const clockTime = (at: number) => new Date(at).toLocaleTimeString("en-GB") + "." + String(Math.floor(at) % 1000).padStart(3, "0");

interface Props {
  seen: Seen;
  trace: Trace | undefined;
  gateway: string;
  clock: Clock | undefined;
  onWhy: (frame: Frame, at: number | undefined) => void;
}

export const FrameRow = memo(function FrameRow({ seen, trace, gateway, clock, onWhy }: Props) {
  const { frame } = seen;
  const o = frame.options ?? {};
  const message = (frame.action === "message" || frame.action === "event") && !!o.id;
  return (
    <div className={`frame-row${seen.past ? " past" : ""}`} data-testid="frame">
      <div className="frame-meta">
        <span className={`act ${/^[a-z_]+$/.test(frame.action) ? frame.action : ""}`}>{frame.action}</span>
        {seen.past ? <span>from history</span> : <time>{clockTime(seen.at)}</time>}
        {o.source && (
          <span>
            on <code>{o.source}</code>
          </span>
        )}
        {frame.client && (
          <span>
            from {who(frame.client)} <code>{frame.client.socketId}</code>
          </span>
        )}
        {o.socketId && <span className="tag">private</span>}
        {o.authenticated && <span className="tag">signed-in only</span>}
        {o.id && (
          <span>
            id <code>{String(o.id)}</code>
          </span>
        )}
        {o.offset && (
          <span>
            offset <code>{String(o.offset)}</code>
          </span>
        )}
        {message && (
          <Button look="bare" className="tiny" onClick={() => onWhy(frame, seen.past ? undefined : seen.at)} aria-label={`Who got it? Message ${String(o.id)}`}>
            Who got it?
          </Button>
        )}
      </div>
      <Json value={frame.payload} compact />
      {trace && (
        <div className="frame-times" data-testid="times">
          {stages(trace, gateway, seen.at, clock).map((s) => (
            <span key={s.name} title={s.hint}>
              {s.name} <b>{s.about ? "≈ " : ""}{s.ms < 0 ? "?" : s.ms < 10 ? s.ms.toFixed(2) : s.ms.toFixed(0)} ms</b>
            </span>
          ))}
        </div>
      )}
    </div>
  );
});
