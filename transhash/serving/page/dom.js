/** Elements in one expression. Text is always set as text, never parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: `on…` are listeners, booleans are attributes without a value, null leaves an attribute out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make an icon of the sprite in index.html; it is decoration, so its button needs a name of its own. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/** Make a button that shows an icon, with a name for those who do not see it. */
export function iconButton(name, label, onclick, attributes = {}) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...attributes }, icon(name));
}

/** Return a path that breaks between its parts. */
export function pathOf(text) {
  const parts = text.split(/(?<=[/_\- ])/);
  return h("span", { class: "path", title: text }, parts.flatMap((part) => [part, document.createElement("wbr")]));
}

export const $ = (selector, root = document) => root.querySelector(selector);

/** Say something to screen readers. */
export function announce(text) {
  $("#announcer").textContent = text;
}

let ids = 0;

/** Return an id that no other element has. */
export const fresh = (prefix) => `${prefix}-${++ids}`;

/** Return a function that calls `run` once no call came for `wait` milliseconds. */
export function debounced(run, wait) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...values), wait);
  };
}
