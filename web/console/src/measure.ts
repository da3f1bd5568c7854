// From counters that grow to rates and percentiles.
import type { Histogram, Live } from "./api.js";

export const sum = (live: Live, name: string) => Object.values(live.values[name] ?? {}).reduce((x, y) => x + y, 0);

/** What was added between two readings; a counter that went back has begun anew. */
export const grown = (before: number, now: number) => (now >= before ? now - before : now);

export const seconds = (before: Live, now: Live) => Math.max(0.2, (Date.parse(now.at) - Date.parse(before.at)) / 1000);

export const rate = (before: Live, now: Live, name: string) => grown(sum(before, name), sum(now, name)) / seconds(before, now);

/** The percentile of what came between two readings, in seconds; null when nothing came. */
export function percentile(before: Histogram | undefined, now: Histogram | undefined, p: number): number | null {
  if (!now) return null;
  const anew = !before || before.count > now.count || before.buckets.length !== now.buckets.length;
  const count = now.count - (anew ? 0 : before.count);
  if (count <= 0) return null;
  const wanted = p * count;
  let [bound, within] = [0, 0];
  for (let i = 0; i < now.buckets.length; i++) {
    const [upper, total] = now.buckets[i]!;
    const here = total - (anew ? 0 : before.buckets[i]![1]);
    if (here >= wanted) return bound + (upper - bound) * ((wanted - within) / Math.max(1, here - within));
    [bound, within] = [upper, here];
  }
  return bound; // beyond the last bucket
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
