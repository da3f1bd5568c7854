// Where the messages of an open channel spend their time: asked for again and again while the channel is open.
import { useEffect, useState } from "react";
import { traces, type Trace } from "./api.js";

const every = 800;
const keep = 500;

/** Milliseconds, with the digits that Date.parse drops. */
export function millis(time: string): number {
  const more = /\.\d{3}(\d+)/.exec(time)?.[1];
  return Date.parse(time) + (more ? Number("0." + more) : 0);
}

export interface Clock {
  /** What must be added to this browser's clock to get the gateway's, and how wrong that may be. */
  skew: number;
  doubt: number;
}

export interface Timing {
  traces: Map<string, Trace>;
  clock: Clock | undefined;
}

export function useTraces(server: number, channel: string, socketId: string | undefined): Timing {
  const [timing, setTiming] = useState<Timing>({ traces: new Map(), clock: undefined });
  useEffect(() => {
    setTiming({ traces: new Map(), clock: undefined });
    if (!channel || !socketId) return;
    let over = false;
    let timer = 0;
    let after = 0;
    const look = async () => {
      try {
        const asked = Date.now();
        const answer = await traces(server, channel, socketId, after);
        const got = Date.now();
        if (over) return;
        const list = answer.items ?? [];
        const doubt = (got - asked) / 2;
        if (list.length) after = list[list.length - 1]!.number;
        setTiming((old) => {
          const clock = !old.clock || doubt < old.clock.doubt ? { skew: millis(answer.now) - (asked + got) / 2, doubt } : old.clock;
          if (!list.length) return clock === old.clock ? old : { ...old, clock };
          const all = new Map(old.traces);
          for (const t of list) all.set(t.id, t);
          for (const id of all.keys()) {
            if (all.size <= keep) break;
            all.delete(id);
          }
          return { traces: all, clock };
        });
      } catch {
        // The socket's gateway has gone, or the channel was closed meanwhile: there are no times, and frames do not need them.
      }
      if (!over) timer = window.setTimeout(() => void look(), every);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [server, channel, socketId]);
  return timing;
}

export interface Stage {
  name: string;
  ms: number;
  /** Two clocks are compared, so this is only as good as they agree. */
  about?: boolean;
  hint: string;
}

/** The parts of a message's way. received is this browser's clock. */
export function stages(t: Trace, gateway: string, received: number, clock: Clock | undefined): Stage[] {
  const out: Stage[] = [];
  const accepted = millis(t.accepted);
  const arrived = millis(t.arrived);
  const foreign = t.origin !== gateway;
  if (t.stored) out.push({ name: "store", ms: millis(t.stored) - accepted, hint: "accepted until the store has acknowledged it" });
  out.push({ name: "transit", ms: arrived - accepted, about: foreign, hint: `accepted by gateway ${t.origin} until gateway ${gateway} has it${t.offset ? ", storing included" : ""}` });
  if (t.flushed) out.push({ name: "queue", ms: millis(t.flushed) - arrived, hint: "until the channel's next flush" });
  if (t.flushed && t.written) out.push({ name: "write", ms: millis(t.written) - millis(t.flushed), hint: `to the last member; ${t.batch ?? 1} in one batch` });
  if (t.written && clock) out.push({ name: "browser", ms: Math.max(0, received + clock.skew - millis(t.flushed ?? t.written)), about: true, hint: `flush until this page had it, ±${clock.doubt.toFixed(1)} ms` });
  return out;
}
