export type Role = "visitor" | "agent";
export type Kind = "fanfare" | "xano";

const query = new URLSearchParams(location.search);

export const role: Role = query.get("role") === "agent" ? "agent" : "visitor";
export const kind: Kind = query.get("client") === "xano" ? "xano" : "fanfare";
export const room = query.get("room") ?? "chat/support";
export const hash = query.get("hash") ?? "demo";

/** The socket of the server this page came from. */
export const socketUrl = new URL("../rt/" + encodeURIComponent(hash), location.href).href.replace(/^http/, "ws");

/** This page with some parameters changed. */
export function link(change: { role?: Role; client?: Kind }): string {
  const next = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(change)) {
    if (value === "visitor" || value === "fanfare") next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  return location.pathname + (text ? "?" + text : "");
}

/** Kept for this tab: a visitor in another tab is another visitor. */
export const memory = {
  get(key: string): string | null {
    return sessionStorage.getItem("demo." + key);
  },
  set(key: string, value: string): void {
    sessionStorage.setItem("demo." + key, value);
  },
};

/** A short random text. */
export function random(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(36)).join("");
}
