// One channel rule: every field, its effect in a sentence, and what to do when two people edit.
import { Radio } from "@base-ui/react/radio";
import { RadioGroup } from "@base-ui/react/radio-group";
import { useEffect, useMemo, useRef, useState } from "react";
import { ApiError, messageOf, type Realtime, type Rule, type Trigger, type Workspace } from "./api.js";
import { differences, doubts, effect, extras, historySizes, presetOf, presets, randomSecret, target } from "./rules.js";
import { Button, CopyButton, Field, Icon, Notice, Sheet, Toggle } from "./ui.js";

interface Props {
  open: { rule: Rule; etag: string } | undefined;
  latest: { realtime: Realtime; etag: string };
  server: Workspace;
  fixed: boolean;
  strict: boolean;
  onClose: () => void;
  onDelete: (rule: Rule) => void;
  save: (rule: Rule, etag: string) => Promise<void>;
}

export function Choice<T extends string | number>(props: { label: string; value: T; options: { value: T; name: string }[]; onChange: (value: T) => void; disabled?: boolean }) {
  return (
    <RadioGroup className="choice" aria-label={props.label} value={props.value} onValueChange={(v) => props.onChange(v as T)} disabled={props.disabled}>
      {props.options.map((o) => (
        <label key={o.value} className="choice-item">
          <Radio.Root value={o.value} className="choice-radio">
            <Radio.Indicator className="choice-mark" />
          </Radio.Root>
          {o.name}
        </label>
      ))}
    </RadioGroup>
  );
}

const show = (value: unknown) => (value === undefined ? "not set" : typeof value === "string" ? value || "empty" : JSON.stringify(value));

