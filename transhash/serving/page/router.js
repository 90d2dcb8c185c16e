/** Going from view to view. */

import { address, read } from "./state.js";

let changed = () => {};

export const current = () => read(location.search);

/** Show a view; with `replace`, going back skips the one before. */
export function go(state, replace = false) {
  const target = address(state);
  const same = target === location.pathname + location.search;
  history[replace || same ? "replaceState" : "pushState"](null, "", target);
  changed("new");
}

/** Change some fields of the view. */
export const change = (fields, replace = false) => go({ ...current(), ...fields }, replace);

/** Call `listener` with "new" or "back" after every move; links with `data-go` move without loading the page. */
export function start(listener) {
  changed = listener;
  history.scrollRestoration = "manual";
  addEventListener("popstate", () => changed("back"));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-go]");
    const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    if (!link || !plain || event.defaultPrevented) return;
    event.preventDefault();
    go(read(new URL(link.href).search));
  });
  changed("new");
}
