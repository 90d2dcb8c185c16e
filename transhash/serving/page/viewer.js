/** The dialog in which images are looked at closely: one, or two side by side. */

import { get, imageAddress } from "./api.js";
import { distanceOf, whenBlank } from "./cards.js";
import { h, icon, iconButton } from "./dom.js";
import { day, pixels, shown, size } from "./format.js";
import { address, like } from "./state.js";
import { Zoom } from "./zoom.js";

/**
 * Open the dialog. `reference` {source, title, id} stays on the left, null for none; `items` can be stepped through, from
 * `start` on; `actions(item)` returns buttons.
 */
export function view({ index, state, reference, items, start, actions = () => [] }) {
  const stage = h("div", { class: "stage" });
  const title = h("h2", { id: "viewer-title" });
  const tools = h("div", { class: "buttons" });
  const more = h("div", { class: "buttons" });
  const before = iconButton("left", "Previous image", () => step(-1));
  const after = iconButton("right", "Next image", () => step(1));
  const close = () => dialog.close();
  const dialog = h("dialog", { class: "viewer", "aria-labelledby": "viewer-title", onclose: () => dialog.remove() },
    h("header", {}, title, tools, more, iconButton("close", "Close", close)), stage);
  let place = start;

  function step(by) {
    place += by;
    draw();
    const button = by < 0 ? before : after;
    (button.disabled ? (by < 0 ? after : before) : button).focus();
  }

  function draw() {
    const item = items[place];
    const panes = [pane(index, item.id, shown(item.path), imageAddress(index.name, item.id), item)];
    if (reference) panes.unshift(pane(index, reference.id, reference.title, reference.source, null));
    stage.replaceChildren(...panes.map((one) => one.element));
    stage.classList.toggle("two", panes.length === 2);
    title.textContent = reference ? "Side by side" : shown(item.path);
    before.disabled = place === 0;
    after.disabled = place === items.length - 1;
    const level = h("output", { "aria-label": "Zoom" });
    const zooming = new Zoom(panes.map((one) => one.frame), (scale) => { level.textContent = scale === 1 ? "Fit" : `${scale.toFixed(1)} ×`; });
    tools.replaceChildren(before, after,
      iconButton("minus", "Zoom out", () => zooming.farther()), level, iconButton("plus", "Zoom in", () => zooming.closer()), iconButton("fit", "Fit", () => zooming.reset()));
    more.replaceChildren(...actions(item), index.codes ? h("a", { class: "button", href: address(like(state, item.id)), "data-go": true, onclick: close }, "More like this") : "");
  }

  draw();
  document.body.append(dialog);
  dialog.showModal();
}

/** Return a frame with an image, and what is known about its file below. */
function pane(index, id, title, source, item) {
  const facts = h("p", { class: "facts" });
  const image = h("img", { src: source, alt: title, draggable: "false" });
  const frame = h("div", { class: "frame", tabindex: 0, role: "group", "aria-label": `${title}: plus and minus zoom, arrows move, 0 fits` }, image);
  whenBlank(image, () => frame.replaceChildren(h("span", { class: "blank" }, icon("image"), "This image cannot be shown.")));
  const caption = h("figcaption", {}, h("span", { class: "path" }, title), item?.distance === undefined ? null : distanceOf(index, item.distance), facts);
  if (id === null) image.addEventListener("load", () => { facts.textContent = `${image.naturalWidth} × ${image.naturalHeight}`; });
  else describe(index, id, facts);
  return { element: h("figure", {}, frame, caption), frame };
}

async function describe(index, id, facts) {
  try {
    const { file, labels } = await get(`/v1/items/${id}`, { index: index.name });
    const state = file && !["present", "archived"].includes(file.state) ? file.state : null;
    const known = file ? [pixels(file), file.bytes === null ? null : size(file.bytes), day(file.modified), state] : [];
    facts.textContent = [...known, labels.join(", ")].filter(Boolean).join(" · ");
  } catch (error) {
    facts.textContent = error.message;
  }
}
