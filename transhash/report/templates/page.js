"use strict";
const look = { actions: false, ast: true, renderer: "svg", tooltip: { theme: "page" } };

function draw(chart) {
  const spec = JSON.parse(document.getElementById(chart.dataset.spec).textContent);
  vegaEmbed(chart, spec, look).then(() => { chart.dataset.drawn = "yes"; });
}

for (const chart of document.querySelectorAll(".chart")) {
  const folded = chart.closest("details");
  if (folded) folded.addEventListener("toggle", () => draw(chart), { once: true });
  else draw(chart);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, body = head.closest("table").tBodies[0];
    const up = head.getAttribute("aria-sort") === (button.dataset.first || "ascending") ? -1 : 1;
    const order = (button.dataset.first || "ascending") === "ascending" ? up : -up;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.value;
    const rows = [...body.rows];
    rows.sort((one, two) => {
      const a = key(one), b = key(two);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      const less = button.dataset.kind === "number" ? a - b : a.localeCompare(b);
      return order * less;
    });
    body.append(...rows);
  });
}
