// What rules mean, told to people.
import type { Rule } from "./api.js";

export const historySizes = [0, 25, 50, 100, 250, 1000];

export const blank = (): Rule => ({
  pattern: "",
  description: "",
  enabled: true,
  wildcard: false,
  anonymous_clients: false,
  presence: false,
  client_public_messaging: false,
  client_public_messaging_authenticated_only: false,
  client_authenticated_messaging: false,
  client_private_messaging: false,
  client_private_messaging_authenticated_only: false,
  history: 0,
});

/** The target as people see it: `chat/*` for a nested rule. */
export const target = (rule: Rule) => rule.pattern + (rule.wildcard ? "/*" : "");

type Flags = Pick<
  Rule,
  | "anonymous_clients"
  | "client_public_messaging"
  | "client_public_messaging_authenticated_only"
  | "client_authenticated_messaging"
  | "client_private_messaging"
  | "client_private_messaging_authenticated_only"
>;
const flags = (on: (keyof Flags)[]): Flags => {
  const all: Flags = {
    anonymous_clients: false,
    client_public_messaging: false,
    client_public_messaging_authenticated_only: false,
    client_authenticated_messaging: false,
    client_private_messaging: false,
    client_private_messaging_authenticated_only: false,
  };
  for (const name of on) all[name] = true;
  return all;
};

export const presets: { name: string; text: string; flags: Flags }[] = [
  { name: "Public chat", text: "Everyone reads and writes", flags: flags(["anonymous_clients", "client_public_messaging"]) },
  {
    name: "Everyone reads, users write",
    text: "Visitors follow along",
    flags: flags(["anonymous_clients", "client_public_messaging", "client_public_messaging_authenticated_only"]),
  },
  { name: "Notifications", text: "Only your back end sends", flags: flags(["anonymous_clients"]) },
  { name: "Users only", text: "Signed-in users among themselves", flags: flags(["client_authenticated_messaging"]) },
  {
    name: "Users only + private",
    text: "… and to one another",
    flags: flags(["client_authenticated_messaging", "client_private_messaging", "client_private_messaging_authenticated_only"]),
  },
];

export const presetOf = (rule: Rule) => presets.find((p) => Object.entries(p.flags).every(([name, value]) => rule[name as keyof Flags] === value));

/** The effect of a rule's permissions in one sentence. */
export function effect(rule: Rule, strict = false): string {
  const open = rule.anonymous_clients;
  const pub = rule.client_public_messaging;
  const both = pub && rule.client_authenticated_messaging;
  const listen = open ? "anyone may listen" : "only signed-in users may listen";
  let write: string;
  if (!pub && !rule.client_authenticated_messaging) write = "nobody may write: messages come from your back end";
  else if (!pub) write = open ? "signed-in users may write, but visitors receive none of it" : "they may write to each other";
  else if (!open) write = "they may write";
  else if (rule.client_public_messaging_authenticated_only) write = "only signed-in users may write";
  else write = "anyone may write";
  let text = `${listen}, ${write}`;
  if (both && open) text += strict ? "; what signed-in users write reaches signed-in users only" : "; signed-in users may choose to reach signed-in users only";
  if (rule.client_private_messaging)
    text += rule.client_private_messaging_authenticated_only || !open ? "; signed-in members may write to one another in private" : "; any member may write to another in private";
  return text[0]!.toUpperCase() + text.slice(1) + ".";
}

export function duration(seconds: number): string {
  for (const [size, name] of [[86400, "day"], [3600, "hour"], [60, "minute"]] as const) {
    if (seconds >= size && seconds % size === 0) return seconds === size ? `one ${name}` : `${seconds / size} ${name}s`;
  }
  return seconds === 1 ? "one second" : `${seconds} seconds`;
}

/** What else the rule does. */
export function extras(rule: Rule): string[] {
  const out: string[] = [];
  if (rule.presence) out.push("Members see who is there.");
  if (rule.history > 0) out.push(`The last ${rule.history} messages are kept${rule.history_ttl ? ` for ${duration(rule.history_ttl)}` : ""}.`);
  if (rule.wildcard && rule.pattern_join === "anyone") out.push(rule.anonymous_clients ? "Anyone may follow all channels at once." : "Signed-in users may follow all channels at once.");
  if (rule.wildcard && rule.pattern_join === "authenticated") out.push("Signed-in users may follow all channels at once.");
  const hooks = rule.triggers?.length ?? 0;
  if (hooks > 0) out.push(hooks === 1 ? "A webhook is asked." : `${hooks} webhooks are asked.`);
  if (rule.rate_limit) out.push(`At most ${rule.rate_limit} messages a minute from each socket.`);
  return out;
}

/** Combinations that are probably not what was meant. */
export function doubts(rule: Rule): string[] {
  const out: string[] = [];
  if (rule.client_public_messaging_authenticated_only && !rule.client_public_messaging) out.push("“Signed-in users only” has no effect while public messages are off.");
  if (rule.client_private_messaging_authenticated_only && !rule.client_private_messaging) out.push("“Between signed-in users only” has no effect while private messages are off.");
  if (rule.client_authenticated_messaging && rule.anonymous_clients && !rule.client_public_messaging) out.push("Visitors may join, but receive nothing that users write.");
  if (rule.wildcard && rule.pattern_join === "anyone" && !rule.anonymous_clients) out.push("Visitors still cannot follow all channels, because anonymous clients are off.");
  if (rule.history_ttl && !rule.history) out.push("The age limit has no effect while no history is kept.");
  if (rule.triggers?.some((t) => !t.actions.join && !t.actions.message)) out.push("A webhook without an action is never asked.");
  return out;
}

/** The names of what differs, and both values. */
export function differences(before: Rule | undefined, after: Rule | undefined): { field: string; before: unknown; after: unknown }[] {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]) as Set<keyof Rule>;
  const out: { field: string; before: unknown; after: unknown }[] = [];
  for (const field of names) {
    const [x, y] = [before?.[field], after?.[field]];
    if (field !== "id" && JSON.stringify(x ?? null) !== JSON.stringify(y ?? null)) out.push({ field, before: x, after: y });
  }
  return out;
}

/** Random URL-safe text, as connection hashes are. */
export function randomHash(): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return Array.from(crypto.getRandomValues(new Uint8Array(27)), (byte) => alphabet[byte & 63]).join("");
}

export function randomSecret(): string {
  return "whsec_" + btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(24))));
}
