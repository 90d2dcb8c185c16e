/** The page: loads the list of indexes, then shows the view that the address names. */

import { collections, chosen } from "./collections.js";
import { $, announce, h } from "./dom.js";
import { duplicates } from "./duplicates.js";
import { shown } from "./format.js";
import { notice } from "./grid.js";
import { images } from "./images.js";
import { panel } from "./panel.js";
import { change, current, start } from "./router.js";
import { signInIfNeeded } from "./signin.js";
import { address } from "./state.js";

const KEPT = 6; // views to come back to as they were

const asking = panel();
const kept = new Map();
let shownView = null;

/** Show the view of the address; one that was shown before comes back as it was, scrolled as it was. */
async function show(how) {
  leave();
  const state = current();
  const where = address(state);
  try {
    const all = await collections();
    if (where !== address(current())) return; // went on meanwhile
    const index = chosen(all, state);
    dress(all, index, state);
    const back = how === "back" && !kept.get(where)?.isStale?.() ? kept.get(where) : undefined;
    shownView = back ?? made(state, index, all, where);
    $("#results").replaceChildren(shownView.element);
    if (back) back.resume?.();
    scrollTo(0, back?.top ?? 0);
  } catch (error) {
    $("#results").replaceChildren(notice("warning", "The collection cannot be shown", error.message, h("button", { type: "button", onclick: () => show("new") }, "Try again")));
  }
}

function made(state, index, all, where) {
  const view = state.view === "duplicates" ? duplicates(state, index, all) : images(state, index);
  return { ...view, where, top: 0 };
}

function leave() {
  if (!shownView) return;
  shownView.top = scrollY;
  if (kept.has(shownView.where) && kept.get(shownView.where) !== shownView) kept.get(shownView.where).stop();
  kept.delete(shownView.where);
  kept.set(shownView.where, shownView);
  const [oldest] = kept.keys();
  if (kept.size > KEPT) {
    kept.get(oldest).stop();
    kept.delete(oldest);
  }
  shownView = null;
}

/** Make the header and the panel fit a view. */
function dress(all, index, state) {
  const isDuplicates = state.view === "duplicates";
  const which = { index: all.indexes.length > 1 ? index.name : null };
  link($("#to-images"), !isDuplicates, { view: "images", ...which });
  link($("#to-duplicates"), isDuplicates, { view: "duplicates", ...which });
  $(".which").hidden = all.indexes.length < 2;
  $("#which").replaceChildren(...all.indexes.map(({ name }) => h("option", { value: name, selected: name === index.name }, name)));
  const bar = isDuplicates ? null : asking.element;
  if (bar && !bar.isConnected) $("#panel").replaceChildren(bar);
  if (!bar) $("#panel").replaceChildren();
  asking.update(state, index, all.max_upload_bytes);
  document.title = `${isDuplicates ? "Duplicates in " : ""}${shown(index.name)} · TransHash`;
}

function link(element, isCurrent, state) {
  element.href = address(state);
  if (isCurrent) element.setAttribute("aria-current", "page");
  else element.removeAttribute("aria-current");
}

async function share() {
  const label = $("#share span");
  try {
    await navigator.clipboard.writeText(location.href);
    label.textContent = "Copied";
  } catch {
    label.textContent = "Copy the address bar"; // a page without TLS may not write to the clipboard
  }
  announce(label.textContent);
  setTimeout(() => { label.textContent = "Copy link"; }, 2000);
}

$("#which").addEventListener("change", (event) => change({ index: event.target.value, id: null, code: null, labels: [], globs: [], radius: null, prefer: [], reference: [] }));
$("#share").addEventListener("click", share);
await signInIfNeeded();
start(show);
