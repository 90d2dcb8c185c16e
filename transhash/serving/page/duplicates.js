/** The view of near-duplicates: rules, clusters, and what will go. */

import { getWhenDone } from "./api.js";
import { Choice } from "./choice.js";
import { drawCluster } from "./clusters.js";
import { h, icon } from "./dom.js";
import { bits, plural, size } from "./format.js";
import { grid, notice } from "./grid.js";
import { review } from "./review.js";
import { change } from "./router.js";
import { rules } from "./rules.js";

const PAGE = 20;

let fresh = false; // whether the next view looks at the files again

/** Return the view; `all` is the list of indexes, with what the server allows. */
export function duplicates(state, index, all) {
  if (!index.codes) {
    const box = notice("empty", "No duplicates can be looked for", "This collection is on a server, or its index does not keep its codes.");
    return { element: box, stop: () => {} };
  }
  const radius = state.radius ?? index.default_radius;
  const progress = h("progress", { "aria-label": "Comparing images", hidden: true });
  const { keep, prefer, reference } = state;
  const asked = { index: index.name, radius, keep: keep ?? "largest", prefer, reference };
  const remarks = h("p", { class: "remarks", hidden: true });
  const amount = h("p", { role: "status" });
  const undo = h("button", { type: "button", onclick: () => choice.reset() }, "Undo changes");
  const go = h("button", { type: "button", class: "primary", onclick: () => review({ index, asked, choice, allowTrash: all.allow_trash, onTrashed: () => change({}) }) }, "Review and export …");
  const bar = h("div", { class: "bar", role: "region", "aria-label": "What will go", hidden: true }, amount, h("div", { class: "buttons" }, undo, go));
  let choice = null;
  let totals = null;
  const list = grid({
    kind: "clusters",
    name: "Clusters of near-duplicates",
    page,
    draw: (cluster) => drawCluster(cluster, { state, index, choice }),
    tell: () => (totals.clusters ? `${plural(totals.clusters, "cluster")} of ${plural(totals.images, "image")} within ${bits(radius)}` : ""),
    nothing: () => notice("empty", "No near-duplicates", `No two images are within ${bits(radius)} of each other.`,
      h("button", { type: "button", class: "primary", onclick: () => change({ radius: radius + 4 }) }, `Look within ${bits(radius + 4)}`)),
  });

  async function page(cursor, signal) {
    const query = { index: index.name, radius: state.radius, keep, prefer, reference, limit: PAGE, cursor };
    const answer = await getWhenDone("/v1/duplicates", query, signal, ({ done, total }) => {
      progress.hidden = false;
      progress.max = Math.max(1, total);
      progress.value = done;
    }, { fresh: fresh || null });
    fresh = false;
    progress.hidden = true;
    if (cursor === null) await begin(answer, signal);
    return { items: answer.clusters, total: totals.clusters, cursor: answer.cursor };
  }

  async function begin(answer, signal) {
    totals = answer.totals;
    choice = new Choice(answer, `choice by hand ${index.name}`);
    await choice.restore(asked, signal);
    choice.listen(tell);
    tell();
    const said = remarksOn(totals);
    remarks.replaceChildren(icon("warning"), said);
    remarks.hidden = !said;
  }

  function tell() {
    const many = choice.ids.length;
    bar.hidden = totals.clusters === 0;
    amount.replaceChildren(h("b", {}, `${plural(many, "image")} to remove`), h("span", {}, `frees ${size(choice.bytes)}`),
      choice.changed ? h("span", { class: "dim" }, `${plural(choice.changed, "cluster")} changed by hand`) : "",
      choice.emptied ? h("span", { class: "danger" }, `nothing stays of ${plural(choice.emptied, "cluster")}`) : "");
    undo.hidden = !choice.changed;
    go.disabled = many === 0;
  }

  const head = h("div", { class: "head" }, h("h1", {}, "Near-duplicates"), h("p", { class: "dim" }, `Click an image to keep or remove it. ${all.allow_trash ? "Files go to the trash only after a second look." : "Nothing is deleted here."}`),
    h("button", { type: "button", class: "quiet", title: "Files may have changed since", onclick: () => { fresh = true; change({}); } }, "Look again"));
  const element = h("div", { class: "duplicates" }, head, rules(state, index), progress, remarks, list.element, bar);
  return { element, stop: list.stop, isStale: () => choice?.isStale ?? false };
}

/** Return what is to be known about larger files that go, and about files that are neither kept nor removed. */
function remarksOn(totals) {
  const parts = [];
  if (totals.changed) parts.push(`${plural(totals.changed, "file")} changed since encoding`);
  if (totals.missing) parts.push(`${plural(totals.missing, "file")} ${totals.missing === 1 ? "is" : "are"} gone`);
  if (totals.unverified) parts.push(`${plural(totals.unverified, "file")} may have changed: the index was built without sizes and times`);
  const files = parts.length ? `${parts.join(", ")}: neither kept nor removed. th encode --sync brings the codes up to date. ` : "";
  const larger = totals.larger ? `Careful: ${plural(totals.larger, "image")} to remove ${totals.larger === 1 ? "has a larger file" : "have larger files"} than the copy that stays. ` : "";
  const chained = totals.chained ? `${plural(totals.chained, "image")} linked to a cluster only through others ${totals.chained === 1 ? "stays" : "stay"}; a smaller radius separates them.` : "";
  return `${larger}${files}${chained}`.trim();
}
