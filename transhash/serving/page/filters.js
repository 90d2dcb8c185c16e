/** Filters by label and by path: fields that complete, and a chip for each filter that is set. */

import { get } from "./api.js";
import { combobox } from "./combobox.js";
import { h, iconButton } from "./dom.js";
import { count } from "./format.js";

const OPTIONS = 20;

/** Return the fields and an `update(state, index)`; `onChange` is given the fields of the view that change. */
export function filters(onChange) {
  let state = null;
  let index = null;
  const chips = h("ul", { class: "chips", "aria-label": "Filters" });
  const add = (field, value) => { if (!state[field].includes(value)) onChange({ [field]: [...state[field], value] }); };
  const labels = combobox({
    label: "Filter by label",
    placeholder: "Label",
    complete: async (prefix, signal) => {
      const found = await get("/v1/labels", { index: index.name, prefix, limit: OPTIONS }, signal);
      return found.labels.map(({ name, count: many }) => ({ value: name, text: name, note: count(many) }));
    },
    choose: (label) => add("labels", label),
  });
  const paths = combobox({
    label: "Filter by path",
    placeholder: "Folder or name",
    free: true,
    complete: (text, signal) => foldersOf(index, text, signal),
    choose: (text) => add("globs", pattern(text)),
  });

  function update(now, which) {
    [state, index] = [now, which];
    labels.hidden = !index.labels;
    chips.replaceChildren(...["labels", "globs"].flatMap((field) => state[field].map((value) => h("li", { class: "chip" },
      h("span", {}, h("small", {}, field === "labels" ? "label " : "path "), value),
      iconButton("close", `Remove the filter ${value}`, () => onChange({ [field]: state[field].filter((one) => one !== value) }))))));
    chips.hidden = !chips.children.length;
  }
  return { fields: [labels, paths], chips, update };
}

/** Return the completions of a path: the folder that was typed, if it is whole, and those that begin like it. */
export async function foldersOf(index, prefix, signal) {
  const found = await get("/v1/folders", { index: index.name, prefix, limit: OPTIONS }, signal);
  const whole = prefix.endsWith("/") ? [{ value: prefix, text: `all of ${prefix}` }] : [];
  return [...whole, ...found.folders.map(({ path, count: many }) => ({ value: path, text: path, note: count(many), more: true }))];
}

/** Return the pattern for what was typed: a folder means all in it, a word means paths that contain it. */
function pattern(text) {
  if (/[*?[]/.test(text)) return text;
  return text.endsWith("/") ? `${text}*` : `*${text}*`;
}
