/** A text field that completes what is typed, after the combobox pattern of the ARIA Authoring Practices Guide. */

import { debounced, fresh, h } from "./dom.js";

const WAIT = 120; // milliseconds without a key, before completions are asked for

/**
 * Return an element with a field and its list.
 * `complete(text, signal)` returns options {value, text, note, more}; `choose(value)` takes what was chosen or, with
 * `free`, typed. An option with `more` can be completed further: by the arrow at its end, or the right arrow key.
 */
export const combobox = (settings) => new Combobox(settings).element;

class Combobox {
  #settings;
  #input;
  #list;
  #options = [];
  #active = -1;
  #text = null; // what the options complete
  #request = null;
  #isClosed = true; // what was typed is not completed any more

  constructor(settings) {
    const { label, placeholder } = settings;
    this.#settings = settings;
    this.#list = h("ul", { role: "listbox", id: fresh("list"), "aria-label": label, hidden: true });
    this.#input = h("input", {
      type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": this.#list.id, "aria-autocomplete": "list",
      "aria-label": label, placeholder, autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "done",
    });
    this.#listen();
    this.element = h("div", { class: "combobox" }, this.#input, this.#list);
  }

  #listen() {
    const soon = debounced(() => this.#look(), WAIT);
    const open = (look) => {
      this.#isClosed = false;
      look();
    };
    const now = () => this.#look();
    this.#input.addEventListener("input", () => open(soon));
    this.#input.addEventListener("focus", () => open(now));
    this.#input.addEventListener("click", () => { if (this.#list.hidden) open(now); });
    this.#input.addEventListener("blur", () => this.#close());
    this.#input.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const keys = {
      ArrowDown: () => this.#point(Math.min(this.#active + 1, this.#options.length - 1)),
      ArrowUp: () => this.#point(Math.max(this.#active - 1, -1)),
      Enter: () => this.#enter(),
      Escape: () => this.#close(),
    };
    if (this.#options[this.#active]?.more) keys.ArrowRight = () => this.#descend(this.#options[this.#active]);
    if (!keys[event.key] || event.isComposing) return;
    if (event.key !== "Escape" || !this.#list.hidden) event.preventDefault();
    keys[event.key]();
  }

  #enter() {
    const text = this.#input.value.trim();
    if (this.#active >= 0) this.#take(this.#options[this.#active]);
    else if (text && this.#settings.free) this.#take({ value: text });
    else if (text && this.#options.length) this.#take(this.#options[0]);
  }

  async #look() {
    if (this.#isClosed) return;
    this.#request?.abort();
    this.#request = new AbortController();
    const text = this.#input.value;
    try {
      const found = await this.#settings.complete(text, this.#request.signal);
      if (!this.#isClosed) this.#show(found, text);
    } catch (error) {
      if (error.name !== "AbortError") this.#show([]);
    }
  }

  /** List options; those of the same text again keep the mark where it is. */
  #show(options, text = null) {
    const marked = text !== null && text === this.#text && this.#active < options.length ? this.#active : -1;
    this.#text = text;
    this.#options = options;
    this.#list.replaceChildren(...options.map((option, place) => h("li", {
      role: "option", id: `${this.#list.id}-${place}`, "aria-selected": "false",
      onpointerdown: (event) => event.preventDefault(), onclick: () => this.#take(option),
    }, h("span", {}, option.text), option.note ? h("small", {}, option.note) : null,
    option.more ? h("span", { class: "deeper", title: `Folders in ${option.text}`, onclick: (event) => { event.stopPropagation(); this.#descend(option); } }, "›") : null)));
    this.#list.hidden = options.length === 0;
    this.#input.setAttribute("aria-expanded", String(!this.#list.hidden));
    this.#point(marked);
  }

  /** Mark an option; the focus stays in the field. */
  #point(place) {
    this.#list.children[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = place;
    const option = this.#list.children[place];
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) this.#input.setAttribute("aria-activedescendant", option.id);
    else this.#input.removeAttribute("aria-activedescendant");
  }

  #take(option) {
    this.#input.value = "";
    this.#close();
    this.#settings.choose(option.value);
  }

  /** Complete an option further. */
  #descend(option) {
    this.#input.value = option.value;
    this.#input.focus();
    this.#look();
  }

  #close() {
    this.#isClosed = true;
    this.#request?.abort();
    this.#show([]);
  }
}
