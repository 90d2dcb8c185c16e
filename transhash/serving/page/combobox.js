/** A text field that completes what is typed, after the combobox pattern of the ARIA Authoring Practices Guide. */

import { debounced, fresh, h } from "./dom.js";

const WAIT = 120;

/**
 * Return an element with a field and its list.
 * `complete(text, signal)` returns options {value, text, note, more}; `choose(value)` takes what was chosen or typed.
 * An option with `more` stays in the field, to be completed further.
 */
export function combobox({ label, placeholder, complete, choose, free = false }) {
  const list = h("ul", { role: "listbox", id: fresh("list"), "aria-label": label, hidden: true });
  const input = h("input", {
    type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list",
    "aria-label": label, placeholder, autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "done",
  });
  let options = [];
  let active = -1;
  let request = null;
  let closed = true; // what was typed before that is not completed any more

  function show(found) {
    options = found;
    list.replaceChildren(...found.map((option, place) => h("li", {
      role: "option", id: `${list.id}-${place}`, "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(), onclick: () => take(option),
    }, h("span", {}, option.text), option.note ? h("small", {}, option.note) : null)));
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    point(-1);
  }

  function point(place) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = place;
    const option = list.children[active];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
  }

  async function look() {
    if (closed) return;
    request?.abort();
    request = new AbortController();
    try {
      const found = await complete(input.value, request.signal);
      if (!closed && document.activeElement === input) show(found);
    } catch (error) {
      if (error.name !== "AbortError") show([]);
    }
  }

  function take(option) {
    input.value = option.more ? option.value : "";
    if (option.more) {
      input.focus();
      look();
    } else {
      close();
      choose(option.value);
    }
  }

  function close() {
    closed = true;
    request?.abort();
    show([]);
  }

  function enter() {
    if (active >= 0) take(options[active]);
    else if (free && input.value.trim()) take({ value: input.value.trim() });
    else if (!free && options.length && input.value) take(options[0]);
  }

  const keys = {
    ArrowDown: () => point(Math.min(active + 1, options.length - 1)),
    ArrowUp: () => point(Math.max(active - 1, -1)),
    Enter: enter,
    Escape: close,
  };
  input.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.isComposing) return;
    if (event.key !== "Escape" || !list.hidden) event.preventDefault();
    keys[event.key]();
  });
  const soon = debounced(look, WAIT);
  const open = () => { closed = false; };
  input.addEventListener("input", () => { open(); soon(); });
  input.addEventListener("focus", () => { open(); look(); });
  input.addEventListener("click", () => { if (list.hidden) { open(); look(); } });
  input.addEventListener("blur", close);
  return h("div", { class: "combobox" }, input, list);
}
