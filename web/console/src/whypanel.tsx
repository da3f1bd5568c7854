// "Why did this user not get this message?": sockets, the message, the rules, and what follows from them.
import { useEffect, useRef, useState, type FormEvent } from "react";
import type { Frame } from "../client.js";
import { call, messageOf, v1, type Connection, type Connections, type Explanation } from "./api.js";
import { Button, Field, Icon, Notice, plural } from "./ui.js";
import { rowOf } from "./user.js";
import { covers, findings, headline, span, type Asked, type Finding } from "./why.js";

/** What a frame or a member of the page asks. */
export interface WhyQuestion {
  /** Changes with every question. */
  key: number;
  message?: { id: string; frame: Frame; at: number | undefined };
  socketId?: string;
  user?: { table: string; row: string };
}

interface Answer {
  good: boolean;
  text: string;
  list: Finding[];
  more: boolean;
  unanswered: string[];
  /** Which message it is about. */
  about: string;
  at: number;
}

const maxPages = 5;

async function connections(hash: string, query: Record<string, string>): Promise<Connections> {
  const all: Connections = { items: [], next: null, unanswered: [] };
  let cursor = "";
  for (let i = 0; i < maxPages; i++) {
    const page: { data: Connections } = await call("GET", `${v1(hash)}/connections?${new URLSearchParams({ ...query, limit: "200", ...(cursor ? { cursor } : {}) })}`);
    all.items.push(...page.data.items);
    all.unanswered = page.data.unanswered;
    all.next = page.data.next;
    if (!page.data.next) break;
    cursor = page.data.next;
  }
  return all;
}

interface Kept {
  items: Frame[];
  times?: string[];
  more: boolean;
}

/** Looks for a kept message by its offset or its id. A channel keeps at most 1000. */
async function find(hash: string, channel: string, wanted: string): Promise<Asked | undefined> {
  const page = await call<Kept>("GET", `${v1(hash)}/channels/${encodeURIComponent(channel)}/history?times=true&limit=1000`);
  const i = page.data.items.findIndex((f) => f.options.id === wanted || f.options.offset === wanted);
  if (i < 0) return undefined;
  const frame = page.data.items[i]!;
  const at = page.data.times?.[i];
  return { frame, channel: frame.options.source ?? channel, ...(at ? { at: Date.parse(at) } : {}) };
}

