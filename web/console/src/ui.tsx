// The small parts that all pages are made of.
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { Dialog } from "@base-ui/react/dialog";
import { Switch } from "@base-ui/react/switch";
import { Toast } from "@base-ui/react/toast";
import { useEffect, useId, useRef, useState, type ButtonHTMLAttributes, type ReactNode } from "react";

const icons = {
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  connect: "M9 15l6-6M10 6l1.5-1.5a4 4 0 0 1 6 6L16 12M14 18l-1.5 1.5a4 4 0 0 1-6-6L8 12",
  inspector: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  live: "M3 12h4l3-8 4 16 3-8h4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  done: "M4 12l6 6L20 6",
  close: "M6 6l12 12M18 6L6 18",
  plus: "M12 5v14M5 12h14",
  down: "M6 9l6 6 6-6",
  undo: "M9 14L4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  warn: "M12 4l9 16H3zM12 10v4M12 17v.5",
  out: "M15 4h4v16h-4M10 8l-4 4 4 4M6 12h9",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M5 19l2-2M17 7l2-2",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  edit: "M4 20l1-5L16 4l4 4L9 19z",
  down2: "M12 4v12M7 11l5 5 5-5M5 20h14",
  up2: "M12 16V4M7 9l5-5 5 5M5 20h14",
  key: "M14 10a4 4 0 1 0-3 3l2 2h2v2h2v2h3v-3z",
};
export function Icon({ name }: { name: keyof typeof icons }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={icons[name]} />
    </svg>
  );
}

export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" />
      <path d="M8 20v-5l11-5v15zM19 13.5a4.5 4.5 0 0 1 0 8M10 20.8v4.2h3.5v-2.6" />
    </svg>
  );
}

type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & { look?: "main" | "plain" | "danger" | "bare" };
export function Button({ look = "plain", className = "", ...rest }: ButtonProps) {
  return <button type="button" className={`button ${look} ${className}`} {...rest} />;
}

/** A switch with its name and, below, what it does. */
export function Toggle(props: { label: string; hint?: ReactNode; checked: boolean; onChange: (on: boolean) => void; disabled?: boolean; indent?: boolean; hideLabel?: boolean }) {
  const id = useId();
  const control = (
    <Switch.Root
      className="switch"
      checked={props.checked}
      onCheckedChange={props.onChange}
      disabled={props.disabled}
      aria-label={props.hideLabel ? props.label : undefined}
      aria-labelledby={props.hideLabel ? undefined : id}
      aria-describedby={props.hint ? id + "h" : undefined}
    >
      <Switch.Thumb className="thumb" />
    </Switch.Root>
  );
  if (props.hideLabel) return control;
  return (
    <div className={`toggle${props.indent ? " indent" : ""}${props.disabled ? " off" : ""}`}>
      <div>
        <div id={id} className="toggle-label" onClick={() => !props.disabled && props.onChange(!props.checked)}>
          {props.label}
        </div>
        {props.hint && (
          <div id={id + "h"} className="hint">
            {props.hint}
          </div>
        )}
      </div>
      {control}
    </div>
  );
}

export function Field(props: { label: string; hint?: ReactNode; problem?: string; children: (ids: { id: string; "aria-describedby"?: string; "aria-invalid"?: true }) => ReactNode }) {
  const id = useId();
  const described = [props.hint && id + "h", props.problem && id + "p"].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>{props.label}</label>
      {props.children({ id, ...(described ? { "aria-describedby": described } : {}), ...(props.problem ? { "aria-invalid": true as const } : {}) })}
      {props.hint && (
        <div id={id + "h"} className="hint">
          {props.hint}
        </div>
      )}
      {props.problem && (
        <div id={id + "p"} className="field-problem">
          {props.problem}
        </div>
      )}
    </div>
  );
}

