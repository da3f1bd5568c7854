// Any channel from inside: who is there, what was, what comes; sending; why something is allowed or not.
import { useCallback, useEffect, useRef, useState, type FormEvent } from "react";
import { Fanfare, FanfareError, type Channel, type Frame, type Member } from "../client.js";
import { call, messageOf, meta, v1, type Explanation, type Realtime, type Session, type Workspace } from "./api.js";
import { FrameRow, who, type Seen } from "./frames.js";
import { target } from "./rules.js";
import { Send } from "./send.js";
import { useTraces } from "./traces.js";
import { Button, Field, Icon, Json, Notice, tell } from "./ui.js";
import { choices, complete, nobody, tokenFor, UserFields, type As, type Choice } from "./user.js";
import { Why, type WhyQuestion } from "./whypanel.js";

const maxFrames = 500;

let keys = 0;
const asked = () => {
  try {
    return decodeURIComponent(location.hash.split("/")[3] ?? "");
  } catch {
    return "";
  }
};

export function Inspector({ server, session }: { server: Workspace; session: Session }) {
  const [realtime, setRealtime] = useState<Realtime>();
  const [name, setName] = useState(asked);
  const [choice, setChoice] = useState<Choice>(nobody);
  const [question, setQuestion] = useState<WhyQuestion>();
  const [opened, setOpened] = useState("");
  const [state, setState] = useState("");
  const [self, setSelf] = useState<Member>();
  const [problem, setProblem] = useState("");
  const [members, setMembers] = useState<Member[]>([]);
  const [frames, setFrames] = useState<Seen[]>([]);
  const [paused, setPaused] = useState(false);
  const [filter, setFilter] = useState("");
  const client = useRef<Fanfare>(undefined);
  const channel = useRef<Channel>(undefined);
  const waiting = useRef<Seen[]>([]);
  const turns = useRef(0);
  const held = useRef(paused);
  held.current = paused;

  useEffect(() => {
    call<Realtime>("GET", meta(server.id) + "/realtime").then((a) => setRealtime(a.data), (e) => setProblem(messageOf(e)));
  }, [server]);

  // Frames are shown a few times a second, however many come.
  const add = useCallback((list: Frame[], past = false) => {
    const at = performance.timeOrigin + performance.now();
    for (const frame of list) waiting.current.unshift({ key: ++keys, at, frame, past });
    if (waiting.current.length > maxFrames) waiting.current.length = maxFrames;
  }, []);
  useEffect(() => {
    const timer = setInterval(() => {
      if (held.current || waiting.current.length === 0) return;
      const list = waiting.current;
      waiting.current = [];
      setFrames((old) => [...list, ...old].slice(0, maxFrames));
      setMembers(channel.current?.presence() ?? []);
    }, 150);
    return () => clearInterval(timer);
  }, []);

  const close = useCallback(() => {
    turns.current++;
    client.current?.close();
    client.current = channel.current = undefined;
    setOpened("");
    setSelf(undefined);
    setMembers([]);
  }, []);
  useEffect(() => close, [close]);

  const open = async (wanted: string) => {
    close();
    setProblem("");
    setFrames([]);
    waiting.current = [];
    const turn = ++turns.current;
    let token: string | undefined;
    try {
      token = await tokenFor(choice);
    } catch (error) {
      return setProblem(messageOf(error));
    }
    if (turn !== turns.current) return; // closed, or opened again meanwhile
    const fanfare = new Fanfare({ url, ...(token ? { token } : {}) });
    client.current = fanfare;
    fanfare.on("status", (s) => client.current === fanfare && setState(s.state + (s.code ? ` (close code ${s.code})` : "")));
    fanfare.on("error", (e) => client.current === fanfare && setProblem(`${e.message} (${e.code})`));
    const room = fanfare.channel(wanted, { presence: true, history: true, queue: false });
    channel.current = room;
    room.on((frame) => {
      if (channel.current !== room) return;
      // The answer to a request for history is told frame by frame, as what was.
      if (frame.action === "history") add(((frame.payload as { history?: Frame[] } | null)?.history ?? []).slice(-100), true);
      else if (frame.action !== "connection_status") add([frame]);
      if (frame.action === "presence_full") setMembers(room.presence());
      setSelf(room.self);
    });
    setOpened(wanted);
    try {
      const info = await room.open();
      if (channel.current === room) setSelf(info.self);
    } catch (error) {
      if (channel.current !== room) return;
      setProblem(error instanceof FanfareError ? `${error.message} (${error.code})` : messageOf(error));
      close();
    }
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    void open(name.trim());
  };
  const hash = realtime?.hash ?? server.hash;
  const url = `${location.origin.replace(/^http/, "ws")}/rt/${encodeURIComponent(hash)}`;
  const channelName = opened || name.trim();
  const joined = !!opened && !!self;
  const timing = useTraces(server.id, joined ? opened : "", self?.socketId);
  const gateway = self?.socketId.slice(0, 8) ?? "";
  const asks = useRef(0);
  const whyMessage = useCallback((frame: Frame, at: number | undefined) => setQuestion({ key: ++asks.current, message: { id: String(frame.options.id), frame, at } }), []);
  const whyMember = (m: Member) =>
    setQuestion({ key: ++asks.current, ...(m.permissions.row_id ? { user: { table: String(m.permissions.dbo_id), row: String(m.permissions.row_id) } } : { socketId: m.socketId }) });
  const text = filter.trim().toLowerCase();
  const shown = text ? frames.filter((f) => JSON.stringify(f.frame).toLowerCase().includes(text)) : frames;

  return (
    <>
      <div className="page-head">
        <div>
          <h1>Inspector</h1>
          <p className="soft">Open a channel or a pattern as a client would, and look inside.</p>
        </div>
      </div>
      <form className="card open-bar" onSubmit={submit}>
        <Field label="Channel">
          {(ids) => (
            <>
              <input {...ids} className="input mono" list="targets" placeholder="chat/sports or chat/*" value={name} onChange={(e) => setName(e.target.value)} spellCheck={false} autoCapitalize="off" />
              <datalist id="targets">
                {realtime?.channels.map((r) => (
                  <option key={r.id} value={target(r)} />
                ))}
              </datalist>
            </>
          )}
        </Field>
        <Field label="As">
          {(ids) => (
            <select {...ids} className="input" value={choice.as} onChange={(e) => setChoice({ ...choice, as: e.target.value as As })}>
              {choices(session.mint).map(([value, label]) => (
                <option key={value} value={value}>
                  {label}
                </option>
              ))}
            </select>
          )}
        </Field>
        <div className="actions">
          <Button look="main" type="submit" disabled={!name.trim() || !complete(choice)}>
            Open
          </Button>
          {opened && <Button onClick={close}>Close</Button>}
        </div>
        <UserFields choice={choice} onChange={setChoice} />
      </form>
      {problem && (
        <Notice kind="bad">
          <p>{problem}</p>
          <p>Presence, history and the explainer below work without joining: they ask as the server.</p>
        </Notice>
      )}
      {opened && (
        <p className="state-line" role="status">
          <span className={`dot ${joined ? "on" : "warn"}`} aria-hidden="true" />
          <span>
            {joined ? "On" : "Opening"} <code>{opened}</code> · {state}
            {self && (
              <>
                {" "}
                · this socket is <code>{self.socketId}</code>
              </>
            )}
          </span>
        </p>
      )}
      <div className="bench">
        <div className="stack">
          <section className="card panel" aria-labelledby="frames-title">
            <div className="panel-head">
              <h2 id="frames-title">Frames</h2>
              <input className="input search" type="search" placeholder="Filter" aria-label="Filter frames" value={filter} onChange={(e) => setFilter(e.target.value)} />
              <Button aria-pressed={paused} onClick={() => setPaused(!paused)}>
                {paused ? "Go on" : "Pause"}
              </Button>
              <Button
                onClick={() => {
                  setFrames([]);
                  waiting.current = [];
                }}
              >
                Clear
              </Button>
            </div>
            {shown.length === 0 ? (
              <p className="blank">{opened ? "Nothing yet. Frames show up here as they come." : "Open a channel to see its history and what comes."}</p>
            ) : (
              <div className="frames" tabIndex={0} role="log" aria-labelledby="frames-title" aria-live="off">
                {shown.map((f) => (
                  <FrameRow key={f.key} seen={f} trace={f.past ? undefined : timing.traces.get(String(f.frame.options?.id))} gateway={gateway} clock={timing.clock} onWhy={whyMessage} />
                ))}
              </div>
            )}
          </section>
          <Why hash={hash} channel={channelName} question={question} />
        </div>
        <div className="stack">
          <Send url={url} hash={hash} channel={channelName} room={channel} joined={joined} members={members} canMint={session.mint} />
          <People hash={hash} channel={channelName} members={members} self={self} joined={joined} onHistory={(list) => (setFrames([]), add(list, true))} onWhy={whyMember} />
          <Explain hash={hash} channel={channelName} />
        </div>
      </div>
    </>
  );
}