export function Why({ hash, channel, question }: { hash: string; channel: string; question: WhyQuestion | undefined }) {
  const [by, setBy] = useState<"user" | "socket" | "anyone">("user");
  const [table, setTable] = useState("1");
  const [row, setRow] = useState("");
  const [socket, setSocket] = useState("");
  const [message, setMessage] = useState("");
  const [answer, setAnswer] = useState<Answer>();
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const seen = useRef<WhyQuestion["message"]>(undefined);
  const box = useRef<HTMLElement>(null);

  const ask = async (q: { by: typeof by; table: string; row: string; socket: string; message: string }) => {
    setBusy(true);
    setProblem("");
    try {
      const wanted = q.message.trim();
      const who = q.by === "user" ? `user ${q.row.trim()}` : q.by === "socket" ? "this name" : "anybody";
      const query: Record<string, string> = q.by === "user" ? { dbo_id: q.table || "0", row_id: String(rowOf(q.row)) } : q.by === "socket" ? { socketId: q.socket.trim() } : { channel };
      let asked: Asked | undefined;
      if (wanted) {
        asked = await find(hash, channel, wanted);
        const live = seen.current;
        if (!asked && live?.id === wanted) asked = { frame: live.frame, channel: live.frame.options.source ?? channel, ...(live.at === undefined ? {} : { at: live.at }) };
        if (!asked) {
          throw new Error(
            "No such message is kept on this channel: it was live only, has been dropped since (the rule keeps so many), or was never accepted. Ask without a message to see how the sockets stand.",
          );
        }
      }
      const found = await connections(hash, query);
      const authenticated = q.by === "user" || found.items.some((c) => c.authenticated);
      const join = channel ? (await call<Explanation>("GET", `${v1(hash)}/explain?${new URLSearchParams({ channel, op: "join", authenticated: String(authenticated) })}`)).data : undefined;
      const list = findings(found.items, asked);
      setAnswer({
        ...headline(list, asked, join, who),
        list,
        more: !!found.next,
        unanswered: found.unanswered,
        about: asked ? `Message ${String(asked.frame.options.id ?? "")}${asked.frame.options.offset ? ` at offset ${asked.frame.options.offset}` : ""}${asked.at ? `, accepted ${new Date(asked.at).toLocaleString("en-GB")}` : ""}.` : "",
        at: Date.now(),
      });
    } catch (error) {
      setAnswer(undefined);
      setProblem(messageOf(error));
    } finally {
      setBusy(false);
    }
  };

  useEffect(() => {
    if (!question) return;
    const next = { by, table, row, socket, message };
    if (question.message) {
      seen.current = question.message;
      next.message = question.message.id;
      if (by === "user" && !row.trim()) next.by = "anyone";
      if (by === "socket" && !socket.trim()) next.by = "anyone";
    }
    if (question.socketId) [next.by, next.socket, next.message] = ["socket", question.socketId, ""];
    if (question.user) [next.by, next.table, next.row, next.message] = ["user", question.user.table, question.user.row, ""];
    setBy(next.by);
    setTable(next.table);
    setRow(next.row);
    setSocket(next.socket);
    setMessage(next.message);
    void ask(next);
    box.current?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    // Only a new question asks; what is typed waits for the button.
  }, [question?.key]);

  const submit = (event: FormEvent) => {
    event.preventDefault();
    void ask({ by, table, row, socket, message });
  };
  const ready = by === "user" ? row.trim() !== "" : by === "socket" ? socket.trim() !== "" : channel !== "";
  return (
    <section className="card panel" aria-labelledby="why-title" ref={box}>
      <div className="panel-head">
        <h2 id="why-title">Why did this user not get this message?</h2>
      </div>
      <div className="panel-body">
        <form className="why-form" onSubmit={submit}>
          <Field label="Whose sockets">
            {(ids) => (
              <select {...ids} className="input" value={by} onChange={(e) => setBy(e.target.value as typeof by)}>
                <option value="user">A user's</option>
                <option value="socket">One socket</option>
                <option value="anyone">Everybody's on the channel</option>
              </select>
            )}
          </Field>
          {by === "user" && (
            <>
              <Field label="Table">{(ids) => <input {...ids} className="input" inputMode="numeric" value={table} onChange={(e) => setTable(e.target.value.replace(/\D/g, ""))} />}</Field>
              <Field label="User (row_id)">{(ids) => <input {...ids} className="input" placeholder="17" value={row} onChange={(e) => setRow(e.target.value)} />}</Field>
            </>
          )}
          {by === "socket" && <Field label="Socket">{(ids) => <input {...ids} className="input mono" spellCheck={false} value={socket} onChange={(e) => setSocket(e.target.value)} />}</Field>}
          <Field label="Message: id or offset">{(ids) => <input {...ids} className="input mono" placeholder="none: how they stand" spellCheck={false} value={message} onChange={(e) => setMessage(e.target.value)} />}</Field>
          <Button look="main" type="submit" disabled={busy || !ready || (message.trim() !== "" && !channel)}>
            Ask
          </Button>
        </form>
        {problem && <Notice kind="bad">{problem}</Notice>}
        {answer && (
          <>
            <div className={`verdict${answer.good ? " yes" : ""}`} role="status" data-testid="why">
              <b>
                <Icon name={answer.good ? "done" : "warn"} /> {answer.text}
              </b>
              {answer.about && <span className="small">{answer.about}</span>}
              {answer.unanswered.length > 0 && <span className="small">No answer came from {plural(answer.unanswered.length, "gateway")}: {answer.unanswered.join(", ")}. There may be more sockets.</span>}
              {answer.more && <span className="small">Only the first {answer.list.length} sockets are shown.</span>}
            </div>
            {answer.list.length > 0 && (
              <ul className="sockets" tabIndex={0} aria-label="Sockets">
                {answer.list.map((f) => (
                  <SocketCard key={f.connection.socketId} finding={f} channel={channel} now={answer.at} />
                ))}
              </ul>
            )}
          </>
        )}
        {!answer && !problem && (
          <p className="soft small">
            Pick a user and a message of the channel above, or press “Who got it?” at a message. Every gateway is asked for open sockets and for those that ended last.
          </p>
        )}
      </div>
    </section>
  );
}

