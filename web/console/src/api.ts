// What the console asks the server. The session is a cookie that no script sees.

export interface Trigger {
  url: string;
  actions: { join?: boolean; message?: boolean };
  secret?: string | string[];
  timeout_ms?: number;
  on_failure?: "block" | "allow";
}

/** One channel rule, as Xano writes it, and our own fields behind. */
export interface Rule {
  id?: number;
  pattern: string;
  description: string;
  enabled: boolean;
  wildcard: boolean;
  anonymous_clients: boolean;
  presence: boolean;
  client_public_messaging: boolean;
  client_public_messaging_authenticated_only: boolean;
  client_authenticated_messaging: boolean;
  client_private_messaging: boolean;
  client_private_messaging_authenticated_only: boolean;
  history: number;
  history_ttl?: number;
  pattern_join?: "nobody" | "authenticated" | "anyone";
  triggers?: Trigger[];
  rate_limit?: number;
}

export interface Realtime {
  enabled: boolean;
  hash: string;
  strict?: boolean;
  channels: Rule[];
}

export interface Workspace {
  id: number;
  name: string;
  enabled: boolean;
  hash: string;
}

export interface Session {
  expires: string;
  gateway: string;
  version: string;
  read_only: boolean;
  demo: boolean;
  /** Tokens for users can be made here. */
  mint: boolean;
}

export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
  ) {
    super(message);
  }
  get conflict() {
    return this.status === 409;
  }
}

/** Called when the server says that nobody is signed in. */
export const signedOut = new EventTarget();

export interface Answer<T> {
  data: T;
  etag: string;
  /** Nothing has changed since the tag that was given. */
  same: boolean;
}

async function request<T>(method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer<T>> {
  let answer: Response;
  try {
    answer = await fetch(url, {
      method,
      cache: "no-store",
      headers: { "X-Fanfare-Console": "1", ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "unreachable", "The server cannot be reached.");
  }
  const etag = answer.headers.get("ETag") ?? "";
  if (answer.status === 304) return { data: undefined as T, etag, same: true };
  const text = await answer.text();
  let data: any;
  try {
    data = text ? JSON.parse(text) : undefined;
  } catch {
    data = undefined;
  }
  if (answer.ok) return { data, etag, same: false };
  const error = new ApiError(answer.status, data?.code ?? "http_" + answer.status, data?.message ?? `The server answered ${answer.status}.`, data?.field);
  if (error.code === "signed_out") signedOut.dispatchEvent(new Event("signed-out"));
  throw error;
}

/** Asks the HTTP API as the administrator. */
export const call = <T>(method: string, path: string, body?: unknown, headers?: Record<string, string>) =>
  request<T>(method, "api/proxy/" + path, body, headers);

export const signIn = (token: string) => request<Session>("POST", "api/session", { token }).then((a) => a.data);
export const session = () => request<Session>("GET", "api/session").then((a) => a.data);
export const signOut = () => request<void>("DELETE", "api/session");

export const meta = (id: number) => `api:meta/workspace/${id}`;
export const v1 = (hash: string) => `api/v1/${encodeURIComponent(hash)}`;
export const ifMatch = (etag: string): Record<string, string> => (etag ? { "If-Match": etag } : {});

export interface Histogram {
  count: number;
  buckets: [number, number][];
}
/** One socket on one channel. */
export interface Membership {
  channel: string;
  joined: string;
  /** The channel has history, so the offsets mean something. */
  stored: boolean;
  joined_offset: string;
  /** How far its live frames were handed to the socket. */
  offset: string;
  catching_up?: boolean;
  presence: boolean;
  left?: string;
  why?: string;
}
export interface Connection {
  socketId: string;
  gateway: string;
  state: "open" | "closing" | "closed";
  authenticated: boolean;
  permissions: { dbo_id: number; row_id: number | string };
  connected: string;
  heard?: string;
  backlog_bytes: number;
  channels: Membership[];
  channels_total: number;
  left: Membership[];
  closed?: string;
  code?: number;
  reason?: string;
}
export interface Connections {
  items: Connection[];
  next: string | null;
  unanswered: string[];
}

/** Why somebody may do something, or not. */
export interface Explanation {
  allowed: boolean;
  rule: { id: number; pattern: string; wildcard: boolean } | null;
  flag: string | null;
  audience?: string;
  code?: string;
  text: string;
}

export interface User {
  dbo_id: number;
  row_id: number | string;
  extras?: Record<string, unknown>;
}
/** A token for a user, good for some minutes. */
export const mint = (user: User) => request<{ token: string; expires: string }>("POST", "api/mint", { ...user, ttl: 600 }).then((a) => a.data);

/** A message's way through the gateway that holds a socket. */
export interface Trace {
  number: number;
  id: string;
  offset?: string;
  channel: string;
  origin: string;
  accepted: string;
  stored?: string;
  arrived: string;
  flushed?: string;
  written?: string;
  batch?: number;
}
export const traces = (server: number, channel: string, socketId: string, after: number) =>
  request<{ now: string; items: Trace[] | null }>("GET", `api/traces?${new URLSearchParams({ server: String(server), channel, socketId, after: String(after) })}`).then((a) => a.data);

/** What one gateway has measured. Its counters begin anew with it. */
export interface Measures {
  gateway: string;
  at: string;
  values: Record<string, Record<string, number>>;
  histograms: Record<string, Record<string, Histogram>>;
}
export interface Live {
  gateway: string;
  at: string;
  gateways: { id: string; addr: string; state: string; started: string; sockets: number | null }[];
  sockets: number;
  channels: { channel: string; members: number; messages: number }[];
  channels_total: number;
  measures: Measures[];
}
export const live = (server: number) => request<Live>("GET", `api/live?server=${server}`).then((a) => a.data);

export async function workspaces(): Promise<Workspace[]> {
  const all: Workspace[] = [];
  let cursor: string | null = "";
  do {
    const page: Answer<{ items: Workspace[]; next: string | null }> = await call("GET", `api:meta/workspace?limit=1000${cursor ? "&cursor=" + encodeURIComponent(cursor) : ""}`);
    all.push(...page.data.items);
    cursor = page.data.next;
  } while (cursor && all.length < 10_000);
  return all;
}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