function People({ hash, channel, members, self, joined, onHistory, onWhy }: {
  hash: string;
  channel: string;
  members: Member[];
  self: Member | undefined;
  joined: boolean;
  onHistory: (list: Frame[]) => void;
  onWhy: (m: Member) => void;
}) {
  const [asked, setAsked] = useState<{ channel: string; list: Member[]; more: boolean }>();
  const path = `${v1(hash)}/channels/${encodeURIComponent(channel)}`;
  const presence = async () => {
    try {
      const page = await call<{ items: Member[]; next: string | null }>("GET", path + "/presence?limit=200");
      setAsked({ channel, list: page.data.items, more: !!page.data.next });
    } catch (error) {
      tell("That did not work", { bad: true, description: messageOf(error) });
    }
  };
  const history = async () => {
    try {
      const page = await call<{ items: Frame[] }>("GET", path + "/history?limit=100");
      onHistory(page.data.items);
      tell(page.data.items.length ? `${page.data.items.length} kept messages` : "Nothing is kept");
    } catch (error) {
      tell("That did not work", { bad: true, description: messageOf(error) });
    }
  };
  const list = joined ? members : asked?.channel === channel ? asked.list : [];
  return (
    <section className="card panel" aria-labelledby="people-title">
      <div className="panel-head">
        <h2 id="people-title">Who is there{list.length > 0 && ` (${list.length}${asked?.more && !joined ? " or more" : ""})`}</h2>
      </div>
      <div className="panel-body">
        <div className="actions">
          <Button disabled={!channel} onClick={() => void presence()}>
            Presence, as the server
          </Button>
          <Button disabled={!channel} onClick={() => void history()}>
            History, as the server
          </Button>
        </div>
        {list.length > 0 && (
          <ul className="members" tabIndex={0} aria-labelledby="people-title">
            {list.slice(0, 200).map((m) => (
              <li key={m.socketId + (m.source ?? "")} className="member">
                <b>
                  {who(m)}
                  {m.socketId === self?.socketId && " (this socket)"}
                </b>
                <span className="frame-meta">
                  <code>{m.socketId}</code>
                  {m.source && <span>on {m.source}</span>}
                  <Button look="bare" className="tiny" onClick={() => onWhy(m)} aria-label={`How does it stand? ${who(m)}`}>
                    How does it stand?
                  </Button>
                </span>
                {(Object.keys(m.extras ?? {}).length > 0 || m.data) && <Json value={{ ...(Object.keys(m.extras ?? {}).length ? { extras: m.extras } : {}), ...(m.data ? { data: m.data } : {}) }} compact />}
              </li>
            ))}
          </ul>
        )}
        {list.length === 0 && (joined || asked?.channel === channel) && channel && <p className="soft small">Nobody is shown. The rule may have presence off.</p>}
      </div>
    </section>
  );
}

