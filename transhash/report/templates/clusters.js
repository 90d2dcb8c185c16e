"use strict";
const boxes = [...document.querySelectorAll("input[data-path]")];
const sections = [...document.querySelectorAll("main section")];
const STAYS = ["kept", "spare", "unrelated", "reference"].map((role) => `input:not(:checked)[data-role=${role}]`).join();
const at = (id) => document.getElementById(id);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/* Deleting a file frees its bytes once all its names are gone. */
function freed() {
  const files = new Map();
  for (const box of boxes) {
    const file = files.get(box.dataset.file) ?? { bytes: Number(box.dataset.bytes), all: true };
    file.all &&= box.checked;
    files.set(box.dataset.file, file);
  }
  return [...files.values()].reduce((sum, file) => sum + (file.all ? file.bytes : 0), 0);
}

function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${(bytes / 1000 ** unit).toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

function show() {
  const chosen = boxes.filter((box) => box.checked);
  at("count").textContent = `${plural(chosen.length, "image")} to remove, ${size(freed())}`;
  const emptied = sections.filter((section) => section.querySelector(":checked") && !section.querySelector(STAYS)).length;
  at("warning").textContent = emptied ? `Nothing stays of ${plural(emptied, "cluster")}.` : "";
  if (at("emptied").hidden = !emptied) at("sure").checked = false;
  for (const id of ["lines", "nulls"]) at(id).disabled = chosen.length === 0 || (emptied > 0 && !at("sure").checked);
}

function save(name, end) {
  const paths = boxes.filter((box) => box.checked).map((box) => Uint8Array.from(atob(box.dataset.path), (c) => c.charCodeAt(0)));
  if (end === "\n" && paths.some((path) => path.includes(10) || path.includes(13))) {
    at("warning").textContent = "A name has a line break: save for xargs -0.";
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(paths.flatMap((path) => [path, end])));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

document.addEventListener("change", show);
at("rule").addEventListener("click", () => { for (const box of boxes) box.checked = box.defaultChecked; show(); });
at("none").addEventListener("click", () => { for (const box of boxes) box.checked = false; show(); });
at("lines").addEventListener("click", () => save("remove.txt", "\n"));
at("nulls").addEventListener("click", () => save("remove.lst", "\0"));
show();
