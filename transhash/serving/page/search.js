/** The pages of a search, and of browsing without one. */

import { get, post } from "./api.js";
import { isSearch } from "./state.js";
import { firstAnswer } from "./uploads.js";

const PAGE = 60;

/** Return the fields of a search but for what it is for. */
export function queryOf(state, index) {
  const query = { index, k: PAGE };
  if (state.radius !== null) query.radius = state.radius;
  if (state.labels.length) query.labels = state.labels;
  if (state.globs.length) query.globs = state.globs;
  return query;
}

/** Return a function from a cursor, null at first, to {items, total, cursor, query}. */
export function pages(state, index) {
  return isSearch(state) ? searching(state, index) : browsing(state, index);
}

function searching(state, index) {
  const query = queryOf(state, index.name);
  const subject = state.id === null ? { code: state.code } : { id: state.id };
  return async (cursor, signal) => {
    const known = cursor === null && state.id === null ? firstAnswer(state.code, query) : null;
    const body = cursor === null ? { ...query, ...subject } : { cursor, k: PAGE };
    const answer = known ?? await (await post("/v1/search", body, { signal })).json();
    return { items: answer.matches, total: null, cursor: answer.cursor, query: answer.query };
  };
}

function browsing(state, index) {
  const { labels, globs, order, seed } = state;
  return (cursor, signal) => get("/v1/items", { index: index.name, label: labels, glob: globs, order, seed, limit: PAGE, cursor }, signal);
}
