/** An image of the grid: a click searches for more like it. */

import { thumbnailAddress } from "./api.js";
import { meaning } from "./collections.js";
import { h, icon, iconButton, pathOf } from "./dom.js";
import { bits, fileName, shown } from "./format.js";
import { address, isSearch, like } from "./state.js";

/** Return a thumbnail in a box of fixed shape, so that nothing moves while images load. */
export function thumbnail(index, item, { shows = true, sizes = "(max-width: 40rem) 50vw, 13rem" } = {}) {
  if (!index.images || !shows) return blank(item);
  const source = (size) => thumbnailAddress(index.name, item.id, size);
  const image = h("img", { src: source(256), srcset: `${source(256)} 256w, ${source(512)} 512w`, sizes, alt: "", loading: "lazy", decoding: "async" });
  whenBlank(image, () => image.replaceWith(blank(item)));
  return image;
}

/** Call a function if an image cannot be shown: the service then sends a single pixel. */
export function whenBlank(image, act) {
  image.addEventListener("error", act, { once: true });
  image.addEventListener("load", () => { if (Math.max(image.naturalWidth, image.naturalHeight) <= 1) act(); }, { once: true });
}

const blank = (item) => h("span", { class: "blank" }, icon("image"), h("span", {}, fileName(item.path)));

/** Return the word and the number of a distance. */
export function distanceOf(index, distance) {
  const found = meaning(index, distance);
  return h("span", { class: "distance" }, found ? h("b", { class: `word ${found.kind}` }, found.text) : null, h("span", {}, bits(distance)));
}

/** Return the list item of an image; `onOpen(item)` shows it beside the query. */
export function card(state, index, item, onOpen) {
  const found = isSearch(state);
  const path = shown(item.path);
  const far = found ? `, ${bits(item.distance)} apart` : "";
  const link = index.codes
    ? h("a", { href: address(like(state, item.id)), "data-go": true, class: "picture", "aria-label": `More like ${path}${far}`, title: "More like this" }, thumbnail(index, item))
    : h("span", { class: "picture" }, thumbnail(index, item));
  const opens = found ? ["compare", `Compare ${path} with the query`] : ["open", `Look at ${path}`];
  return h("li", { class: "card", dataset: { id: item.id } },
    link,
    index.images ? iconButton(...opens, () => onOpen(item), { class: "icon over" }) : null,
    h("div", { class: "about" },
      found ? distanceOf(index, item.distance) : null,
      pathOf(path),
      item.labels.length && !path.startsWith(`${item.labels.join("/")}/`) ? h("span", { class: "labels" }, item.labels.join(", ")) : null));
}
