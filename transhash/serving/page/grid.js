/** A list of images that grows as one scrolls. */

import { announce, h, icon } from "./dom.js";

const AHEAD = "1200px 0px";

/**
 * Return the element of a list.
 * `page(cursor, signal)` returns {items, total, cursor}; `draw(item)` a list item; `tell(shown, total, done)` the line above.
 * `nothing()` is shown if there is not a single item, `failed(error)` for errors that it knows; `onPage` is given every page.
 */
export function grid({ page, draw, tell, nothing, name, onPage = () => {}, kind = "grid", failed = () => null }) {
  const line = h("p", { class: "line" });
  const list = h("ul", { class: kind, "aria-label": name, "aria-busy": "true" });
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: () => next() }, "Show more");
  const foot = h("div", { class: "foot" }, more);
  const request = new AbortController();
  let cursor = null;
  let busy = false;
  let shown = 0;
  const watcher = new IntersectionObserver(([entry]) => { if (entry.isIntersecting && !more.hidden) next(); }, { rootMargin: AHEAD });
  watcher.observe(foot);

  async function next() {
    if (busy) return;
    busy = true;
    list.setAttribute("aria-busy", "true");
    if (shown === 0) list.replaceChildren(...skeletons());
    try {
      const found = await page(cursor, request.signal);
      take(found);
    } catch (error) {
      if (error.name !== "AbortError") fail(error);
    }
    busy = false;
    list.setAttribute("aria-busy", "false");
  }

  function take(found) {
    if (shown === 0) list.replaceChildren();
    cursor = found.cursor;
    shown += found.items.length;
    list.append(...found.items.map(draw));
    more.hidden = cursor === null;
    foot.replaceChildren(more);
    const said = tell(shown, found.total, cursor === null);
    line.textContent = said;
    announce(said);
    if (shown === 0) list.replaceWith(nothing());
    onPage(found);
    if (cursor !== null) again();
  }

  /** Observe anew: the foot may still be in view, of which the observer would tell only once. */
  function again() {
    watcher.unobserve(foot);
    watcher.observe(foot);
  }

  function fail(error) {
    more.hidden = true;
    if (shown === 0) list.replaceChildren();
    foot.replaceChildren(failed(error) ?? notice("warning", "Something went wrong", error.message,
      h("button", { type: "button", onclick: () => { foot.replaceChildren(more); next(); } }, "Try again")));
  }

  list.addEventListener("keydown", move);
  next();
  return { element: h("section", { class: "list" }, line, list, foot), stop: () => { request.abort(); watcher.disconnect(); } };
}

/** Return a box that says what there is to do where there is nothing to show. */
export function notice(name, title, text, ...actions) {
  return h("div", { class: "notice", role: name === "warning" ? "alert" : null }, icon(name), h("h2", {}, title), h("p", {}, text), h("div", { class: "buttons" }, actions));
}

const skeletons = () => Array.from({ length: 12 }, () => h("li", { class: "card skeleton", "aria-hidden": "true" }, h("span", { class: "picture" })));

/** Let arrow keys go from image to image. */
function move(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: "down", ArrowUp: "up" }[event.key];
  const links = [...event.currentTarget.querySelectorAll("a.picture")];
  const place = links.indexOf(document.activeElement);
  if (!step || place < 0) return;
  const top = (link) => link.closest("li").offsetTop;
  const columns = Math.max(1, links.filter((link) => top(link) === top(links[0])).length);
  const target = links[place + (step === "down" ? columns : step === "up" ? -columns : step)];
  if (!target) return;
  event.preventDefault();
  target.focus();
}
