'use strict';
// Xano's SDK, unmodified and in three versions, at a Service of the cluster: users chat until standard input ends, through
// whatever happens to the gateways meanwhile. Prints what they saw as one line of JSON; ends with 1 when a promise to
// stock clients was broken.
//   node sdk.js HOST PORT HASH
const { SdkUser } = require('../conformance/lib/sdk');

const [host, port, hash] = process.argv.slice(2);
const versions = ['3.0.1', '2.0.1', '1.0.36'];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const problems = [];

async function main() {
  const users = [];
  for (let i = 0; i < 6; i++) {
    const user = new SdkUser({ version: versions[i % 3], hash, target: { host, port: Number(port) } });
    const room = await user.open('chat/sdk', { presence: true });
    users.push({ user, room });
  }
  const connected = ({ room }) => room.statuses().at(-1) === 'connected';
  for (const begun = Date.now(); !users.every(connected); await pause(100)) {
    if (Date.now() - begun > 30000) throw new Error('not all are connected after 30 s');
  }
  let stop = false;
  process.stdin.on('end', () => { stop = true; }).resume();
  console.log(JSON.stringify({ connected: users.length }));
  let sent = 0;
  const away = users.map(() => 0); // longest time without a connection, in ms
  const since = users.map(() => 0);
  while (!stop) {
    for (let i = 0; i < users.length; i++) {
      if (!connected(users[i])) {
        since[i] ||= Date.now();
        away[i] = Math.max(away[i], Date.now() - since[i]);
        continue;
      }
      since[i] = 0;
      try { users[i].room.message({ from: i, n: sent++ }); } catch { /* it is connecting at this moment */ }
    }
    await pause(200);
  }
  // All are back, and everybody gets a last message of everybody. A gateway that still drains may send somebody away at
  // that very moment, and the SDK does not make up for what was sent meanwhile: so they say it again.
  const has = ({ room }, i) => room.frames.filter({ action: 'message' }).some((f) => f.payload.last === i);
  for (const begun = Date.now(); !users.every((u) => users.every((_, i) => has(u, i))); await pause(1000)) {
    if (Date.now() - begun > 60000) { problems.push(users.every(connected) ? 'not everybody got the last messages' : 'not all came back within a minute'); break; }
    if (!users.every(connected)) continue;
    for (let i = 0; i < users.length; i++) {
      try { users[i].room.message({ last: i }); } catch { /* sent away just now */ }
    }
  }
  const codes = {};
  let disconnected = 0;
  for (const { user } of users) {
    for (const attempt of user.attempts) {
      if (attempt.closed) codes[attempt.closed.code] = (codes[attempt.closed.code] ?? 0) + 1;
    }
    disconnected += user.attempts.length - 1;
  }
  for (const code of Object.keys(codes)) {
    if (!['1012', '1013', '1006'].includes(code)) problems.push(`a socket was closed with ${code}: the SDK stays away then`);
  }
  const received = users.map(({ room }) => room.frames.filter({ action: 'message' }).length);
  console.log(JSON.stringify({ users: users.length, sent, received, reconnections: disconnected, codes, longest_away_ms: Math.max(...away), problems }));
  process.exit(problems.length ? 1 : 0);
}

main().catch((err) => { console.error(err); process.exit(1); });
