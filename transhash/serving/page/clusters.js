/** A cluster of near-duplicates: its images side by side, with what tells them apart. */

import { imageAddress } from "./api.js";
import { thumbnail } from "./cards.js";
import { isEmpty, isFixed } from "./choice.js";
import { fresh, h, icon, iconButton, pathOf } from "./dom.js";
import { bits, day, pixels, plural, shown, size } from "./format.js";
import { view } from "./viewer.js";

const REASONS = {
  protected: "In a protected folder: always stays",
  archived: "In an archive, which may have been replaced",
  changed: "Has changed since it was encoded",
  unverified: "May have changed since it was encoded",
  missing: "The file is gone",
};

const DESCRIBED = 200; // images of a cluster whose files the service has opened

/** Return what keeps an image from being chosen: a word, or null. */
const bar = (image) => (image.protected ? "protected" : isFixed(image) ? image.role : null);

/** Return the list item of a cluster. */
export function drawCluster(cluster, { state, index, choice }) {
  const title = h("h2", { id: fresh("cluster") }, `Cluster ${cluster.cluster}`);
  const note = h("span", { class: "note" });
  const best = bestOf(cluster.images);
  const cards = cluster.images.map((image, place) => drawImage(image, place, best, { cluster, state, index, choice }));
  const all = h("button", { type: "button", class: "quiet", onclick: () => choice.choose(cluster, new Set()) }, "Keep all");
  const element = h("li", { class: "cluster" },
    h("section", { "aria-labelledby": title.id }, h("header", {}, title, note, all), h("ul", { class: "members" }, cards.map((card) => card.element))));

  function update() {
    const removed = choice.removed(cluster);
    for (const card of cards) card.update(removed);
    const empty = removed.size > 0 && isEmpty(cluster, removed);
    note.textContent = `${plural(cluster.images.length, "image")}, ${removed.size ? `${removed.size} to remove` : "all stay"}${empty ? ": nothing stays" : ""}`;
    element.classList.toggle("emptied", empty);
    all.hidden = removed.size === 0;
  }

  choice.listen((changed) => { if (changed === null || changed === cluster) update(); });
  update();
  return element;
}

function drawImage(image, place, best, { cluster, state, index, choice }) {
  const path = shown(image.path);
  const fixed = bar(image);
  const shows = place >= DESCRIBED || image.width !== null;
  const box = h("input", { type: "checkbox", disabled: fixed !== null, autocomplete: "off", "aria-label": `Remove ${path}` });
  const mark = h("span", { class: "mark" });
  const others = cluster.images.filter((other) => other.id !== image.id && !isFixed(other)).map((other) => other.id);
  box.addEventListener("change", () => {
    const removed = choice.removed(cluster);
    removed[box.checked ? "add" : "delete"](image.id);
    choice.choose(cluster, removed);
  });
  const only = h("button", { type: "button", class: "quiet", "aria-label": `Keep only ${path}`, onclick: () => choice.choose(cluster, new Set(others)) }, "Keep only this");
  const element = h("li", { class: "member" },
    h("label", { class: "picture", title: fixed ? REASONS[fixed] : "Click to keep or remove" }, box, thumbnail(index, image, { shows, sizes: "(max-width: 40rem) 50vw, 15rem" }), mark),
    index.images ? iconButton(place ? "compare" : "open", place ? `Compare ${path} with the first image` : `Look at ${path}`, () => compare(image, { cluster, state, index, choice }), { class: "icon over" }) : null,
    h("div", { class: "about" },
      h("dl", {}, fact("Pixels", pixels(image), best.pixels === area(image)), fact("Size", image.bytes === null ? null : size(image.bytes), best.bytes === image.bytes),
        fact("Date", day(image.modified), best.modified === day(image.modified)), fact("Distance", place ? bits(image.distance) : "first image", false)),
      pathOf(path),
      fixed ? h("span", { class: "reason" }, icon("warning"), REASONS[fixed]) : only));

  function update(removed) {
    box.checked = removed.has(image.id);
    element.classList.toggle("goes", box.checked);
    mark.textContent = box.checked ? "Remove" : fixed ?? "Keep";
    only.hidden = !box.checked && others.every((id) => removed.has(id));
  }
  return { element, update };
}

const area = (image) => (image.width && image.height ? image.width * image.height : null);

/** Return the most pixels and bytes and the oldest date, where the images differ in them. */
function bestOf(images) {
  const pick = (values, choose) => {
    const known = values.filter((value) => value !== null);
    return new Set(known).size > 1 ? choose(...known) : undefined;
  };
  return {
    pixels: pick(images.map(area), Math.max),
    bytes: pick(images.map((image) => image.bytes), Math.max),
    modified: pick(images.map((image) => day(image.modified)), (...days) => days.sort()[0]),
  };
}

function fact(name, value, isBest) {
  return value === null ? null : h("div", { class: isBest ? "best" : null }, h("dt", {}, name), h("dd", {}, value));
}

function compare(image, { cluster, state, index, choice }) {
  const [first, ...rest] = cluster.images;
  const isFirst = image.id === first.id;
  const reference = isFirst ? null : { id: first.id, title: shown(first.path), source: imageAddress(index.name, first.id) };
  const items = isFirst ? [first] : rest;
  view({ index, state, reference, items, start: items.indexOf(image), actions: (item) => (isFixed(item) ? [] : [toggle(item, cluster, choice)]) });
}

/** Return the button that keeps or removes the image that is looked at. */
function toggle(item, cluster, choice) {
  const text = () => (choice.removed(cluster).has(item.id) ? "Keep it" : "Remove it");
  const button = h("button", { type: "button" }, text());
  button.addEventListener("click", () => {
    const removed = choice.removed(cluster);
    removed[removed.has(item.id) ? "delete" : "add"](item.id);
    choice.choose(cluster, removed);
    button.textContent = text();
  });
  return button;
}
