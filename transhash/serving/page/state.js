/** The view as the address tells it, so that a link reproduces it. */

const LISTS = { labels: "label", globs: "glob", prefer: "prefer", reference: "reference" };
const TEXTS = ["index", "code", "order", "keep"];
const NUMBERS = ["id", "radius", "seed"];

function whole(text) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** Read the part of an address after its question mark. */
export function read(search) {
  const parameters = new URLSearchParams(search);
  const state = { view: parameters.get("view") === "duplicates" ? "duplicates" : "images" };
  for (const name of TEXTS) state[name] = parameters.get(name) || null;
  for (const name of NUMBERS) state[name] = whole(parameters.get(name));
  for (const [name, parameter] of Object.entries(LISTS)) state[name] = parameters.getAll(parameter).filter(Boolean);
  return state;
}

/** Return the address of a view. */
export function address(state) {
  const parameters = new URLSearchParams();
  if (state.view === "duplicates") parameters.set("view", "duplicates");
  for (const name of [...TEXTS, ...NUMBERS]) {
    if (state[name] !== null && state[name] !== undefined) parameters.set(name, state[name]);
  }
  for (const [name, parameter] of Object.entries(LISTS)) {
    for (const value of state[name] ?? []) parameters.append(parameter, value);
  }
  const text = parameters.toString();
  return text ? `/?${text}` : "/";
}

/** Return whether a view shows what was found for an image. */
export const isSearch = (state) => state.id !== null || state.code !== null;

/** Return the view of images like one of the collection. Filters of a search stay; those by which the image was found do not. */
export function like(state, id) {
  const { index, labels, globs, radius } = state;
  return state.view === "images" && isSearch(state) ? { view: "images", index, id, labels, globs, radius } : { view: "images", index, id };
}
