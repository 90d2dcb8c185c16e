/** The indexes that the server has, and what their distances mean. */

import { get } from "./api.js";

let known = null;

/** Load the list of indexes; it is asked for again when `again` is set, since an index may have been replaced. */
export async function collections(again = false) {
  if (known === null || again) known = await get("/v1/indexes");
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