const identity = (c: Connection) => (c.authenticated ? `user ${String(c.permissions.row_id)}${c.permissions.dbo_id ? ` of table ${c.permissions.dbo_id}` : ""}` : "anonymous");
const moment = (time: string) => new Date(time).toLocaleTimeString("en-GB");

function SocketCard({ finding, channel, now }: { finding: Finding; channel: string; now: number }) {
  const c = finding.connection;
  const dot = c.state === "open" ? (c.backlog_bytes > 0 ? "warn" : "on") : "bad";
  const here = c.channels.filter((m) => channel && covers(m.channel, channel));
  const others = c.channels_total - here.length;
  return (
    <li className="socket" data-testid="socket">
      <p className="socket-head">
        <span className={`dot ${dot}`} aria-hidden="true" />
        <b>{identity(c)}</b>
        <code>{c.socketId}</code>
        {finding.verdict !== "state" && <span className={`tag ${finding.verdict}`}>{{ got: "got it", late: "not certain", no: "did not get it", state: "" }[finding.verdict]}</span>}
      </p>
      <p>{finding.text}</p>
      <dl className="socket-facts">
        <div>
          <dt>{c.state === "closed" ? "Lived" : "Connected"}</dt>
          <dd>{c.closed ? `${moment(c.connected)} – ${moment(c.closed)} (${span(Date.parse(c.closed) - Date.parse(c.connected))})` : `since ${moment(c.connected)} (${span(now - Date.parse(c.connected))})`}</dd>
        </div>
        <div>
          <dt>Gateway</dt>
          <dd>
            <code>{c.gateway}</code>
          </dd>
        </div>
        <div>
          <dt>Backlog</dt>
          <dd>{c.backlog_bytes.toLocaleString("en")} bytes</dd>
        </div>
        {c.heard && c.state === "open" && (
          <div>
            <dt>Last heard</dt>
            <dd>{span(Math.max(0, now - Date.parse(c.heard)))} ago</dd>
          </div>
        )}
        {here.map((m) => (
          <div key={m.channel}>
            <dt>
              <code>{m.channel}</code>
            </dt>
            <dd>
              joined {moment(m.joined)}
              {m.stored && `, live from offset ${m.joined_offset}, delivered up to ${m.offset}`}
              {m.catching_up && ", being caught up"}
            </dd>
          </div>
        ))}
        {others > 0 && (
          <div>
            <dt>{here.length ? "Other channels" : "Channels"}</dt>
            <dd>
              {c.channels
                .filter((m) => !here.includes(m))
                .slice(0, 8)
                .map((m) => m.channel)
                .join(", ")}
              {others > 8 && ` and ${others - 8} more`}
            </dd>
          </div>
        )}
        {c.left.map((m) => (
          <div key={m.channel + (m.left ?? "")}>
            <dt>
              <code>{m.channel}</code>
            </dt>
            <dd>
              {m.why === "left" ? "left" : `removed (${m.why})`} {m.left && moment(m.left)}
              {m.stored && `, delivered up to ${m.offset}`}
            </dd>
          </div>
        ))}
      </dl>
    </li>
  );
}
