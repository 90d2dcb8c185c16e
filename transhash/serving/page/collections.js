/** The indexes that the server has, and what their distances mean. */

import { get } from "./api.js";

const FRESH = 10_000; // milliseconds; then an index may have been replaced

let known = null;
let since = -Infinity;

/** Return the list of indexes. */
export async function collections() {
  if (performance.now() - since > FRESH) {
    known = await get("/v1/indexes");
    since = performance.now();
  }
  return known;
}

/** Return the index that a view is about: the one that it names, or the first. */
export function chosen(all, state) {
  return all.indexes.find((index) => index.name === state.index) ?? all.indexes[0];
}

const SPELLED = { likely: "likely copy" };

/** Return what a distance means, as {kind, text}; null if the service does not say. */
export function meaning(index, distance) {
  const kind = index.words?.find((entry) => distance <= entry.within)?.word;
  return kind ? { kind, text: SPELLED[kind] ?? kind } : null;
}
