// From counters that grow, on several gateways, to rates and percentiles.
import type { Histogram, Live, Measures } from "./api.js";

/** A metric of one gateway, whatever its label. */
export const total = (m: Measures, name: string) => Object.values(m.values[name] ?? {}).reduce((x, y) => x + y, 0);

/** A metric summed up over all gateways. */
export const sum = (live: Live, name: string) => live.measures.reduce((n, m) => n + total(m, name), 0);

/** The same, by what its label says. */
export function byLabel(live: Live, name: string): Map<string, number> {
  const out = new Map<string, number>();
  for (const m of live.measures) for (const [label, n] of Object.entries(m.values[name] ?? {})) out.set(label, (out.get(label) ?? 0) + n);
  return out;
}

/** What was added between two readings; a counter that went back has begun anew. */
export const grown = (before: number, now: number) => (now >= before ? now - before : now);

/** What a histogram has got between two readings. */
export function added(before: Histogram | undefined, now: Histogram | undefined): Histogram {
  if (!now) return { count: 0, buckets: [] };
  if (!before || before.count > now.count || before.buckets.length !== now.buckets.length) return now;
  return { count: now.count - before.count, buckets: now.buckets.map(([bound, n], i) => [bound, n - before.buckets[i]![1]]) };
}

/** Both together; their buckets are the same on every gateway of one version. */
export function together(x: Histogram | undefined, y: Histogram): Histogram {
  if (!x || x.count === 0) return y;
  if (y.count === 0 || x.buckets.length !== y.buckets.length) return x;
  return { count: x.count + y.count, buckets: x.buckets.map(([bound, n], i) => [bound, n + y.buckets[i]![1]]) };
}

/** A percentile in seconds; null when there is nothing. */
export function percentile(h: Histogram | undefined, p: number): number | null {
  if (!h || h.count <= 0) return null;
  const wanted = p * h.count;
  let [bound, within] = [0, 0];
  for (const [upper, here] of h.buckets) {
    if (here >= wanted) return bound + (upper - bound) * ((wanted - within) / Math.max(1, here - within));
    [bound, within] = [upper, here];
  }
  return bound; // beyond the last bucket
}

/** What one gateway did between two of its readings. */
export interface Pace {
  messages: number;
  deliveries: number;
  latency: Histogram;
  stages: Record<string, Histogram>;
  /** By metric, how much it has grown. */
  grown: Record<string, number>;
}

export function pace(before: Measures, now: Measures, counted: readonly string[]): Pace {
  const seconds = Math.max(0.2, (Date.parse(now.at) - Date.parse(before.at)) / 1000);
  const more = (name: string) => grown(total(before, name), total(now, name));
  const stages = now.histograms["stage_latency_seconds"] ?? {};
  return {
    messages: more("publications_total") / seconds,
    deliveries: more("deliveries_total") / seconds,
    latency: added(before.histograms["fanout_latency_seconds"]?.[""], now.histograms["fanout_latency_seconds"]?.[""]),
    stages: Object.fromEntries(Object.entries(stages).map(([name, h]) => [name, added(before.histograms["stage_latency_seconds"]?.[name], h)])),
    grown: Object.fromEntries(counted.map((name) => [name, more(name)])),
  };
}

export function duration(s: number): string {
  if (s >= 1) return `${s.toFixed(s >= 10 ? 0 : 1)} s`;
  if (s >= 0.001) return `${(s * 1000).toFixed(s >= 0.01 ? 0 : 1)} ms`;
  return `${Math.round(s * 1e6)} µs`;
}

export function short(n: number): string {
  if (n >= 1e6) return (n / 1e6).toFixed(n >= 1e7 ? 0 : 1) + "M";
  if (n >= 1e4) return (n / 1e3).toFixed(n >= 1e5 ? 0 : 1) + "k";
  return n >= 10 || Number.isInteger(n) ? Math.round(n).toLocaleString("en") : n.toFixed(1);
}