const ops = [
  ["join", "Join"],
  ["send", "Send to everyone"],
  ["send_authenticated", "Send to signed-in users"],
  ["send_private", "Send in private"],
  ["presence", "See who is there"],
  ["history", "Read history"],
] as const;

function Explain({ hash, channel }: { hash: string; channel: string }) {
  const [op, setOp] = useState<string>("join");
  const [user, setUser] = useState(false);
  const [partner, setPartner] = useState("");
  const [answer, setAnswer] = useState<Explanation>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    if (!channel) return setAnswer(undefined);
    let over = false;
    const timer = setTimeout(async () => {
      const query = new URLSearchParams({ channel, op, authenticated: String(user), ...(op === "send_private" && partner ? { target_authenticated: partner } : {}) });
      try {
        const a = await call<Explanation>("GET", `${v1(hash)}/explain?${query}`);
        if (!over) (setAnswer(a.data), setProblem(""));
      } catch (error) {
        if (!over) (setAnswer(undefined), setProblem(messageOf(error)));
      }
    }, 250);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [hash, channel, op, user, partner]);
  return (
    <section className="card panel" aria-labelledby="explain-title">
      <div className="panel-head">
        <h2 id="explain-title">May they? And why (not)?</h2>
      </div>
      <div className="panel-body">
        <Field label="Who">
          {(ids) => (
            <select {...ids} className="input" value={String(user)} onChange={(e) => setUser(e.target.value === "true")}>
              <option value="false">An anonymous client</option>
              <option value="true">A signed-in user</option>
            </select>
          )}
        </Field>
        <Field label="Wants to">
          {(ids) => (
            <select {...ids} className="input" value={op} onChange={(e) => setOp(e.target.value)}>
              {ops.map(([value, name]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
            </select>
          )}
        </Field>
        {op === "send_private" && (
          <Field label="To">
            {(ids) => (
              <select {...ids} className="input" value={partner} onChange={(e) => setPartner(e.target.value)}>
                <option value="">Some member</option>
                <option value="true">A signed-in member</option>
                <option value="false">An anonymous member</option>
              </select>
            )}
          </Field>
        )}
        {!channel && <p className="soft small">Enter a channel above.</p>}
        {problem && <Notice kind="bad">{problem}</Notice>}
        {answer && (
          <div className={`verdict${answer.allowed ? " yes" : ""}`} role="status" data-testid="verdict">
            <b>
              <Icon name={answer.allowed ? "done" : "close"} /> {answer.allowed ? "Yes" : "No"}
            </b>
            <span>{answer.text}</span>
            {answer.code && (
              <span className="small">
                The client gets <code>{answer.code}</code>.
              </span>
            )}
          </div>
        )}
      </div>
    </section>
  );
}
