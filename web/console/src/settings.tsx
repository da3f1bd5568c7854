// Realtime status, connection hash, channels.
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { ApiError, call, ifMatch, live, messageOf, meta, type Realtime, type Rule, type Session, type Workspace } from "./api.js";
import { RuleEditor } from "./editor.js";
import { blank, doubts, effect, extras, randomHash, target } from "./rules.js";
import { Transfer } from "./transfer.js";
import { Ask, Button, CopyButton, Field, Icon, Notice, Sheet, Toggle, plural, tell, type Question } from "./ui.js";

interface Props {
  server: Workspace;
  who: Session;
  refresh: () => Promise<Workspace[]>;
  onGone: () => void;
}

interface Step {
  what: string;
  before: Realtime;
  name: string;
  /** The revision that the change made: nobody has changed anything since while it is still the newest. */
  after: string;
}

/** The last change of each server, for as long as the page is open: signing out loads it anew. */
const steps = new Map<number, Step>();

/** How many sockets a server has; a number that cannot be had is told as such. */
async function sockets(id: number): Promise<string> {
  try {
    const scene = await live(id);
    const silent = scene.gateways.filter((g) => g.sockets === null).length;
    return plural(scene.sockets, "open socket") + (silent ? ` (and those of ${plural(silent, "gateway")} that did not answer)` : "");
  } catch {
    return "all open sockets (how many is not known now)";
  }
}

