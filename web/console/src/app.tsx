// Who is signed in, which realtime server and which page.
import { Menu } from "@base-ui/react/menu";
import { useCallback, useEffect, useState, type FormEvent } from "react";
import { ApiError, call, messageOf, session, signIn, signOut, signedOut, workspaces, type Session, type Workspace } from "./api.js";
import { Connect } from "./connect.js";
import { Inspector } from "./inspector.js";
import { LivePage } from "./livepage.js";
import { Settings } from "./settings.js";
import { Button, Field, Icon, Mark, Notice, Sheet, tell } from "./ui.js";

const pages = [
  { id: "settings", name: "Settings" },
  { id: "inspector", name: "Inspector" },
  { id: "live", name: "Live" },
  { id: "connect", name: "Connect" },
] as const;
type Page = (typeof pages)[number]["id"];

function place(): { server: number; page: Page } {
  const [server, page] = location.hash.replace(/^#\/?/, "").split("/");
  return { server: Number(server) || 0, page: pages.find((p) => p.id === page)?.id ?? "settings" };
}

export function App() {
  const [who, setWho] = useState<Session | null>();
  const [problem, setProblem] = useState("");
  const look = useCallback(() => {
    session().then(
      (s) => (setWho(s), setProblem("")),
      (error: ApiError) => (setWho(null), setProblem(error.status === 401 ? "" : error.message)),
    );
  }, []);
  useEffect(() => {
    look();
    const out = () => setWho(null);
    signedOut.addEventListener("signed-out", out);
    return () => signedOut.removeEventListener("signed-out", out);
  }, [look]);
  if (who === undefined) return <div className="wait" role="status" aria-label="Loading" />;
  if (who === null) return <SignIn problem={problem} onDone={setWho} />;
  return <Frame who={who} />;
}

function SignIn({ problem, onDone }: { problem: string; onDone: (s: Session) => void }) {
  const [token, setToken] = useState("");
  const [failed, setFailed] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setFailed("");
    try {
      onDone(await signIn(token.trim()));
    } catch (error) {
      setFailed(messageOf(error));
      setBusy(false);
    }
  };
  return (
    <main className="signin">
      <form onSubmit={submit} className="card signin-card">
        <Mark />
        <h1>Fanfare console</h1>
        <p className="soft">Realtime channels, in your hands.</p>
        {problem && <Notice kind="bad">{problem}</Notice>}
        <Field
          label="Admin token"
          problem={failed}
          hint={
            <>
              <code>fanfare dev</code> prints it. Elsewhere it is <code>FANFARE_ADMIN_TOKEN</code>.
            </>
          }
        >
          {(ids) => <input {...ids} className="input" type="password" autoComplete="current-password" autoFocus value={token} onChange={(e) => setToken(e.target.value)} />}
        </Field>
        <Button look="main" type="submit" disabled={busy || !token.trim()}>
          Sign in
        </Button>
      </form>
    </main>
  );
}

function useTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [theme, set] = useState<string>(() => localStorage.getItem("fanfare-theme") ?? "");
  const now = theme || (dark.matches ? "dark" : "light");
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    window.dispatchEvent(new Event("themechange"));
  }, [theme]);
  return {
    now,
    flip() {
      const next = now === "dark" ? "light" : "dark";
      localStorage.setItem("fanfare-theme", next);
      set(next);
    },
  };
}

