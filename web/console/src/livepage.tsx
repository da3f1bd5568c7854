// What goes on now: gateways, sockets, channels, latencies, losses.
import { memo, useEffect, useMemo, useState } from "react";
import { live, messageOf, type Histogram, type Live, type Measures, type Workspace } from "./api.js";
import { Chart, type Line } from "./chart.js";
import { byLabel, duration, grown, pace, percentile, short, sum, together, total, type Pace } from "./measure.js";
import { Notice, plural } from "./ui.js";

const every = 2000;
const keep = 300; // readings: ten minutes

interface Point {
  at: number;
  messages: number | null;
  deliveries: number | null;
  sockets: number;
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

interface State {
  now: Live;
  points: Point[];
  /** Messages a second, by channel. */
  rates: Map<string, number>;
  /** What each gateway did lately; those that have just come are missing. */
  paces: Map<string, Pace>;
  /** Since somebody looks, over all gateways, those that have gone included. */
  grown: Record<string, number>;
  stages: Record<string, Histogram>;
}

function next(state: State | undefined, now: Live): State {
  const paces = new Map<string, Pace>();
  const growth = { ...state?.grown };
  const stages = { ...state?.stages };
  let latency: Histogram | undefined;
  for (const m of now.measures) {
    const before = state?.now.measures.find((b) => b.gateway === m.gateway);
    if (!before) continue;
    if (before.at === m.at) {
      // It has repeated what it had read just before.
      const same = state?.paces.get(m.gateway);
      if (same) paces.set(m.gateway, same);
      continue;
    }
    const p = pace(before, m, counted);
    paces.set(m.gateway, p);
    latency = together(latency, p.latency);
    for (const [name, n] of Object.entries(p.grown)) growth[name] = (growth[name] ?? 0) + n;
    for (const [name, h] of Object.entries(p.stages)) stages[name] = together(stages[name], h);
  }
  const all = [...paces.values()];
  const point: Point = {
    at: Date.parse(now.at) / 1000,
    // Every gateway with members fans a message out: the busiest one's number comes nearest to how many there were.
    messages: all.length ? Math.max(...all.map((p) => p.messages)) : null,
    deliveries: all.length ? all.reduce((n, p) => n + p.deliveries, 0) : null,
    sockets: now.sockets,
    p50: percentile(latency, 0.5),
    p95: percentile(latency, 0.95),
    p99: percentile(latency, 0.99),
  };
  const rates = new Map<string, number>();
  if (state) {
    const seconds = Math.max(0.2, (Date.parse(now.at) - Date.parse(state.now.at)) / 1000);
    const was = new Map(state.now.channels.map((c) => [c.channel, c.messages]));
    for (const c of now.channels) {
      const old = was.get(c.channel);
      rates.set(c.channel, (old === undefined ? 0 : grown(old, c.messages)) / seconds);
    }
  }
  return { now, rates, paces, grown: growth, stages, points: [...(state?.points ?? []), point].slice(-keep) };
}

const latencyLines: Line[] = [
  { name: "p50", color: "--leaf" },
  { name: "p95", color: "--blue" },
  { name: "p99", color: "--amber" },
];
const rateLines: Line[] = [
  { name: "Deliveries", color: "--leaf" },
  { name: "Messages", color: "--blue" },
];
const socketLines: Line[] = [{ name: "Sockets", color: "--leaf" }];
const perSecond = (n: number) => short(n) + "/s";

const losses: { name: string; metric: string; what: string }[] = [
  { name: "Holes found", metric: "broker_gaps_total", what: "in what the broker sent" },
  { name: "Holes repaired", metric: "broker_gaps_repaired_total", what: "from history" },
  { name: "Holes left", metric: "broker_gaps_unrepaired_total", what: "clients were told" },
  { name: "Dropped by the broker", metric: "broker_dropped_total", what: "" },
  { name: "Evictions", metric: "evictions_total", what: "clients that did not keep up" },
  { name: "Frames refused", metric: "frames_dropped_total", what: "" },
  { name: "Sockets refused", metric: "sessions_refused_total", what: "" },
  { name: "Errors told to clients", metric: "errors_total", what: "" },
];

const counted = losses.map((l) => l.metric);

export function LivePage({ server }: { server: Workspace }) {
  const [state, setState] = useState<State>();
  const [problem, setProblem] = useState("");
  const [span, setSpan] = useState(120);
  useEffect(() => {
    let over = false;
    let timer = 0;
    const look = async () => {
      if (document.visibilityState === "visible") {
        try {
          const now = await live(server.id);
          if (over) return;
          setState((old) => next(old, now));
          setProblem("");
        } catch (error) {
          if (over) return;
          setProblem(messageOf(error));
        }
      }
      timer = window.setTimeout(() => void look(), every);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [server.id]);

  const points = state?.points;
  const data = useMemo(() => {
    const list = points ?? [];
    const at = list.map((p) => p.at);
    return {
      latency: [at, list.map((p) => p.p50), list.map((p) => p.p95), list.map((p) => p.p99)] as [number[], ...(number | null)[][]],
      rates: [at, list.map((p) => p.deliveries), list.map((p) => p.messages)] as [number[], ...(number | null)[][]],
      sockets: [at, list.map((p) => p.sockets)] as [number[], ...(number | null)[][]],
    };
  }, [points]);

  if (!state) return problem ? <Notice kind="bad">{problem}</Notice> : <div className="wait" role="status" aria-label="Loading" />;
  const { now } = state;
  const last = state.points[state.points.length - 1]!;
  const number = (v: number | null, format: (v: number) => string) => (v === null ? "–" : format(v));
  const down = now.measures.filter((m) => m.values["broker_connected"]?.[""] === 0).map((m) => m.gateway);
  const silent = now.gateways.filter((g) => g.sockets === null).length;
  const lost = sum(now, "broker_gaps_unrepaired_total") + sum(now, "broker_dropped_total");

  return (
    <>
      <div className="page-head">
        <div>
          <h1>Live</h1>
          <p className="soft">
            {now.measures.length === 1 ? "1 gateway" : `${now.measures.length} gateways together`}{silent > 0 && `; ${silent} more did not answer`}. Asked: <code>{now.gateway}</code>.
          </p>
        </div>
        <div className="actions">
          <select className="input short" aria-label="Time shown" value={span} onChange={(e) => setSpan(Number(e.target.value))}>
            <option value={120}>2 minutes</option>
            <option value={600}>10 minutes</option>
          </select>
        </div>
      </div>
      {problem && <Notice kind="bad">{problem} What is shown is of {new Date(now.at).toLocaleTimeString("en-GB")}.</Notice>}
      {down.length > 0 && <Notice kind="bad">Cut from the broker: {down.join(", ")}.</Notice>}
      <dl className="tiles">
        <Tile name="Sockets" value={short(now.sockets)} />
        <Tile name="Channels in use" value={short(now.channels_total)} />
        <Tile name="Messages" value={number(last.messages, short)} unit="/s" />
        <Tile name="Deliveries" value={number(last.deliveries, short)} unit="/s" />
        <Tile name="Fan-out, p99" value={number(last.p99, duration)} />
        <Tile name="Messages lost" value={short(lost)} alarm={lost > 0} />
      </dl>
      <div className="charts">
        <Chart title="Fan-out latency" lines={latencyLines} data={data.latency} format={duration} span={span} />
        <Chart title="Messages and deliveries" lines={rateLines} data={data.rates} format={perSecond} span={span} />
        <Chart title="Sockets" lines={socketLines} data={data.sockets} format={short} span={span} />
        <Stages stages={state.stages} />
      </div>
      <Channels now={now} rates={state.rates} />
      <div className="halves">
        <section className="card panel" aria-labelledby="gateways-title">
          <div className="panel-head">
            <h2 id="gateways-title">Gateways</h2>
          </div>
          <div className="table-box" tabIndex={0} role="region" aria-labelledby="gateways-title">
            <table>
              <thead>
                <tr>
                  <th scope="col">Gateway</th>
                  <th scope="col">State</th>
                  <th scope="col">Up</th>
                  <th scope="col" className="num">
                    Sockets
                  </th>
                  <th scope="col" className="num">
                    Deliveries
                  </th>
                  <th scope="col" className="num">
                    p99
                  </th>
                  <th scope="col" className="num">
                    Evictions
                  </th>
                </tr>
              </thead>
              <tbody>
                {now.gateways.map((g) => (
                  <tr key={g.id + g.started}>
                    <td>
                      <code>{g.id}</code>
                      <br />
                      <span className="soft small">{g.addr}</span>
                    </td>
                    <td>
                      <span className={`dot ${g.state === "alive" ? "on" : g.state === "hidden" ? "bad" : "warn"}`} aria-hidden="true" />
                      {g.state}
                    </td>
                    <td>{age(Date.parse(now.at) - Date.parse(g.started))}</td>
                    <td className="num">{g.sockets === null ? "no answer" : g.sockets.toLocaleString("en")}</td>
                    <GatewayPace pace={state.paces.get(g.id)} measures={now.measures.find((m) => m.gateway === g.id)} />
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
        <section className="card panel" aria-labelledby="losses-title">
          <div className="panel-head">
            <h2 id="losses-title">Gaps, drops, evictions</h2>
          </div>
          <div className="table-box" tabIndex={0} role="region" aria-labelledby="losses-title">
            <table>
              <thead>
                <tr>
                  <th scope="col">What</th>
                  <th scope="col" className="num">
                    Since you look
                  </th>
                  <th scope="col" className="num">
                    Since their start
                  </th>
                </tr>
              </thead>
              <tbody>
                {losses.map((l) => (
                  <tr key={l.metric}>
                    <td>
                      {l.name} <span className="soft small">{reasons(now, l.metric) || l.what}</span>
                    </td>
                    <td className="num">{(state.grown[l.metric] ?? 0).toLocaleString("en")}</td>
                    <td className="num">{sum(now, l.metric).toLocaleString("en")}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      </div>
    </>
  );
}

function Tile({ name, value, unit, alarm }: { name: string; value: string; unit?: string; alarm?: boolean }) {
  return (
    <div className={`card tile${alarm ? " alarm" : ""}`}>
      <dt>{name}</dt>
      <dd>
        {value}
        {unit && value !== "–" && <small>{unit}</small>}
      </dd>
    </div>
  );
}

function age(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return plural(minutes, "minute");
  if (minutes < 48 * 60) return plural(Math.floor(minutes / 60), "hour");
  return plural(Math.floor(minutes / 1440), "day");
}

/** What one gateway does: deliveries and latency now, and the clients it has sent away since its start. */
function GatewayPace({ pace, measures }: { pace: Pace | undefined; measures: Measures | undefined }) {
  const p99 = pace ? percentile(pace.latency, 0.99) : null;
  return (
    <>
      <td className="num">{pace ? perSecond(pace.deliveries) : "–"}</td>
      <td className="num">{p99 === null ? "–" : duration(p99)}</td>
      <td className="num">{measures ? total(measures, "evictions_total").toLocaleString("en") : "–"}</td>
    </>
  );
}

const reasons = (now: Live, metric: string) =>
  [...byLabel(now, metric)]
    .filter(([name, n]) => name && n > 0)
    .sort((x, y) => y[1] - x[1])
    .slice(0, 4)
    .map(([name, n]) => `${name.replace(/_/g, " ")} ${n.toLocaleString("en")}`)
    .join(", ");

/** Where a message spends its time, over what was read. */
function Stages({ stages }: { stages: Record<string, Histogram> }) {
  const rows = Object.entries(stages)
    .map(([name, h]) => ({ name, p50: percentile(h, 0.5), p99: percentile(h, 0.99) }))
    .filter((r) => r.p50 !== null);
  return (
    <section className="card panel" aria-labelledby="stages-title">
      <div className="panel-head">
        <h2 id="stages-title">Where the time goes</h2>
      </div>
      {rows.length === 0 ? (
        <p className="blank">No message since you look.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">Stage</th>
              <th scope="col" className="num">
                p50
              </th>
              <th scope="col" className="num">
                p99
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map((r) => (
              <tr key={r.name}>
                <td>{r.name.replace(/_/g, " ")}</td>
                <td className="num">{duration(r.p50!)}</td>
                <td className="num">{duration(r.p99!)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

const Row = memo(function Row({ name, members, rate, href }: { name: string; members: number; rate: string; href: string }) {
  return (
    <tr>
      <td>
        <a href={href}>
          <code>{name}</code>
        </a>
      </td>
      <td className="num">{members.toLocaleString("en")}</td>
      <td className="num">{rate}</td>
    </tr>
  );
});

function Channels({ now, rates }: { now: Live; rates: Map<string, number> }) {
  const [filter, setFilter] = useState("");
  const [by, setBy] = useState<"members" | "rate">("members");
  const text = filter.trim().toLowerCase();
  const list = now.channels.filter((c) => !text || c.channel.toLowerCase().includes(text));
  if (by === "rate") list.sort((x, y) => (rates.get(y.channel) ?? 0) - (rates.get(x.channel) ?? 0));
  const server = location.hash.split("/")[1] ?? "1";
  return (
    <section className="card panel" aria-labelledby="live-channels-title">
      <div className="panel-head">
        <h2 id="live-channels-title">Channels</h2>
        <select className="input short" aria-label="Order" value={by} onChange={(e) => setBy(e.target.value as "members" | "rate")}>
          <option value="members">Fullest first</option>
          <option value="rate">Busiest first</option>
        </select>
        <input className="input search" type="search" placeholder="Filter" aria-label="Filter channels" value={filter} onChange={(e) => setFilter(e.target.value)} />
      </div>
      {list.length === 0 ? (
        <p className="blank">{text ? "No channel matches." : "Nobody is on a channel now."}</p>
      ) : (
        <div className="table-box" tabIndex={0} role="region" aria-labelledby="live-channels-title">
          <table>
            <thead>
              <tr>
                <th scope="col">Channel</th>
                <th scope="col" className="num">
                  Members
                </th>
                <th scope="col" className="num">
                  Messages
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((c) => (
                <Row key={c.channel} name={c.channel} members={c.members} rate={rates.has(c.channel) ? perSecond(rates.get(c.channel)!) : "–"} href={`#/${server}/inspector/${encodeURIComponent(c.channel)}`} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {now.channels_total > now.channels.length && <p className="blank">The fullest {now.channels.length} of {now.channels_total.toLocaleString("en")} channels.</p>}
    </section>
  );
}
