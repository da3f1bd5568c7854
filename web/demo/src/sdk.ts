import { h } from "./dom.js";
import { link } from "./params.js";

/**
 * The stock SDK is not part of this page: it is loaded from a public mirror of npm, checked against its hash, or
 * from the reader's own copy. A copy is kept in this browser.
 */
const version = "3.0.1";
const mirror = `https://cdn.jsdelivr.net/npm/@xano/js-sdk@${version}/dist/xano.min.js`;
const integrity = "sha384-GL4x93BDcVn1Z7U0wTQzcr+Q/meoqFM8EXXCgCPe4X4WMrTNFb4sIPkE7e0mURXd";
const kept = "demo.sdk";

export function loaded(): boolean {
  return "XanoClient" in window;
}

/** Loads what was chosen before; false when nothing was, or it does not work any more. */
export async function restore(): Promise<boolean> {
  const choice = localStorage.getItem(kept);
  if (!choice) return false;
  try {
    if (choice === "mirror") await script(mirror, integrity);
    else await text(choice);
    return true;
  } catch {
    return false;
  }
}

function script(src: string, hash?: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const element = h("script", { src });
    if (hash) {
      element.integrity = hash;
      element.crossOrigin = "anonymous";
    }
    element.onload = () => (loaded() ? resolve() : reject(new Error("This script does not define XanoClient.")));
    element.onerror = () => reject(new Error("The script could not be loaded."));
    document.head.append(element);
  });
}

async function text(source: string): Promise<void> {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  try {
    await script(address);
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** Asks for the SDK; settles when it is loaded. */
export function ask(): Promise<void> {
  return new Promise((resolve) => {
    const problem = h("p", { class: "problem", role: "alert" });
    const attempt = async (choice: string, load: () => Promise<void>) => {
      problem.textContent = "";
      try {
        await load();
        localStorage.setItem(kept, choice);
        dialog.close();
        dialog.remove();
        resolve();
      } catch (error) {
        problem.textContent = (error as Error).message;
      }
    };
    const file = h("input", {
      type: "file",
      accept: ".js,text/javascript",
      id: "sdk-file",
      onchange: async () => {
        const source = await file.files?.[0]?.text();
        if (source) await attempt(source, () => text(source));
      },
    });
    const dialog = h(
      "dialog",
      { class: "sdk", "aria-labelledby": "sdk-title" },
      h("h2", { id: "sdk-title" }, "Run this page on Xano’s own SDK"),
      h(
        "p",
        {},
        "The same chat, on the unmodified ",
        h("code", {}, `@xano/js-sdk ${version}`),
        ". It is not part of Fanfare, so this browser has to fetch it once.",
      ),
      h("button", { type: "button", class: "primary", onclick: () => attempt("mirror", () => script(mirror, integrity)) }, "Load it from jsDelivr"),
      h("p", { class: "small" }, "Pinned to that version and checked against its hash."),
      h("label", { htmlFor: "sdk-file" }, "Or choose your copy, ", h("code", {}, "node_modules/@xano/js-sdk/dist/xano.min.js")),
      file,
      problem,
      h("p", {}, h("a", { href: link({ client: "fanfare" }) }, "Back to the Fanfare client")),
    );
    // There is nothing behind it to go on with.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}
