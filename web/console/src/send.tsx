// Sending into a channel: over the open socket, as somebody else for a moment, or as the server.
import { useState, type FormEvent } from "react";
import { Fanfare, type Ack, type Channel, type Member, type SendOptions } from "../client.js";
import { call, messageOf, v1 } from "./api.js";
import { who } from "./frames.js";
import { choices, complete, nobody, tokenFor, UserFields, type As, type Choice } from "./user.js";
import { Button, Field, tell, Toggle } from "./ui.js";

interface SendProps {
  url: string;
  hash: string;
  channel: string;
  room: { current: Channel | undefined };
  joined: boolean;
  members: Member[];
  canMint: boolean;
}

/** Joins for one message. Others see it come and go. */
async function sendOnce(url: string, token: string | undefined, channel: string, data: unknown, options: SendOptions): Promise<Ack> {
  const fanfare = new Fanfare({ url, ...(token ? { token } : {}) });
  try {
    const room = fanfare.channel(channel, { queue: false });
    await room.open();
    return await room.send(data, options);
  } finally {
    fanfare.close();
  }
}

export function Send({ url, hash, channel, room, joined, members, canMint }: SendProps) {
  const [text, setText] = useState('{"text": "hello"}');
  const [as, setAs] = useState<"socket" | "server" | As>("socket");
  const [choice, setChoice] = useState<Choice>(nobody);
  const [to, setTo] = useState("everyone");
  const [store, setStore] = useState(false);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const send = async (event: FormEvent) => {
    event.preventDefault();
    setProblem("");
    let data: unknown;
    try {
      data = JSON.parse(text);
    } catch {
      return setProblem('This is not JSON. A text goes in quotes: "hello"');
    }
    setBusy(true);
    try {
      if (as === "server") {
        const answer = await call<{ id: string; offset: string | null }>("POST", v1(hash) + "/events", {
          channel,
          data,
          ...(store ? { store } : {}),
          ...(to.startsWith("to:") ? { socketId: to.slice(3) } : {}),
        });
        tell("Event sent", { description: answer.data.offset ? `Stored at offset ${answer.data.offset}.` : "Live only." });
      } else {
        const options: SendOptions = to === "authenticated" ? { authenticated: true } : to.startsWith("to:") ? { to: to.slice(3) } : {};
        const ack = as === "socket" ? await room.current!.send(data, options) : await sendOnce(url, await tokenFor(choice), channel, data, options);
        tell("Message accepted", { description: ack.offset ? `Stored at offset ${ack.offset}.` : "Live only: the channel keeps no history." });
      }
    } catch (error) {
      const code = (error as { code?: string }).code;
      setProblem(messageOf(error) + (code ? ` (${code})` : ""));
    } finally {
      setBusy(false);
    }
  };
  const pick = (value: typeof as) => {
    setAs(value);
    if (value !== "socket" && value !== "server") setChoice({ ...choice, as: value });
    setTo("everyone");
  };
  return (
    <section className="card panel" aria-labelledby="send-title">
      <div className="panel-head">
        <h2 id="send-title">Send</h2>
      </div>
      <form className="panel-body" onSubmit={send}>
        <Field label="Send as">
          {(ids) => (
            <select {...ids} className="input" value={as} onChange={(e) => pick(e.target.value as typeof as)}>
              <option value="socket">This socket (a message)</option>
              {choices(canMint).map(([value, name]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
              <option value="server">The server (an event)</option>
            </select>
          )}
        </Field>
        {as !== "socket" && as !== "server" && <UserFields choice={choice} onChange={setChoice} />}
        <Field label="To">
          {(ids) => (
            <select {...ids} className="input" value={to} onChange={(e) => setTo(e.target.value)}>
              <option value="everyone">Everyone</option>
              {as !== "server" && <option value="authenticated">Signed-in users</option>}
              {members.slice(0, 100).map((m) => (
                <option key={m.socketId} value={"to:" + m.socketId}>
                  {who(m)} {m.socketId}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label="JSON" problem={problem}>
          {(ids) => <textarea {...ids} className="input mono" rows={3} spellCheck={false} value={text} onChange={(e) => setText(e.target.value)} />}
        </Field>
        {as === "server" && <Toggle label="Keep it in the history" checked={store} onChange={setStore} />}
        <Button look="main" type="submit" disabled={busy || !channel || (as === "socket" && !joined) || (as !== "socket" && as !== "server" && !complete(choice))}>
          Send
        </Button>
      </form>
    </section>
  );
}
