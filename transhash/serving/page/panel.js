/** What stands above the images: the query, where to get one, and the filters. */

import { ask } from "./ask.js";
import { imageAddress, thumbnailAddress } from "./api.js";
import { announce, h, icon, iconButton } from "./dom.js";
import { filters } from "./filters.js";
import { shown } from "./format.js";
import { radius } from "./radius.js";
import { change, current, go } from "./router.js";
import { isSearch } from "./state.js";
import { queryOf } from "./search.js";
import { picture, upload } from "./uploads.js";

/** Return the panel of the view of images, and its `update(state, index, limit)`. */
export function panel() {
  const busy = h("p", { class: "busy", hidden: true }, h("span", { class: "spinner" }), "Searching for the image …");
  const fault = h("p", { class: "fault", role: "alert" });
  const query = h("div", { class: "query", hidden: true });
  const chooser = ask((file) => search(file), (file) => { fault.textContent = `${file.name} is not an image.`; });
  const slider = radius((fields) => change(fields, true));
  const filter = filters((fields) => change(fields));
  const shuffle = h("button", { type: "button", onclick: () => change({ order: "random", seed: randomSeed() }) }, icon("shuffle"), "Shuffle");
  const order = h("button", { type: "button", onclick: () => change({ order: "id", seed: null }) }, "In order");
  let index = null;
  let limit = Infinity;
  let request = null;

  async function search(file) {
    fault.textContent = "";
    if (file.size > limit) {
      fault.textContent = `The image has ${Math.round(file.size / 1e6)} MB; the server takes at most ${Math.round(limit / 1e6)} MB.`;
      return;
    }
    request?.abort();
    request = new AbortController();
    busy.hidden = false;
    announce("Searching for the image");
    try {
      const { signal } = request;
      const state = { ...current(), view: "images", id: null, order: null, seed: null };
      state.code = await upload(file, queryOf(state, index.name), signal);
      go(state);
    } catch (error) {
      if (error.name === "AbortError") return;
      fault.textContent = error.message;
    }
    busy.hidden = true;
  }

  function update(state, which, most) {
    [index, limit] = [which, most];
    const searching = isSearch(state);
    fault.textContent = "";
    chooser.classList.toggle("compact", searching);
    chooser.querySelector("h1").textContent = searching ? "Search with another image" : "Find images like this one";
    query.hidden = !searching;
    if (searching) query.replaceChildren(...describe(state, index));
    slider.element.hidden = !searching;
    shuffle.hidden = order.hidden = searching;
    order.setAttribute("aria-pressed", String(state.order !== "random"));
    slider.update(state.radius, index);
    filter.update(state, index);
  }

  const tools = h("div", { class: "tools", role: "group", "aria-label": "Filters and order" }, slider.element, filter.fields, shuffle, order);
  const top = h("div", { class: "asking" }, query, chooser);
  return { element: h("div", { class: "wide" }, top, busy, fault, tools, filter.chips), update };
}

const randomSeed = () => Math.floor(Math.random() * 1e9);

/** Return the elements that show the query of a search. */
function describe(state, index) {
  const source = state.id === null ? picture(state.code) : thumbnailAddress(index.name, state.id, 256);
  const whole = state.id === null ? source : imageAddress(index.name, state.id, false);
  const name = h("b", { class: "name" }, state.id === null ? "Your image" : `Image ${state.id}`);
  const image = source && (state.id === null || index.images) ? h("a", { href: whole, target: "_blank", rel: "noopener", "aria-label": "Open the query" }, h("img", { src: source, alt: "" })) : h("span", { class: "blank" }, icon("image"));
  const clear = { ...state, id: null, code: null, radius: null };
  return [
    image,
    h("div", { class: "words" }, h("small", {}, "Images like"), name),
    iconButton("close", "Back to all images", () => go(clear)),
  ];
}

/** Show the path of the query, which is known once the answer has come. */
export function nameQuery(path) {
  const name = document.querySelector(".query .name");
  if (name && path) name.textContent = shown(path);
}
