/** The rules by which images are kept: radius, keep, and folders that count more. */

import { combobox } from "./combobox.js";
import { fresh, h, iconButton } from "./dom.js";
import { foldersOf } from "./filters.js";
import { radius } from "./radius.js";
import { change } from "./router.js";

const KEEP = { largest: "the largest file", oldest: "the oldest file", path: "the first path" };
const FOLDERS = { prefer: ["Prefer a folder", "preferred "], reference: ["Protect a folder", "protected "] };

/** Return the controls for a view of duplicates. */
export function rules(state, index) {
  const slider = radius((fields) => change(fields, true), { open: false });
  slider.update(state.radius ?? index.default_radius, index);
  const keep = h("select", { id: fresh("keep"), onchange: (event) => change({ keep: event.target.value }) },
    Object.entries(KEEP).map(([value, text]) => h("option", { value, selected: value === (state.keep ?? "largest") }, text)));
  const chips = h("ul", { class: "chips", "aria-label": "Folders" }, Object.keys(FOLDERS).flatMap((field) => state[field].map((folder) => chip(state, field, folder))));
  chips.hidden = !chips.children.length;
  return h("div", { class: "wide" },
    h("div", { class: "tools", role: "group", "aria-label": "Rules" }, slider.element,
      h("div", { class: "keep" }, h("label", { for: keep.id }, "Keep"), keep),
      index.images ? Object.keys(FOLDERS).map((field) => folders(state, index, field)) : null),
    chips);
}

function chip(state, field, folder) {
  const rest = state[field].filter((one) => one !== folder);
  return h("li", { class: "chip" }, h("span", {}, h("small", {}, FOLDERS[field][1]), folder), iconButton("close", `Remove ${FOLDERS[field][1]}${folder}`, () => change({ [field]: rest })));
}

function folders(state, index, field) {
  return combobox({
    label: FOLDERS[field][0],
    placeholder: FOLDERS[field][0],
    free: true,
    complete: (text, signal) => foldersOf(index, text, signal),
    choose: (folder) => { if (!state[field].includes(folder)) change({ [field]: [...state[field], folder] }); },
  });
}
