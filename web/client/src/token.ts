/** When a JWT runs out, in Unix milliseconds; undefined for anything that does not say (encrypted tokens). */
export function expiry(token: string): number | undefined {
  const parts = token.split(".");
  if (parts.length !== 3) return undefined;
  try {
    const claims = JSON.parse(atob(parts[1]!.replace(/-/g, "+").replace(/_/g, "/")));
    return typeof claims.exp === "number" ? claims.exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the token can be a WebSocket subprotocol, which is how it travels. */
export function fits(token: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(token);
}
