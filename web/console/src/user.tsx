// Being somebody for a moment: an anonymous client, a user with a token made here, or one with a token at hand.
import { mint, type User } from "./api.js";
import { Field } from "./ui.js";

export type As = "anonymous" | "minted" | "token";

export interface Choice {
  as: As;
  table: string;
  row: string;
  extras: string;
  token: string;
}
export const nobody: Choice = { as: "anonymous", table: "1", row: "", extras: "", token: "" };

export const complete = (c: Choice) => c.as === "anonymous" || (c.as === "token" ? c.token.trim() !== "" : c.row.trim() !== "");

/** A row's number, or the text that it is. */
export const rowOf = (text: string): number | string => (/^\d{1,15}$/.test(text.trim()) ? Number(text.trim()) : text.trim());

/** The token to connect with; undefined for an anonymous client. */
export async function tokenFor(c: Choice): Promise<string | undefined> {
  if (c.as === "anonymous") return undefined;
  if (c.as === "token") return c.token.trim();
  const user: User = { dbo_id: Number(c.table) || 0, row_id: rowOf(c.row) };
  if (c.extras.trim()) {
    try {
      user.extras = JSON.parse(c.extras);
    } catch {
      throw new Error('The extras are not a JSON object such as {"name": "Jo"}.');
    }
  }
  return (await mint(user)).token;
}

/** The choices there are; a token can be made where the server has a secret to sign it with. */
export const choices = (canMint: boolean): [As, string][] => [
  ["anonymous", "An anonymous client"],
  ...(canMint ? ([["minted", "A user, made here"]] as [As, string][]) : []),
  ["token", "A user, with a token"],
];

export function UserFields({ choice, onChange }: { choice: Choice; onChange: (c: Choice) => void }) {
  const set = (part: Partial<Choice>) => onChange({ ...choice, ...part });
  if (choice.as === "anonymous") return null;
  if (choice.as === "token") {
    return (
      <Field label="Token" hint="Used for this socket only; it is not stored.">
        {(ids) => <input {...ids} className="input mono" type="password" autoComplete="off" value={choice.token} onChange={(e) => set({ token: e.target.value })} />}
      </Field>
    );
  }
  return (
    <div className="user-fields">
      <Field label="Table (dbo_id)">
        {(ids) => <input {...ids} className="input" inputMode="numeric" value={choice.table} onChange={(e) => set({ table: e.target.value.replace(/\D/g, "") })} />}
      </Field>
      <Field label="Row (row_id)">
        {(ids) => <input {...ids} className="input" placeholder="17" value={choice.row} onChange={(e) => set({ row: e.target.value })} />}
      </Field>
      <Field label="Extras, as JSON">
        {(ids) => <input {...ids} className="input mono" placeholder='{"name": "Jo"}' spellCheck={false} value={choice.extras} onChange={(e) => set({ extras: e.target.value })} />}
      </Field>
    </div>
  );
}
