// Settings out of and into a file, in the JSON of Xano's Meta API.
import { useState } from "react";
import { call, messageOf, meta, type Realtime, type Rule, type Workspace } from "./api.js";
import { blank, differences, target } from "./rules.js";
import { Button, Field, Icon, Notice, Sheet, Toggle, copy } from "./ui.js";

interface Props {
  open: boolean;
  onClose: () => void;
  server: Workspace;
  now: Realtime;
  fixed: boolean;
  apply: (next: Partial<Realtime>) => Promise<void>;
}

const maxFile = 1 << 20;

/** Reads what a file holds: settings, a list of rules, or one rule. */
export function parseSettings(text: string): Partial<Realtime> & { channels: Rule[] } {
  const value = JSON.parse(text) as any;
  const list = Array.isArray(value) ? value : Array.isArray(value?.channels) ? value.channels : Array.isArray(value?.items) ? value.items : typeof value?.pattern === "string" ? [value] : undefined;
  if (!list) throw new Error("There is no list of channels in it.");
  const channels = list.map((raw: any, i: number) => {
    if (typeof raw?.pattern !== "string" || !raw.pattern) throw new Error(`Channel ${i + 1} has no pattern.`);
    const rule = { ...raw } as Rule;
    if (rule.pattern.length > 2 && rule.pattern.endsWith("/*")) {
      rule.pattern = rule.pattern.slice(0, -2);
      rule.wildcard = true;
    }
    return rule;
  });
  return { ...(typeof value?.enabled === "boolean" && !Array.isArray(value) && value.channels ? { enabled: value.enabled } : {}), channels };
}

export function Transfer({ open, onClose, server, now, fixed, apply }: Props) {
  const [secrets, setSecrets] = useState(false);
  const [text, setText] = useState("");
  const [replace, setReplace] = useState(false);
  const [problem, setProblem] = useState("");

  const exported = async () => {
    const all = (await call<Realtime>("GET", `${meta(server.id)}/realtime?include_secrets=${secrets}`)).data;
    return JSON.stringify(all, null, 2) + "\n";
  };
  const download = async () => {
    try {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([await exported()], { type: "application/json" }));
      link.download = `fanfare-${(server.name || "server-" + server.id).toLowerCase().replace(/[^a-z0-9]+/g, "-")}.json`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } catch (error) {
      setProblem(messageOf(error));
    }
  };

  let plan: { channels: Rule[]; lines: { what: string; name: string; detail: string }[] } | undefined;
  let wrong = "";
  if (text.trim()) {
    try {
      const { channels } = parseSettings(text);
      const byTarget = new Map(now.channels.map((r) => [target(r), r]));
      const incoming = new Map(channels.map((r) => [target(r), r]));
      const lines: { what: string; name: string; detail: string }[] = [];
      for (const [name, rule] of incoming) {
        const old = byTarget.get(name);
        const changes = old ? differences(old, { ...blank(), ...rule }) : [];
        if (!old) lines.push({ what: "add", name, detail: "" });
        else if (changes.length) lines.push({ what: "change", name, detail: changes.map((d) => d.field).join(", ") });
      }
      const kept = now.channels.filter((r) => !incoming.has(target(r)));
      if (replace) for (const r of kept) lines.push({ what: "remove", name: target(r), detail: "" });
      plan = {
        // Ids are this server's: a rule keeps the id of the one it replaces.
        channels: [...[...incoming].map(([name, r]) => ({ ...blank(), ...r, id: byTarget.get(name)?.id })), ...(replace ? [] : kept)],
        lines,
      };
    } catch (error) {
      wrong = error instanceof SyntaxError ? "This is not JSON: " + error.message : messageOf(error);
    }
  }

  return (
    <Sheet open={open} onClose={onClose} title="Import and export" wide>
      <h3>Export</h3>
      <p className="hint">All settings of this server, as Xano's Meta API writes them; our own fields behind.</p>
      <Toggle label="With signing secrets" hint="Only to move the settings elsewhere: whoever has the file can sign as your server." checked={secrets} onChange={setSecrets} />
      <div className="actions">
        <Button onClick={() => void download()}>
          <Icon name="down2" />
          Download
        </Button>
        <Button onClick={() => void exported().then((t) => copy(t, "Settings"), (e) => setProblem(messageOf(e)))}>
          <Icon name="copy" />
          Copy
        </Button>
      </div>
      {!fixed && (
        <>
          <h3>Import</h3>
          <Field label="From a file" hint="Settings, or a list of channels. The connection hash and the status stay as they are.">
            {(ids) => (
              <input
                {...ids}
                className="input"
                type="file"
                accept="application/json,.json"
                onChange={async (e) => {
                  const file = e.target.files?.[0];
                  if (!file) return;
                  if (file.size > maxFile) return setProblem("The file is larger than 1 MiB.");
                  setProblem("");
                  setText(await file.text());
                }}
              />
            )}
          </Field>
          <Field label="Or as text" problem={wrong}>
            {(ids) => <textarea {...ids} className="input mono" rows={8} spellCheck={false} value={text} maxLength={maxFile} onChange={(e) => setText(e.target.value)} placeholder='{"channels": [{"pattern": "chat", "wildcard": true}]}' />}
          </Field>
          <Toggle label="Remove channels that are not in it" checked={replace} onChange={setReplace} />
          {plan && (
            <div data-testid="plan">
              {plan.lines.length === 0 ? (
                <Notice>Nothing would change.</Notice>
              ) : (
                <ul className="plan">
                  {plan.lines.map((l) => (
                    <li key={l.what + l.name}>
                      <span className={`tag ${l.what}`}>{l.what}</span> <code>{l.name}</code> <span className="soft">{l.detail}</span>
                    </li>
                  ))}
                </ul>
              )}
            </div>
          )}
          {problem && <Notice kind="bad">{problem}</Notice>}
          <Button
            look="main"
            disabled={!plan?.lines.length}
            onClick={async () => {
              try {
                await apply({ channels: plan!.channels });
                setText("");
                setProblem("");
                onClose();
              } catch (error) {
                setProblem(messageOf(error));
              }
            }}
          >
            Import
          </Button>
        </>
      )}
    </Sheet>
  );
}