function Frame({ who }: { who: Session }) {
  const [at, setAt] = useState(place);
  const [servers, setServers] = useState<Workspace[]>();
  const [problem, setProblem] = useState("");
  const [adding, setAdding] = useState(false);
  const theme = useTheme();
  useEffect(() => {
    const moved = () => setAt(place());
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  const refresh = useCallback(async () => {
    try {
      const list = await workspaces();
      setServers((old) => (JSON.stringify(old) === JSON.stringify(list) ? old : list));
      setProblem("");
      return list;
    } catch (error) {
      setProblem(messageOf(error));
      return [];
    }
  }, []);
  useEffect(() => {
    void refresh();
    const timer = setInterval(() => document.visibilityState === "visible" && void refresh(), 10_000);
    return () => clearInterval(timer);
  }, [refresh]);
  const wanted = at.server || Number(localStorage.getItem("fanfare-server")) || 0;
  const server = servers?.find((s) => s.id === wanted) ?? servers?.find((s) => s.enabled) ?? servers?.[0];
  const go = (id: number, page: Page) => {
    location.hash = `#/${id}/${page}`;
  };
  useEffect(() => {
    if (server) localStorage.setItem("fanfare-server", String(server.id));
    document.title = `${pages.find((p) => p.id === at.page)!.name} · ${server?.name || "Fanfare"} · Fanfare console`;
  }, [server, at.page]);

  return (
    <div className="frame">
      <a className="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to content
      </a>
      <header className="side">
        <div className="brand">
          <Mark />
          <b>Fanfare</b>
        </div>
        <Menu.Root>
          <Menu.Trigger className="picker">
            <span className={`dot ${server?.enabled ? "on" : ""}`} aria-hidden="true" />
            <span className="picker-name">
              <small>Realtime server</small>
              {server ? server.name || `Server ${server.id}` : "…"}
            </span>
            <Icon name="down" />
          </Menu.Trigger>
          <Menu.Portal>
            <Menu.Positioner className="menu-place" sideOffset={6} align="start">
              <Menu.Popup className="menu">
                {servers?.map((s) => (
                  <Menu.Item key={s.id} className="menu-item" onClick={() => go(s.id, at.page)}>
                    <span className={`dot ${s.enabled ? "on" : ""}`} aria-hidden="true" />
                    <span className="menu-name">{s.name || `Server ${s.id}`}</span>
                    {!s.enabled && <span className="tag">off</span>}
                    {s.id === server?.id && <Icon name="done" />}
                  </Menu.Item>
                ))}
                {!who.read_only && (
                  <>
                    <Menu.Separator className="menu-line" />
                    <Menu.Item className="menu-item" onClick={() => setAdding(true)}>
                      <Icon name="plus" />
                      Add a realtime server
                    </Menu.Item>
                  </>
                )}
              </Menu.Popup>
            </Menu.Positioner>
          </Menu.Portal>
        </Menu.Root>
        <nav aria-label="Pages">
          {pages.map((p) => (
            <a key={p.id} href={`#/${server?.id ?? 1}/${p.id}`} aria-current={p.id === at.page ? "page" : undefined}>
              <Icon name={p.id} />
              {p.name}
            </a>
          ))}
        </nav>
        <div className="side-foot">
          <Button look="bare" className="square" onClick={theme.flip} aria-label={theme.now === "dark" ? "Use the light theme" : "Use the dark theme"} title="Theme">
            <Icon name={theme.now === "dark" ? "sun" : "moon"} />
          </Button>
          <Button
            look="bare"
            className="square"
            aria-label="Sign out"
            title="Sign out"
            onClick={async () => {
              try {
                await signOut();
              } catch (error) {
                if ((error as ApiError).status !== 401) return void tell("You are still signed in", { bad: true, description: messageOf(error) });
              }
              location.reload(); // nothing of what was seen stays in memory
            }}
          >
            <Icon name="out" />
          </Button>
          <span className="soft small version">
            {who.version || "devel"} · gateway {who.gateway}
          </span>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {problem && <Notice kind="bad">{problem}</Notice>}
        {server && at.page === "settings" && <Settings key={server.id} server={server} who={who} refresh={refresh} onGone={() => refresh().then((l) => l[0] && go(l[0].id, "settings"))} />}
        {server && at.page === "inspector" && <Inspector key={server.id + location.hash.split("/").slice(3).join()} server={server} session={who} />}
        {server && at.page === "live" && <LivePage key={server.id} server={server} />}
        {server && at.page === "connect" && <Connect key={server.id} server={server} />}
      </main>
      <AddServer
        open={adding}
        onClose={() => setAdding(false)}
        onDone={async (id) => {
          setAdding(false);
          await refresh();
          go(id, "settings");
        }}
      />
    </div>
  );
}

function AddServer({ open, onClose, onDone }: { open: boolean; onClose: () => void; onDone: (id: number) => void }) {
  const [name, setName] = useState("");
  const [problem, setProblem] = useState("");
  const add = async (event: FormEvent) => {
    event.preventDefault();
    try {
      const made = await call<Workspace>("POST", "api:meta/workspace", { name: name.trim(), enabled: true });
      tell(`${name.trim()} added`, { description: "It has a connection hash of its own and no channels yet." });
      setName("");
      onDone(made.data.id);
    } catch (error) {
      setProblem(messageOf(error));
    }
  };
  return (
    <Sheet
      open={open}
      onClose={onClose}
      title="Add a realtime server"
      foot={
        <Button look="main" type="submit" form="add-server" disabled={!name.trim()}>
          Add
        </Button>
      }
    >
      <form id="add-server" onSubmit={add}>
        <Field label="Name" problem={problem} hint="For people; clients use the connection hash.">
          {(ids) => <input {...ids} className="input" maxLength={200} value={name} onChange={(e) => setName(e.target.value)} autoFocus />}
        </Field>
      </form>
    </Sheet>
  );
}
