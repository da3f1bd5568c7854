// Draws a dashboard of deploy/grafana as a picture, from its own queries on a Prometheus: for the documentation, where
// there is no Grafana. node draw.mjs DASHBOARD.json http://PROMETHEUS OUT.png [minutes] [panels]
// A loaded Prometheus: go test ./internal/watch -run TestLive -hold 5m. Chromium: CHROMIUM or /usr/bin/chromium.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [file, prometheus, out, minutes = '3', limit = '100'] = process.argv.slice(2);
const { chromium } = createRequire(new URL('../../test/conformance/', import.meta.url))('playwright-core');
const board = JSON.parse(readFileSync(file, 'utf8'));
const end = Math.floor(Date.now() / 1000) - 1;
const start = end - 60 * Number(minutes);
const step = Math.max(1, Math.round((end - start) / 150));
const chosen = (expr) => expr.replaceAll('$__rate_interval', '15s').replaceAll('$__range', `${end - start}s`).replaceAll(/\$(namespace|job|instance|server)\b/g, '.*').replaceAll('$stage', 'transit');

async function ask(path, query) {
  const url = new URL(path, prometheus);
  for (const [k, v] of Object.entries(query)) url.searchParams.set(k, v);
  const answer = await (await fetch(url)).json();
  if (answer.status !== 'success') throw new Error(`${query.query}: ${answer.error}`);
  return answer.data.result;
}

const colors = ['#73bf69', '#f2cc0c', '#5794f2', '#ff780a', '#b877d9', '#fa6400', '#37872d', '#e02f44', '#8ab8ff', '#ffee52'];
const escape = (s) => String(s).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const name = (legend, labels) => legend.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, l) => labels[l] ?? '') || 'value';

function format(v, unit) {
  if (!Number.isFinite(v)) return '–';
  const scaled = (steps, base) => {
    let i = 0;
    for (; Math.abs(v) >= base && i < steps.length - 1; i++) v /= base;
    return `${+v.toPrecision(3)}${steps[i]}`;
  };
  if (unit === 'percentunit') return `${+(100 * v).toPrecision(4)} %`;
  if (unit === 's') return Math.abs(v) < 1e-3 ? `${+(1e6 * v).toPrecision(3)} µs` : Math.abs(v) < 1 ? `${+(1e3 * v).toPrecision(3)} ms` : v > 3600 ? `${+(v / 3600).toPrecision(3)} h` : `${+v.toPrecision(3)} s`;
  if (unit === 'bytes') return scaled([' B', ' KiB', ' MiB', ' GiB', ' TiB'], 1024);
  if (unit === 'Bps') return scaled([' B/s', ' kB/s', ' MB/s', ' GB/s'], 1000);
  return scaled(['', ' k', ' M', ' G'], 1000) + (unit === 'ops' || unit === 'reqps' ? '/s' : '');
}

const threshold = (p, v) => {
  let color = '#8ab8ff';
  for (const s of p.fieldConfig.defaults.thresholds?.steps ?? []) if (s.value === null || v >= s.value) color = { green: '#73bf69', yellow: '#f2cc0c', red: '#e02f44', blue: '#8ab8ff' }[s.color];
  return color;
};

async function lines(p, w, h) {
  const all = [];
  for (const t of p.targets) for (const r of await ask('/api/v1/query_range', { query: chosen(t.expr), start, end, step })) {
    all.push({ name: name(t.legendFormat, r.metric), points: (r.values ?? []).map(([at, v]) => [at, Number(v)]).filter(([, v]) => Number.isFinite(v)) });
  }
  const steps = (p.fieldConfig.defaults.thresholds?.steps ?? []).map((s) => s.value).filter((v) => v !== null);
  const stacked = p.fieldConfig.defaults.custom?.stacking?.mode === 'normal';
  const sums = new Map();
  for (const s of all) s.top = s.points.map(([at, v]) => { const base = stacked ? sums.get(at) ?? 0 : 0; sums.set(at, base + v); return [at, base + v]; });
  const legendRows = Math.min(4, Math.ceil(all.length / 3));
  const left = 62, bottom = h - 20 - 15 * legendRows, top = 6;
  const max = p.fieldConfig.defaults.max ?? Math.max(1e-9, ...all.flatMap((s) => s.top.map(([, v]) => v))) * 1.08;
  const x = (at) => left + (w - left - 8) * (at - start) / (end - start);
  const y = (v) => bottom - (bottom - top) * Math.min(1, v / max);
  let svg = '';
  for (let i = 0; i <= 3; i++) svg += `<line x1="${left}" x2="${w - 8}" y1="${y(max * i / 3)}" y2="${y(max * i / 3)}" stroke="#2c3235"/><text x="${left - 6}" y="${y(max * i / 3) + 4}" text-anchor="end">${format(max * i / 3, p.fieldConfig.defaults.unit)}</text>`;
  for (const s of steps) if (s < max) svg += `<line x1="${left}" x2="${w - 8}" y1="${y(s)}" y2="${y(s)}" stroke="${s === steps.at(-1) ? '#e02f44' : '#f2cc0c'}" stroke-dasharray="6 4"/>`;
  all.forEach((s, i) => {
    const path = s.top.map(([at, v], k) => `${k ? 'L' : 'M'}${x(at).toFixed(1)} ${y(v).toFixed(1)}`).join('');
    if (path) svg += `<path d="${path}" fill="none" stroke="${colors[i % colors.length]}" stroke-width="1.5"/>`;
    if (i < 12) svg += `<g transform="translate(${left + (i % 3) * (w - left) / 3} ${bottom + 22 + 15 * Math.floor(i / 3)})"><rect width="10" height="3" y="-5" fill="${colors[i % colors.length]}"/><text x="14">${escape(s.name).slice(0, 26)}</text></g>`;
  });
  return svg;
}

