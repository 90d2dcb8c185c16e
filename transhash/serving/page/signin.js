/** The prompt for the token of the server. */

import { h } from "./dom.js";

let waiting = null;

/** Ask for the token until the server takes it; all requests that need it wait for one prompt. */
export function signIn() {
  waiting ??= prompt().finally(() => { waiting = null; });
  return waiting;
}

/** Sign in before requests are refused: with the token that th serve --open put behind the address, or the one that is asked for. */
export async function signInIfNeeded() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given !== null) {
    history.replaceState(null, "", location.pathname + location.search); // a copied link must not hold it
    await send(given);
  }
  const answer = await fetch("/v1/session", { credentials: "same-origin" }).catch(() => null);
  const { needed, admitted } = answer?.ok ? await answer.json() : {};
  if (needed && !admitted) await signIn();
}

function prompt() {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", autofocus: true, id: "token" });
    const name = h("input", { type: "text", name: "username", autocomplete: "username", value: "transhash", hidden: true }); // for password managers
    const fault = h("p", { class: "fault", role: "alert" });
    const form = h("form", { method: "dialog" },
      h("h2", { id: "token-title" }, "Sign in"),
      h("p", {}, "This server asks for its token: the first line of the file that was given to th serve --token-file."),
      h("label", { for: "token" }, "Token"), name, input, fault,
      h("div", { class: "buttons" }, h("button", { class: "primary" }, "Sign in")));
    const dialog = h("dialog", { class: "small", "aria-labelledby": "token-title", oncancel: (event) => event.preventDefault() }, form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = await send(input.value);
      if (answer === null) {
        dialog.remove();
        resolve();
      } else {
        fault.textContent = answer;
        input.select();
      }
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Return null if the server took the token, else why not. */
async function send(token) {
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("/v1/session", { method: "POST", headers, body: JSON.stringify({ token }) });
    if (answer.ok) return null;
    return answer.status === 401 ? "The server does not take this token." : (await answer.json()).detail;
  } catch {
    return "The server cannot be reached.";
  }
}
