/** The slider for the radius. */

import { meaning } from "./collections.js";
import { debounced, fresh, h } from "./dom.js";
import { bits } from "./format.js";

const WAIT = 150;

/** Return the slider and an `update(state, index)`; with `open`, its right end means any distance. */
export function radius(onChange, { open = true } = {}) {
  const input = h("input", { type: "range", min: 0, step: 1, id: fresh("radius") });
  const output = h("output", { for: input.id });
  let index = null;
  let most = 0;

  function tell() {
    const value = input.valueAsNumber;
    const known = value > most ? null : meaning(index, value);
    const text = value > most ? "any distance" : `${bits(value)}${known ? `, ${known.text}` : ""}`;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
    input.style.setProperty("--filled", `${(100 * value) / Math.max(1, Number(input.max))}%`);
  }

  const report = debounced(() => onChange({ radius: input.valueAsNumber > most ? null : input.valueAsNumber }), WAIT);
  input.addEventListener("input", () => {
    tell();
    report();
  });

  function update(value, which) {
    index = which;
    most = Math.max(value ?? 0, Math.round(index.bits / (open ? 2 : 4)));
    input.max = open ? most + 1 : most;
    if (document.activeElement !== input || input.value === "") input.valueAsNumber = value ?? Number(input.max);
    tell();
  }
  return { element: h("div", { class: "radius" }, h("label", { for: input.id }, "Radius"), input, output), update };
}