async function heatmap(p, w, h) {
  const cells = []; // at, low, high, count
  for (const r of await ask('/api/v1/query_range', { query: chosen(p.targets[0].expr), start, end, step })) {
    for (const [at, v] of r.histograms ?? []) for (const [, low, high, n] of v.buckets ?? []) cells.push([at, Number(low), Number(high), Number(n)]);
  }
  const left = 62, bottom = h - 20, top = 6;
  const lows = cells.map((c) => c[1]).filter((v) => v > 0);
  const min = Math.log(Math.min(...lows)), max = Math.log(Math.max(...cells.map((c) => c[2])));
  const most = Math.max(...cells.map((c) => c[3]));
  const x = (at) => left + (w - left - 8) * (at - start) / (end - start);
  const y = (v) => bottom - (bottom - top) * (Math.log(v) - min) / (max - min);
  let svg = '';
  for (const [at, low, high, n] of cells) if (low > 0 && n > 0) {
    const heat = Math.sqrt(n / most);
    svg += `<rect x="${x(at - step).toFixed(1)}" width="${(x(step) - x(0) + 0.3).toFixed(1)}" y="${y(high).toFixed(1)}" height="${Math.max(1, y(low) - y(high)).toFixed(1)}" fill="hsl(${(40 - 30 * heat).toFixed(0)} 95% ${(18 + 55 * heat).toFixed(0)}%)"/>`;
  }
  for (let e = -5; e <= 2; e++) for (const m of [1, 3]) { const v = m * 10 ** e; if (Math.log(v) > min && Math.log(v) < max) svg += `<text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${format(v, p.fieldConfig.defaults.unit)}</text>`; }
  const exemplars = await ask('/api/v1/query_exemplars', { query: 'fanfare_fanout_latency_seconds_bucket or fanfare_fanout_latency_seconds', start, end }).catch(() => []);
  if (p.targets[0].expr.includes('fanout_latency')) for (const s of exemplars ?? []) for (const e of s.exemplars) svg += `<rect x="${x(e.timestamp) - 3}" y="${y(Number(e.value)) - 3}" width="6" height="6" fill="#5794f2" transform="rotate(45 ${x(e.timestamp)} ${y(Number(e.value))})"/>`;
  return svg;
}

let html = '';
for (const p of board.panels.slice(0, Number(limit))) {
  const W = 1440 / 24, H = 30, w = p.gridPos.w * W - 8, h = p.gridPos.h * H - 8;
  const at = `left:${p.gridPos.x * W + 4}px;top:${p.gridPos.y * H + 44}px;width:${w}px;height:${h}px`;
  if (p.type === 'row') { html += `<h2 style="${at}">${escape(p.title)}</h2>`; continue; }
  let body = '';
  if (p.type === 'stat') {
    const [r] = await ask('/api/v1/query', { query: chosen(p.targets[0].expr) });
    const v = Number(r?.value?.[1]);
    body = `<div class="stat" style="color:${threshold(p, v)}">${format(v, p.fieldConfig.defaults.unit)}</div>`;
  } else if (p.type === 'table') {
    const rows = await ask('/api/v1/query', { query: chosen(p.targets[0].expr) });
    body = `<table><tr><th>instance</th><th>job</th><th>version</th><th>commit</th><th>goversion</th></tr>${rows.map((r) => `<tr>${['instance', 'job', 'version', 'commit', 'goversion'].map((l) => `<td>${escape(r.metric[l] ?? '').slice(0, 24)}</td>`).join('')}</tr>`).join('')}</table>`;
  } else {
    body = `<svg width="${w}" height="${h - 26}">${await (p.type === 'heatmap' ? heatmap : lines)(p, w, h - 26)}</svg>`;
  }
  html += `<div class="panel" style="${at}"><b>${escape(p.title)}</b>${body}</div>`;
}
const shown = board.panels.slice(0, Number(limit));
const height = Math.max(...shown.map((p) => (p.gridPos.y + p.gridPos.h) * 30)) + 56;
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1440, height } });
await page.setContent(`<style>body{margin:0;background:#111217;color:#ccccdc;font:12px Inter,Arial,sans-serif}h1{font-size:17px;font-weight:500;margin:12px 16px}h2{position:absolute;font-size:14px;font-weight:500;margin:4px 8px}
.panel{position:absolute;background:#181b1f;border:1px solid #2c3235;border-radius:2px;box-sizing:border-box}.panel b{display:block;font-weight:500;padding:6px 8px 2px}.stat{font-size:30px;padding:14px 8px;text-align:center}text{fill:#9fa7b3;font-size:11px}
td,th{text-align:left;padding:2px 12px}th{color:#8e9bb3;font-weight:500}</style><h1>${escape(board.title)}</h1>${html}`);
await page.screenshot({ path: out });
await browser.close();
