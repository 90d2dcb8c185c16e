/** Where a query image comes from: a file, the camera, the clipboard, or one that is dropped anywhere on the page. */

import { $, h, icon } from "./dom.js";

/** Return the element in which to choose an image; every image that is given goes to `onImage`, another file to `onOther`. */
export function ask(onImage, onOther) {
  const files = picker("choose", {}, onImage);
  const camera = picker("camera", { capture: "environment" }, onImage);
  listen(onImage, onOther);
  return h("div", { class: "ask" },
    h("h1", {}, "Find images like this one"),
    h("div", { class: "buttons" },
      h("label", { class: "button primary", for: "choose" }, icon("image"), "Choose an image"), files,
      h("label", { class: "button camera", for: "camera" }, icon("camera"), "Take a photo"), camera),
    h("p", { class: "hint mouse" }, "Drop or paste one anywhere on the page, or start from any image below."),
    h("p", { class: "hint touch" }, "Or start from any image below."));
}

/** Make a file input, hidden from view but not from the keyboard, for the label that is drawn as a button. */
function picker(id, attributes, onImage) {
  const input = h("input", { type: "file", id, accept: "image/*", class: "visually-hidden", ...attributes });
  input.addEventListener("change", () => {
    if (input.files.length) onImage(input.files[0]);
    input.value = "";
  });
  return input;
}

const firstImage = (list) => [...(list ?? [])].find((file) => file.type.startsWith("image/") || file.type === "");

function listen(onImage, onOther) {
  const cover = $("#drop");
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const isBusy = () => document.querySelector("dialog[open]") !== null;
  let depth = 0;
  const show = (on) => {
    depth = on ? depth : 0;
    cover.hidden = !on;
  };
  addEventListener("dragenter", (event) => {
    if (!carries(event) || isBusy()) return;
    depth++;
    show(true);
  });
  addEventListener("dragleave", () => { if (--depth <= 0) show(false); });
  addEventListener("dragover", (event) => { if (carries(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    show(false);
    if (isBusy()) return;
    const { files } = event.dataTransfer;
    const file = firstImage(files);
    if (file) onImage(file);
    else if (files.length) onOther(files[0]);
  });
  addEventListener("paste", (event) => {
    const file = firstImage(event.clipboardData?.files);
    if (!file || isBusy()) return;
    event.preventDefault();
    onImage(file);
  });
}