export function Settings({ server, who, refresh, onGone }: Props) {
  const [state, setState] = useState<{ realtime: Realtime; etag: string }>();
  const [problem, setProblem] = useState("");
  const [question, setQuestion] = useState<Question>();
  const [editing, setEditing] = useState<{ rule: Rule; etag: string }>();
  const [last, keepLast] = useState(() => steps.get(server.id));
  const setLast = useCallback(
    (step: Step | undefined) => {
      if (step) steps.set(server.id, step);
      else steps.delete(server.id);
      keepLast(step);
    },
    [server.id],
  );
  const [transfer, setTransfer] = useState(false);
  const [renaming, setRenaming] = useState<string>();
  const [filter, setFilter] = useState("");
  const current = useRef(state);
  current.current = state;
  const fixed = who.read_only;

  const load = useCallback(async () => {
    try {
      const tag = current.current?.etag;
      const answer = await call<Realtime>("GET", meta(server.id) + "/realtime", undefined, tag ? { "If-None-Match": tag } : {});
      if (!answer.same) setState({ realtime: answer.data, etag: answer.etag });
      setProblem("");
    } catch (error) {
      setProblem(messageOf(error));
    }
  }, [server.id]);
  useEffect(() => {
    void load();
    const timer = setInterval(() => document.visibilityState === "visible" && void load(), 3000);
    return () => clearInterval(timer);
  }, [load]);

  /** Changes the settings as they were read; what they were before is kept for the undo. */
  const change = useCallback(
    async (what: string, etag: string, act: (headers: Record<string, string>) => Promise<{ etag: string }>) => {
      const before = await call<Realtime>("GET", meta(server.id) + "/realtime?include_secrets=true");
      const after = await act(ifMatch(etag));
      await Promise.all([load(), refresh()]);
      if (before.etag === etag) setLast({ what, before: before.data, name: server.name, after: after.etag });
      tell(what);
    },
    [load, refresh, server.id, server.name, setLast],
  );
  const attempt = async (what: string, act: (headers: Record<string, string>) => Promise<{ etag: string }>) => {
    if (!state) return;
    try {
      await change(what, state.etag, act);
    } catch (error) {
      if ((error as ApiError).conflict) {
        await load();
        tell("Somebody else changed the settings just now", { bad: true, description: "What you see is up to date again. Look at it and repeat your change if you still want it." });
      } else tell("That did not work", { bad: true, description: messageOf(error) });
    }
  };
  const undo = async () => {
    if (!last || !state) return;
    try {
      let tag = last.after;
      if (last.name !== server.name) tag = (await call("PUT", meta(server.id), { name: last.name }, ifMatch(tag))).etag;
      await call("PUT", meta(server.id) + "/realtime", { strict: false, ...last.before }, ifMatch(tag));
      tell(`Undone: ${last.what.toLowerCase()}`);
      setLast(undefined);
    } catch (error) {
      tell("It could not be undone", {
        bad: true,
        description: (error as ApiError).conflict ? "Somebody else has changed the settings since." : messageOf(error),
      });
    }
    await Promise.all([load(), refresh()]);
  };

  const rules = useMemo(() => {
    const list = [...(state?.realtime.channels ?? [])].sort((x, y) => (target(x) < target(y) ? -1 : 1));
    const text = filter.trim().toLowerCase();
    return text ? list.filter((r) => (target(r) + " " + r.description).toLowerCase().includes(text)) : list;
  }, [state, filter]);

  if (!state) return problem ? <Notice kind="bad">{problem}</Notice> : <div className="wait" role="status" aria-label="Loading" />;
  const { realtime, etag } = state;
  const put = (body: Partial<Realtime>) => (headers: Record<string, string>) => call("PUT", meta(server.id) + "/realtime", body, headers);
  const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/rt/${realtime.hash}`;

  const power = async (on: boolean) => {
    if (on) return attempt("Realtime is on", put({ enabled: true }));
    const count = await sockets(server.id);
    setQuestion({
      title: "Turn realtime off?",
      text: <p>{count} will drop at once and clients are told not to come back until it is on again. Channels and history stay.</p>,
      yes: "Turn off",
      danger: true,
      action: () => attempt("Realtime is off", put({ enabled: false })),
    });
  };
  const rotate = async () => {
    const count = await sockets(server.id);
    setQuestion({
      title: "Rotate the connection hash?",
      text: (
        <>
          <p>
            <b>{count}</b> will drop at once. Whoever uses the old hash is told to go away, and must get the new one from you.
          </p>
          <p>Change it in every app, and keep this page open meanwhile: if something went wrong, the change can be undone here.</p>
        </>
      ),
      yes: "Rotate the hash",
      danger: true,
      action: () => attempt("Connection hash rotated", put({ hash: randomHash() })),
    });
  };
  const remove = (rule: Rule) =>
    setQuestion({
      title: `Delete ${target(rule)}?`,
      text: <p>Its members are put out, and its history is cleared. A channel that no other rule covers can no longer be opened.</p>,
      yes: "Delete the channel",
      danger: true,
      action: async () => {
        setEditing(undefined);
        await attempt(`${target(rule)} deleted`, (headers) => call("DELETE", `${meta(server.id)}/realtime/channel/${rule.id}`, undefined, headers));
      },
    });
  const removeServer = async () => {
    const count = await sockets(server.id);
    setQuestion({
      title: `Delete ${server.name || "this server"}?`,
      text: <p>{count} will drop, and its channels and their history are gone. This cannot be undone.</p>,
      yes: "Delete the server",
      danger: true,
      word: server.name || String(server.id),
      action: async () => {
        try {
          await call("DELETE", meta(server.id), undefined, ifMatch(etag));
          tell("Realtime server deleted");
          onGone();
        } catch (error) {
          tell("That did not work", { bad: true, description: messageOf(error) });
        }
      },
    });
  };

  return (
    <>
      <div className="page-head">
        <div>
          <h1>{server.name || `Server ${server.id}`}</h1>
          <p className="soft">
            Realtime server {server.id} · {plural(realtime.channels.length, "channel")}
          </p>
        </div>
        <div className="actions">
          {last && (
            <Button onClick={() => void undo()} title={last.what}>
              <Icon name="undo" />
              Undo: {last.what}
            </Button>
          )}
          <Button onClick={() => setTransfer(true)}>
            <Icon name="down2" />
            Import / export
          </Button>
        </div>
      </div>
      {problem && <Notice kind="bad">{problem}</Notice>}
      {fixed && <Notice>The settings come from a file on the server and can only be looked at here.</Notice>}

      <section className="card status-card" aria-labelledby="status-title">
        <div className="status">
          <span className={`pulse ${realtime.enabled ? "on" : ""}`} aria-hidden="true" />
          <div className="grow">
            <h2 id="status-title">Realtime is {realtime.enabled ? "on" : "off"}</h2>
            <p className="soft">{realtime.enabled ? "Clients connect to the address below." : "Clients that connect are told to go away."}</p>
          </div>
          <Toggle label="Realtime" hideLabel checked={realtime.enabled} onChange={(on) => void power(on)} disabled={fixed} />
        </div>
        <dl className="facts">
          <div>
            <dt>Connection hash</dt>
            <dd>
              <code className="value" data-testid="hash">
                {realtime.hash}
              </code>
              <CopyButton text={realtime.hash} what="Connection hash" />
              {!fixed && (
                <Button onClick={() => void rotate()}>
                  <Icon name="key" />
                  Rotate
                </Button>
              )}
            </dd>
          </div>
          <div>
            <dt>Address</dt>
            <dd>
              <code className="value">{address}</code>
              <CopyButton text={address} what="Address" />
            </dd>
          </div>
        </dl>
      </section>

      <section aria-labelledby="channels-title">
        <div className="section-head">
          <h2 id="channels-title">Channels</h2>
          {realtime.channels.length > 7 && <input className="input search" type="search" placeholder="Filter" aria-label="Filter channels" value={filter} onChange={(e) => setFilter(e.target.value)} />}
          {!fixed && (
            <Button look="main" onClick={() => setEditing({ rule: blank(), etag })}>
              <Icon name="plus" />
              Add a channel
            </Button>
          )}
        </div>
        {realtime.channels.length === 0 && (
          <div className="card empty">
            <p>
              <b>No channels yet.</b> Clients can only open channels that a rule here covers.
            </p>
          </div>
        )}
        <ul className="rules">
          {rules.map((rule) => (
            <li key={rule.id} className={`card rule${rule.enabled ? "" : " rule-off"}`}>
              <button type="button" className="rule-open" onClick={() => setEditing({ rule, etag })} aria-label={`${fixed ? "Look at" : "Edit"} ${target(rule)}`} />
              <div className="rule-text">
                <span className="rule-name">
                  <code>
                    {rule.pattern}
                    {rule.wildcard && <span className="nested">/*</span>}
                  </code>
                  {!rule.enabled && <span className="tag">off</span>}
                  {rule.history > 0 && <span className="tag">{rule.history} kept</span>}
                  {rule.presence && <span className="tag">presence</span>}
                  {(rule.triggers?.length ?? 0) > 0 && <span className="tag">webhook</span>}
                </span>
                {rule.description && <span className="rule-about">{rule.description}</span>}
                <span className="rule-effect">
                  {effect(rule, realtime.strict)} <span className="soft">{extras(rule).join(" ")}</span>
                </span>
                {doubts(rule).map((text) => (
                  <span className="rule-doubt" key={text}>
                    <Icon name="warn" />
                    {text}
                  </span>
                ))}
              </div>
              <Toggle
                label={`${target(rule)} is enabled`}
                hideLabel
                checked={rule.enabled}
                disabled={fixed}
                onChange={(enabled) => void attempt(`${target(rule)} is ${enabled ? "on" : "off"}`, (headers) => call("PUT", `${meta(server.id)}/realtime/channel/${rule.id}`, { ...rule, enabled }, headers))}
              />
            </li>
          ))}
        </ul>
        {filter && rules.length === 0 && <p className="soft">No channel matches.</p>}
      </section>

      <section className="card" aria-labelledby="more-title">
        <h2 id="more-title">This server</h2>
        <Toggle
          label="Keep what signed-in users write among them"
          hint="On channels with both public and signed-in messages. Off: the sender of each message chooses."
          checked={!!realtime.strict}
          disabled={fixed}
          onChange={(strict) => void attempt(strict ? "Strict audiences are on" : "Strict audiences are off", put({ strict }))}
        />
        {!fixed && (
          <div className="actions">
            <Button onClick={() => setRenaming(server.name)}>
              <Icon name="edit" />
              Rename
            </Button>
            <Button look="danger" onClick={() => void removeServer()}>
              <Icon name="trash" />
              Delete this server
            </Button>
          </div>
        )}
      </section>

      <RuleEditor
        open={editing}
        latest={state}
        server={server}
        fixed={fixed}
        strict={!!realtime.strict}
        onClose={() => setEditing(undefined)}
        onDelete={remove}
        save={(rule, tag) =>
          change(`${target(rule)} ${rule.id ? "saved" : "added"}`, tag, (headers) =>
            rule.id ? call("PUT", `${meta(server.id)}/realtime/channel/${rule.id}`, rule, headers) : call("POST", `${meta(server.id)}/realtime/channel`, rule, headers),
          )
        }
      />
      <Sheet
        open={renaming !== undefined}
        onClose={() => setRenaming(undefined)}
        title="Rename this server"
        foot={
          <Button
            look="main"
            disabled={!renaming?.trim()}
            onClick={async () => {
              await attempt("Server renamed", (headers) => call("PUT", meta(server.id), { name: renaming!.trim() }, headers));
              setRenaming(undefined);
            }}
          >
            Save
          </Button>
        }
      >
        <Field label="Name">{(ids) => <input {...ids} className="input" maxLength={200} value={renaming ?? ""} onChange={(e) => setRenaming(e.target.value)} autoFocus />}</Field>
      </Sheet>
      <Transfer open={transfer} onClose={() => setTransfer(false)} server={server} now={realtime} fixed={fixed} apply={(next) => change("Settings imported", etag, put(next))} />
      <Ask question={question} onClose={() => setQuestion(undefined)} />
    </>
  );
}
