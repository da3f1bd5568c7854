// What to paste where, with this server's own values.
import { Tabs } from "@base-ui/react/tabs";
import { useEffect, useState } from "react";
import { call, messageOf, meta, type Realtime, type Workspace } from "./api.js";
import { target } from "./rules.js";
import { CopyButton, Notice } from "./ui.js";

function Snippet({ name, text }: { name: string; text: string }) {
  return (
    <div className="snippet">
      <div className="snippet-head">
        {name}
        <CopyButton text={text} what={name} />
      </div>
      <pre tabIndex={0} aria-label={name}>
        {text}
      </pre>
    </div>
  );
}

function Value({ text, what }: { text: string; what: string }) {
  return (
    <span className="inline">
      <code className="value">{text}</code>
      <CopyButton text={text} what={what} />
    </span>
  );
}

export function Connect({ server }: { server: Workspace }) {
  const [realtime, setRealtime] = useState<Realtime>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    call<Realtime>("GET", meta(server.id) + "/realtime").then((a) => setRealtime(a.data), (e) => setProblem(messageOf(e)));
  }, [server]);
  if (!realtime) return problem ? <Notice kind="bad">{problem}</Notice> : <div className="wait" role="status" aria-label="Loading" />;

  const { origin, host, protocol } = location;
  const ws = origin.replace(/^http/, "ws");
  const rules = realtime.channels.filter((r) => r.enabled);
  const rule = rules.find((r) => r.anonymous_clients && !r.wildcard) ?? rules.find((r) => r.anonymous_clients) ?? rules[0];
  const channel = rule ? (rule.wildcard ? rule.pattern + "/lobby" : rule.pattern) : "room1";
  const name = JSON.stringify(channel);
  const inShell = `'${JSON.stringify({ channel, data: { text: "hello" } }).replace(/'/g, `'\\''`)}'`;
  const api = `${origin}/api/v1/${encodeURIComponent(realtime.hash)}`;
  const path = encodeURIComponent(channel).replace(/'/g, "%27");
  const sdkDials = protocol === "https:" && location.port === "";

  return (
    <>
      <div className="page-head">
        <div>
          <h1>Connect</h1>
          <p className="soft">Ready to paste: the values are those of {server.name || `server ${server.id}`}.</p>
        </div>
      </div>
      {!realtime.enabled && <Notice kind="warn">Realtime is off for this server: clients are told to go away until it is on.</Notice>}
      {!rule && <Notice kind="warn">There is no channel yet. Add one under Settings; the snippets name room1 meanwhile.</Notice>}
      <Tabs.Root defaultValue="xano">
        <Tabs.List className="tabs-list" aria-label="Ways to connect">
          {[
            ["xano", "Xano SDK"],
            ["weweb", "WeWeb"],
            ["client", "Fanfare client"],
            ["curl", "curl"],
          ].map(([id, text]) => (
            <Tabs.Tab key={id} value={id} className="tab">
              {text}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="xano" className="tab-panel">
          {!sdkDials && (
            <Notice kind="warn">
              The SDK always dials <code>wss://</code> on port 443. For this address ({protocol}//{host}) put TLS in front, or try the Fanfare client, which dials any host and port.
            </Notice>
          )}
          <Snippet
            name="JavaScript"
            text={`import { XanoClient } from "@xano/js-sdk";

const xano = new XanoClient({
  instanceBaseUrl: "${origin.replace(/^http:/, "https:")}/",
  realtimeConnectionHash: ${JSON.stringify(realtime.hash)},
});
// xano.setRealtimeAuthToken(token); for a signed-in user

const channel = xano.channel(${name}, { presence: true, history: true, queueOfflineActions: true });
channel.on((frame) => console.log(frame.action, frame.payload));
channel.message({ text: "hello" });`}
          />
          <p className="hint">Your app's REST calls stay with Xano: give this client to realtime alone, or send /rt/ of your own domain here and everything else to Xano.</p>
        </Tabs.Panel>
        <Tabs.Panel value="weweb" className="tab-panel">
          <div className="card">
            <ol className="steps">
              <li>
                <div>
                  <p>
                    In the Xano plugin, under <b>Custom domain</b>, enter the host that sends <code>/rt/</code> here and everything else to your Xano instance.
                  </p>
                  <Value text={host} what="Host" />
                </div>
              </li>
              <li>
                <div>
                  <p>
                    Under <b>Realtime connection hash</b>, enter this server's hash.
                  </p>
                  <Value text={realtime.hash} what="Connection hash" />
                </div>
              </li>
              <li>
                <div>
                  <p>
                    In a workflow use <b>Open realtime channel</b> with this name; switch presence and history on as you like.
                  </p>
                  <Value text={channel} what="Channel" />
                </div>
              </li>
              <li>
                <p>
                  Add the trigger <b>On realtime message</b>, and send with <b>Send realtime message</b>. Actions and triggers are those of the plugin, unchanged.
                </p>
              </li>
            </ol>
          </div>
          {!sdkDials && <Notice kind="warn">WeWeb dials wss:// on port 443, so the custom domain needs TLS there. This page is at {origin}.</Notice>}
        </Tabs.Panel>
        <Tabs.Panel value="client" className="tab-panel">
          <Snippet
            name="In a page, as it is"
            text={`<script type="module">
  import { Fanfare } from "${origin}/client.js";

  const fanfare = new Fanfare({ url: "${ws}/rt/${realtime.hash}" });
  const channel = fanfare.channel(${name.replace(/</g, "\\u003c")}, { presence: true, history: true, queue: "persistent" });

  channel.on("message", (frame) => console.log(frame.client, frame.payload));
  channel.on("presence_full", () => console.log(channel.presence()));
  await channel.open();
  const { id } = await channel.send({ text: "hello" }); // accepted by the server
</script>`}
          />
          <Snippet name="For a signed-in user" text={`const fanfare = new Fanfare({
  url: "${ws}/rt/${realtime.hash}",
  token: () => fetch("/my/token").then((answer) => answer.text()), // asked again before it expires
});`} />
        </Tabs.Panel>
        <Tabs.Panel value="curl" className="tab-panel">
          <p className="hint">
            Back ends carry an API key: one of <code>FANFARE_API_KEYS</code> on the server. <code>fanfare dev</code> prints one.
          </p>
          <Snippet name="Send an event" text={`curl -H "Authorization: Bearer $API_KEY" \\
  -d ${inShell} \\
  ${api}/events`} />
          <Snippet name="Who is there" text={`curl -H "Authorization: Bearer $API_KEY" \\
  '${api}/channels/${path}/presence'`} />
          <Snippet name="History" text={`curl -H "Authorization: Bearer $API_KEY" \\
  '${api}/channels/${path}/history?limit=25'`} />
          {rule && (
            <p className="hint">
              The channel is covered by <code>{target(rule)}</code>. The whole API: <a href="/api/openapi.yaml">openapi.yaml</a>
            </p>
          )}
        </Tabs.Panel>
      </Tabs.Root>
    </>
  );
}