export function RuleEditor(props: Props) {
  const { open, latest } = props;
  const [rule, setRule] = useState<Rule>();
  const [base, setBase] = useState<{ rule: Rule; etag: string }>();
  const [problem, setProblem] = useState<ApiError | Error>();
  const [clash, setClash] = useState(false);
  const [busy, setBusy] = useState(false);
  const shown = useRef<typeof open>(undefined);
  useEffect(() => {
    if (open && open !== shown.current) {
      setRule({ ...open.rule });
      setBase(open);
      setProblem(undefined);
      setClash(false);
    }
    shown.current = open;
  }, [open]);

  const theirs = base?.rule.id ? latest.realtime.channels.find((r) => r.id === base.rule.id) : undefined;
  const moved = !!base && latest.etag !== base.etag;
  const touched = moved && !!base.rule.id && differences(base.rule, theirs).length > 0;
  // Somebody changed another channel: what is edited here is not concerned.
  useEffect(() => {
    if (moved && !touched) setBase({ ...base!, etag: latest.etag });
  }, [moved, touched, base, latest.etag]);
  const changed = useMemo(() => (base && rule ? differences(base.rule, rule) : []), [base, rule]);
  if (!rule || !base) return null;

  const set = (change: Partial<Rule>) => setRule((old) => ({ ...old!, ...change }));
  const fieldProblem = (name: string) => (problem instanceof ApiError && problem.field?.split(/[.[]/)[0] === name ? problem.message : "");
  const save = async (etag = base.etag) => {
    setBusy(true);
    setProblem(undefined);
    try {
      await props.save(rule, etag);
      props.onClose();
    } catch (error) {
      if ((error as ApiError).conflict) setClash(true);
      else setProblem(error as Error);
    } finally {
      setBusy(false);
    }
  };
  const preset = presetOf(rule);
  const off = props.fixed;
  const gone = moved && !!base.rule.id && !theirs;

  return (
    <Sheet
      wide
      open={!!open}
      onClose={props.onClose}
      title={base.rule.id ? `Channel ${target(base.rule)}` : "Add a channel"}
      foot={
        <>
          <p className="effect" aria-live="polite" data-testid="effect">
            {effect(rule, props.strict)} <span className="soft">{extras(rule).join(" ")}</span>
          </p>
          {!off && (
            <div className="actions end">
              {base.rule.id !== undefined && (
                <Button look="danger" onClick={() => props.onDelete(base.rule)}>
                  <Icon name="trash" />
                  Delete
                </Button>
              )}
              <Button look="main" disabled={busy || !rule.pattern.trim() || (!!base.rule.id && changed.length === 0)} onClick={() => void save()}>
                {base.rule.id ? "Save" : "Add the channel"}
              </Button>
            </div>
          )}
        </>
      }
    >
      {problem && !(problem instanceof ApiError && problem.field) && <Notice kind="bad">{messageOf(problem)}</Notice>}
      {problem instanceof ApiError && problem.field && <Notice kind="bad">{problem.message}</Notice>}
      {(touched || clash) && (
        <Notice kind="warn">
          <p>
            <b>{gone ? "Somebody else deleted this channel while you were editing it." : "Somebody else changed this channel while you were editing it."}</b>
          </p>
          {theirs && (
            <ul className="diff">
              {differences(base.rule, theirs).map((d) => (
                <li key={d.field}>
                  <code>{d.field}</code>: was {show(d.before)}, is now <b>{show(d.after)}</b>
                  {JSON.stringify(rule[d.field as keyof Rule] ?? null) !== JSON.stringify(d.after ?? null) && <>, you have {show(rule[d.field as keyof Rule])}</>}
                </li>
              ))}
            </ul>
          )}
          <div className="actions">
            {theirs && (
              <Button
                onClick={() => {
                  setRule({ ...theirs });
                  setBase({ rule: theirs, etag: latest.etag });
                  setClash(false);
                }}
              >
                Take theirs
              </Button>
            )}
            {theirs && (
              <Button
                onClick={() => {
                  // Their changes to fields that were not touched here stay.
                  const merged = { ...theirs } as Record<string, unknown>;
                  for (const d of changed) merged[d.field] = d.after;
                  setRule(merged as unknown as Rule);
                  setBase({ rule: theirs, etag: latest.etag });
                  setClash(false);
                }}
              >
                Keep my changes on top
              </Button>
            )}
            {gone && (
              <Button
                onClick={() => {
                  const { id: _, ...rest } = rule;
                  setRule(rest);
                  setBase({ rule: rest, etag: latest.etag });
                  setClash(false);
                }}
              >
                Make it a new channel
              </Button>
            )}
          </div>
        </Notice>
      )}
      <fieldset disabled={off} className="plain-set">
        <Field
          label="Channel target"
          problem={fieldProblem("pattern")}
          hint={
            rule.wildcard ? (
              <>
                Covers every channel below, at any depth: <code>{rule.pattern || "chat"}/sports</code>, <code>{rule.pattern || "chat"}/tech/go</code>. Not <code>{rule.pattern || "chat"}</code> itself.
              </>
            ) : (
              "The exact name of the channel. An exact rule wins over a nested one."
            )
          }
        >
          {(ids) => (
            <div className="input-group">
              <input {...ids} className="input mono" value={rule.pattern} placeholder="chat" spellCheck={false} autoCapitalize="off" onChange={(e) => {
                const text = e.target.value;
                // chat/* may be typed as it is shown
                if (text.length > 2 && text.endsWith("/*")) set({ pattern: text.slice(0, -2), wildcard: true });
                else set({ pattern: text });
              }} />
              {rule.wildcard && <span className="suffix" aria-hidden="true">/*</span>}
            </div>
          )}
        </Field>
        <Toggle label="Nested channels" hint="One rule for everything below the target." checked={rule.wildcard} onChange={(wildcard) => set({ wildcard })} />
        <Toggle label="Channel is on" hint="Off: as if the rule did not exist." checked={rule.enabled} onChange={(enabled) => set({ enabled })} />
        <Field label="Description" problem={fieldProblem("description")}>
          {(ids) => <input {...ids} className="input" maxLength={1000} value={rule.description} onChange={(e) => set({ description: e.target.value })} />}
        </Field>

        <h3>Permissions</h3>
        <div className="presets" role="group" aria-label="Presets">
          {presets.map((p) => (
            <button key={p.name} type="button" className="preset" aria-pressed={preset === p} onClick={() => set(p.flags)}>
              <b>{p.name}</b>
              <span>{p.text}</span>
            </button>
          ))}
        </div>
        <Toggle label="Anonymous clients" hint="Visitors without a token may join and listen." checked={rule.anonymous_clients} onChange={(v) => set({ anonymous_clients: v })} />
        <Toggle label="Presence" hint="Members get the list of who is there." checked={rule.presence} onChange={(v) => set({ presence: v })} />
        <Toggle label="Client public messaging" hint="Members may send to everyone on the channel." checked={rule.client_public_messaging} onChange={(v) => set({ client_public_messaging: v })} />
        <Toggle indent label="Signed-in users only" hint="Visitors may only listen." checked={rule.client_public_messaging_authenticated_only} onChange={(v) => set({ client_public_messaging_authenticated_only: v })} disabled={!rule.client_public_messaging && !rule.client_public_messaging_authenticated_only} />
        <Toggle label="Client authenticated messaging" hint="Signed-in users may send to signed-in users." checked={rule.client_authenticated_messaging} onChange={(v) => set({ client_authenticated_messaging: v })} />
        <Toggle label="Client private messaging" hint="A member may send to one other member." checked={rule.client_private_messaging} onChange={(v) => set({ client_private_messaging: v })} />
        <Toggle indent label="Between signed-in users only" checked={rule.client_private_messaging_authenticated_only} onChange={(v) => set({ client_private_messaging_authenticated_only: v })} disabled={!rule.client_private_messaging && !rule.client_private_messaging_authenticated_only} />
        {doubts(rule).map((text) => (
          <Notice kind="warn" key={text}>
            {text}
          </Notice>
        ))}

        <h3>Message history</h3>
        <Choice
          label="Message history"
          value={rule.history}
          disabled={off}
          options={historySizes.map((n) => ({ value: n, name: n ? String(n) : "Off" }))}
          onChange={(history) => set({ history })}
        />
        <p className="hint">{rule.history === 0 ? (base.rule.history > 0 ? "Saving this clears the history that is kept now." : "Nothing is kept; who reconnects may miss messages.") : "The latest messages of each channel, for who joins and who comes back."}</p>
        {rule.history > 0 && (
          <Field label="Age limit in seconds" problem={fieldProblem("history_ttl")} hint="0: no age limit.">
            {(ids) => <NumberInput ids={ids} value={rule.history_ttl ?? 0} onChange={(v) => set({ history_ttl: v || undefined })} />}
          </Field>
        )}

        <h3>More</h3>
        {rule.wildcard && (
          <>
            <p className="field-label" id="pattern-join">
              Who may open <code>{target(rule)}</code> itself
            </p>
            <Choice
              label="Who may open the pattern itself"
              value={rule.pattern_join ?? "nobody"}
              disabled={off}
              options={[
                { value: "nobody", name: "Nobody" },
                { value: "authenticated", name: "Signed-in users" },
                { value: "anyone", name: "Anyone" },
              ]}
              onChange={(v) => set({ pattern_join: v === "nobody" ? undefined : v })}
            />
            <p className="hint">Who opens it receives every channel below at once, and learns their names.</p>
          </>
        )}
        <Field label="Messages a minute from each socket" problem={fieldProblem("rate_limit")} hint="0: the server-wide limit.">
          {(ids) => <NumberInput ids={ids} value={rule.rate_limit ?? 0} onChange={(v) => set({ rate_limit: v || undefined })} />}
        </Field>
        <Triggers list={rule.triggers ?? []} set={(triggers) => set({ triggers: triggers.length ? triggers : undefined })} problem={fieldProblem("triggers") || fieldProblem("channels")} />
      </fieldset>
    </Sheet>
  );
}

function NumberInput({ ids, value, onChange }: { ids: object; value: number; onChange: (v: number) => void }) {
  return <input {...ids} className="input short" type="number" inputMode="numeric" min={0} value={value} onChange={(e) => onChange(Math.max(0, Math.floor(Number(e.target.value) || 0)))} />;
}

function Triggers({ list, set, problem }: { list: Trigger[]; set: (list: Trigger[]) => void; problem: string }) {
  const change = (i: number, part: Partial<Trigger>) => set(list.map((t, at) => (at === i ? { ...t, ...part } : t)));
  return (
    <div className="triggers">
      <h3>Webhooks</h3>
      <p className="hint">Asked before somebody joins or a message goes out; they may refuse, and replace the message.</p>
      {problem && <div className="field-problem">{problem}</div>}
      {list.map((t, i) => {
        const secrets = t.secret === undefined ? [] : Array.isArray(t.secret) ? t.secret : [t.secret];
        const setSecrets = (next: string[]) => change(i, { secret: next.length === 0 ? undefined : next.length === 1 ? next[0] : next });
        return (
          <div className="trigger" role="group" aria-label={`Webhook ${i + 1}`} key={i}>
            <Field label="Address">{(ids) => <input {...ids} className="input mono" type="url" placeholder="https://example.com/realtime" value={t.url} onChange={(e) => change(i, { url: e.target.value })} />}</Field>
            <Toggle label="When somebody joins" checked={!!t.actions.join} onChange={(join) => change(i, { actions: { ...t.actions, join } })} />
            <Toggle label="When a message is sent" checked={!!t.actions.message} onChange={(message) => change(i, { actions: { ...t.actions, message } })} />
            <p className="field-label">When it fails or does not answer</p>
            <Choice
              label="When the webhook fails"
              value={t.on_failure ?? "block"}
              options={[
                { value: "block", name: "Refuse" },
                { value: "allow", name: "Let it through" },
              ]}
              onChange={(on_failure) => change(i, { on_failure })}
            />
            <Field label="Time limit in milliseconds" hint="0: the default. At most 30000.">
              {(ids) => <NumberInput ids={ids} value={t.timeout_ms ?? 0} onChange={(v) => change(i, { timeout_ms: v || undefined })} />}
            </Field>
            <p className="field-label">Signing secrets</p>
            {secrets.map((secret, at) => (
              <div className="secret" key={at}>
                <input className="input mono" aria-label={`Signing secret ${at + 1}`} value={secret} spellCheck={false} onChange={(e) => setSecrets(secrets.map((s, n) => (n === at ? e.target.value : s)))} />
                {!secret.startsWith("whsec_masked_") && <CopyButton text={secret} what="Secret" />}
                <Button look="bare" className="square" aria-label={`Remove signing secret ${at + 1}`} onClick={() => setSecrets(secrets.filter((_, n) => n !== at))}>
                  <Icon name="close" />
                </Button>
              </div>
            ))}
            <div className="actions">
              {secrets.length < 4 && (
                <Button onClick={() => setSecrets([...secrets, randomSecret()])}>
                  <Icon name="key" />
                  {secrets.length ? "Add another secret" : "Make up a secret"}
                </Button>
              )}
              <Button onClick={() => set(list.filter((_, at) => at !== i))}>
                <Icon name="trash" />
                Remove this webhook
              </Button>
            </div>
            {secrets.length > 1 && <p className="hint">Requests carry a signature for each, so that your back end can change over. Remove the old one afterwards.</p>}
          </div>
        );
      })}
      {list.length < 8 && (
        <Button onClick={() => set([...list, { url: "", actions: { message: true }, on_failure: "block" }])}>
          <Icon name="plus" />
          Add a webhook
        </Button>
      )}
    </div>
  );
}