export function Sheet(props: { open: boolean; onClose: () => void; title: string; children: ReactNode; foot?: ReactNode; wide?: boolean }) {
  return (
    <Dialog.Root open={props.open} onOpenChange={(open) => !open && props.onClose()}>
      <Dialog.Portal>
        <Dialog.Backdrop className="backdrop" />
        <Dialog.Popup className={`sheet${props.wide ? " wide" : ""}`}>
          <div className="sheet-head">
            <Dialog.Title className="sheet-title">{props.title}</Dialog.Title>
            <Dialog.Close className="button bare square" aria-label="Close">
              <Icon name="close" />
            </Dialog.Close>
          </div>
          <div className="sheet-body" tabIndex={0} role="region" aria-label={props.title}>
            {props.children}
          </div>
          {props.foot && <div className="sheet-foot">{props.foot}</div>}
        </Dialog.Popup>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

export interface Question {
  title: string;
  text: ReactNode;
  yes: string;
  danger?: boolean;
  /** What must be typed before yes can be said. */
  word?: string;
  action: () => Promise<unknown> | void;
}

/** Asks before something is done that others will notice. */
export function Ask({ question, onClose }: { question: Question | undefined; onClose: () => void }) {
  const [busy, setBusy] = useState(false);
  const [typed, setTyped] = useState("");
  const last = useRef(question);
  if (question) last.current = question;
  useEffect(() => setTyped(""), [question]);
  const q = last.current;
  if (!q) return null;
  return (
    <AlertDialog.Root open={!!question} onOpenChange={(open) => !open && onClose()}>
      <AlertDialog.Portal>
        <AlertDialog.Backdrop className="backdrop" />
        <AlertDialog.Popup className="alert">
          <AlertDialog.Title className="sheet-title">{q.title}</AlertDialog.Title>
          <AlertDialog.Description className="alert-text" render={<div />}>
            {q.text}
          </AlertDialog.Description>
          {q.word !== undefined && (
            <Field label={`Type ${q.word} to confirm`}>{(ids) => <input {...ids} className="input" value={typed} onChange={(e) => setTyped(e.target.value)} autoComplete="off" />}</Field>
          )}
          <div className="alert-foot">
            <AlertDialog.Close className="button plain">Cancel</AlertDialog.Close>
            <Button
              look={q.danger ? "danger" : "main"}
              disabled={busy || (q.word !== undefined && typed !== q.word)}
              onClick={async () => {
                setBusy(true);
                try {
                  await q.action();
                  onClose();
                } finally {
                  setBusy(false);
                }
              }}
            >
              {q.yes}
            </Button>
          </div>
        </AlertDialog.Popup>
      </AlertDialog.Portal>
    </AlertDialog.Root>
  );
}

export const toasts = Toast.createToastManager();
export const tell = (title: string, more: { description?: string; bad?: boolean; action?: { label: string; onClick: () => void } } = {}) =>
  toasts.add({
    title,
    description: more.description,
    type: more.bad ? "bad" : "good",
    priority: more.bad ? "high" : "low",
    timeout: more.bad ? 10_000 : 6000,
    ...(more.action ? { actionProps: { children: more.action.label, onClick: more.action.onClick } } : {}),
  });

function ToastList() {
  const { toasts: list } = Toast.useToastManager();
  return list.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className={`toast ${toast.type ?? ""}`}>
      <Toast.Content className="toast-content">
        <div>
          <Toast.Title className="toast-title" render={<p />} />
          <Toast.Description className="toast-text" />
        </div>
        <Toast.Action className="button bare" />
        <Toast.Close className="button bare square" aria-label="Dismiss">
          <Icon name="close" />
        </Toast.Close>
      </Toast.Content>
    </Toast.Root>
  ));
}
export function Toasts({ children }: { children: ReactNode }) {
  return (
    <Toast.Provider toastManager={toasts} limit={3}>
      {children}
      <Toast.Portal>
        <Toast.Viewport className="toasts">
          <ToastList />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

export async function copy(text: string, what: string) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Plain http away from localhost has no clipboard; the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return void tell("It could not be copied", { bad: true });
  }
  tell(`${what} copied`);
}

export function CopyButton({ text, what }: { text: string; what: string }) {
  return (
    <Button look="bare" className="square" aria-label={`Copy ${what.toLowerCase()}`} title="Copy" onClick={() => void copy(text, what)}>
      <Icon name="copy" />
    </Button>
  );
}

const tokens = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const maxShown = 8000;

/** JSON as text, coloured. Nothing in it is ever HTML. */
export function Json({ value, compact }: { value: unknown; compact?: boolean }) {
  const [all, setAll] = useState(false);
  let text = JSON.stringify(value, null, 2) ?? "undefined";
  if (compact && text.length < 100) text = text.replace(/\s*\n\s*/g, " ");
  const cut = !all && text.length > maxShown;
  if (cut) text = text.slice(0, maxShown);
  const parts: ReactNode[] = [];
  let at = 0;
  for (const match of text.matchAll(tokens)) {
    if (match.index > at) parts.push(text.slice(at, match.index));
    const kind = match[2] ? "j-name" : match[1] ? "j-text" : /^[tfn]/.test(match[0]) ? "j-word" : "j-number";
    parts.push(
      <span key={match.index} className={kind}>
        {match[1] ?? match[0]}
      </span>,
    );
    if (match[2]) parts.push(match[2]);
    at = match.index + match[0].length;
  }
  parts.push(text.slice(at));
  return (
    <>
      <pre className="json">{parts}</pre>
      {cut && (
        <Button look="bare" onClick={() => setAll(true)}>
          Show all
        </Button>
      )}
    </>
  );
}

export function Notice({ kind = "info", children }: { kind?: "info" | "warn" | "bad"; children: ReactNode }) {
  return (
    <div className={`notice ${kind}`} role={kind === "bad" ? "alert" : undefined}>
      {kind !== "info" && <Icon name="warn" />}
      <div>{children}</div>
    </div>
  );
}

export const plural = (n: number, one: string, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
