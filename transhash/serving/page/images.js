/** The view of images: those that a search found, or the collection. */

import { imageAddress } from "./api.js";
import { card } from "./cards.js";
import { h } from "./dom.js";
import { bits, count, plural, shown } from "./format.js";
import { grid, notice } from "./grid.js";
import { nameQuery } from "./panel.js";
import { change, go } from "./router.js";
import { pages } from "./search.js";
import { isSearch } from "./state.js";
import { picture } from "./uploads.js";
import { view } from "./viewer.js";

/** Return the list of a view. */
export function images(state, index) {
  if (!index.codes && !isSearch(state)) return unbrowsable();
  const found = isSearch(state);
  const items = [];
  let query = null;
  const list = grid({
    name: found ? "Images like the query, nearest first" : "Images of the collection",
    page: pages(state, index),
    draw: (item) => card(state, index, item, open),
    tell: (shownSoFar, total, done) => (found ? told(shownSoFar, done, items, state) : browsed(shownSoFar, total)),
    nothing: () => (found ? nothingNear(state, index) : nothingThere(state)),
    onPage: (page) => {
      items.push(...page.items);
      query ??= page.query;
      nameQuery(query?.path);
    },
    failed: (error) => (error.status === 404 && isFiltered(state) ? notice("empty", "No images here", error.message, clearFilters(state)) : null),
  });
  return { ...list, resume: () => nameQuery(query?.path) };

  function open(item) {
    view({ index, state, reference: found ? reference() : null, items, start: items.indexOf(item) });
  }

  function reference() {
    if (state.id !== null) return { id: state.id, title: shown(query?.path ?? `image ${state.id}`), source: imageAddress(index.name, state.id) };
    const source = picture(state.code);
    return source ? { id: null, title: "Your image", source } : null;
  }
}

function told(shownSoFar, done, items, state) {
  if (!shownSoFar) return "";
  const within = state.radius === null ? "" : ` within ${bits(state.radius)}`;
  return done ? `${plural(shownSoFar, "image")}${within}, nearest first` : `The nearest ${plural(shownSoFar, "image")}${within}; scroll for more`;
}

const browsed = (shownSoFar, total) => (total ? `${plural(total, "image")}${shownSoFar < total ? `, ${count(shownSoFar)} shown` : ""}` : "");

function nothingNear(state, index) {
  const wider = Math.min(index.bits, Math.max(4, 2 * (state.radius ?? index.bits)));
  return notice("empty", "Nothing that near",
    state.radius === null ? "No image passes the filters." : `No image is within ${bits(state.radius)} of this one.`,
    state.radius === null ? [] : h("button", { type: "button", class: "primary", onclick: () => change({ radius: wider }) }, `Search within ${bits(wider)}`),
    clearFilters(state));
}

const nothingThere = (state) => notice("empty", "No images here", "No image passes the filters.", clearFilters(state));

const isFiltered = (state) => state.labels.length > 0 || state.globs.length > 0;

function clearFilters(state) {
  if (!isFiltered(state)) return [];
  return h("button", { type: "button", onclick: () => go({ ...state, labels: [], globs: [] }) }, "Remove the filters");
}

function unbrowsable() {
  const box = notice("empty", "Search with an image of yours", "This collection is on a server, or its index does not keep its codes: it cannot be browsed.");
  return { element: box, stop: () => {} };
}
