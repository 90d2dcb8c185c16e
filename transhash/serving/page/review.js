/** The second look before a list is saved or files are moved to the trash. */

import { post, thumbnailAddress } from "./api.js";
import { h, icon, iconButton } from "./dom.js";
import { count, plural, shown, size } from "./format.js";

const SHOWN = 400;
const TOGETHER = 100; // files of a request to move some to the trash
const FORMATS = { lines: "one path per line", nul: "paths that end in NUL, for xargs -0", json: "JSON" };

/** Open the dialog for what was chosen. */
export function review({ index, choice, allowTrash, onTrashed }) {
  const { ids, bytes, emptied } = choice;
  const fault = h("p", { class: "fault", role: "alert" });
  const body = h("div", { class: "body" });
  const dialog = h("dialog", { class: "review", "aria-labelledby": "review-title", onclose: () => dialog.remove() },
    h("header", {}, h("h2", { id: "review-title" }, `${plural(ids.length, "image")} to remove, ${size(bytes)}`), iconButton("close", "Close", () => dialog.close())), body);

  async function send(run) {
    fault.textContent = "";
    try {
      await run();
    } catch (error) {
      fault.textContent = error.message;
    }
  }

  async function save(format) {
    const answer = await post("/v1/review", { index: index.name, remove: ids, action: "list", format });
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
    download(await answer.blob(), name ?? "transhash-remove.txt");
  }

  async function trash() {
    const sum = { trashed: [], failed: [], bytes: 0 };
    const progress = h("progress", { max: ids.length, value: 0, "aria-label": "Moving files" });
    body.replaceChildren(progress, fault);
    try {
      for (let start = 0; start < ids.length; start += TOGETHER) {
        const remove = ids.slice(start, start + TOGETHER);
        const answer = await (await post("/v1/review", { index: index.name, remove, action: "trash", confirm: remove.length })).json();
        sum.trashed.push(...answer.trashed);
        sum.failed.push(...answer.failed);
        sum.bytes += answer.bytes;
        progress.value = start + remove.length;
      }
    } finally {
      choice.reset();
      body.replaceChildren(trashed(sum, () => { dialog.close(); onTrashed(); }), fault);
    }
  }

  body.append(
    emptied ? h("p", { class: "warning" }, icon("warning"), `Nothing stays of ${plural(emptied, "cluster")}.`) : "",
    gallery(index, ids), saving((format) => send(() => save(format))), allowTrash ? trashing(ids, () => send(trash)) : "", fault);
  document.body.append(dialog);
  dialog.showModal();
}

function gallery(index, ids) {
  const tiles = ids.slice(0, SHOWN).map((id) => h("li", {}, index.images
    ? h("img", { src: thumbnailAddress(index.name, id, 128), alt: `image ${id}`, loading: "lazy", width: 72, height: 72 })
    : `image ${id}`));
  return h("div", { class: "going", tabindex: 0, role: "region", "aria-label": "Images to remove" }, h("ul", {}, tiles), ids.length > SHOWN ? h("p", {}, `and ${count(ids.length - SHOWN)} more`) : null);
}

function saving(save) {
  const select = h("select", { id: "format" }, Object.entries(FORMATS).map(([value, text]) => h("option", { value }, text)));
  const command = h("code", {});
  const tell = () => {
    const nul = select.value === "nul";
    command.textContent = select.value === "json" ? "" : nul
      ? "th index remove INDEX --list transhash-remove.txt -0\nxargs -0 trash < transhash-remove.txt"
      : "th index remove INDEX --list transhash-remove.txt\nxargs -d '\\n' trash < transhash-remove.txt";
    command.parentElement.hidden = !command.textContent;
  };
  const box = h("section", { "aria-labelledby": "save-title" }, h("h3", { id: "save-title" }, "Save a list"), h("p", {}, "Nothing is deleted. The list is for other commands:"), h("pre", {}, command),
    h("div", { class: "buttons" }, h("label", { for: "format" }, "Format"), select, h("button", { type: "button", class: "primary", onclick: () => save(select.value) }, "Save the list")));
  select.addEventListener("change", tell);
  tell();
  return box;
}

/** Return the part that moves files to the trash: it works once the box is ticked. */
function trashing(ids, trash) {
  const button = h("button", { type: "button", class: "destructive", disabled: true, onclick: () => { button.disabled = true; trash(); } }, `Move ${plural(ids.length, "file")} to the trash`);
  const sure = h("input", { type: "checkbox", id: "sure", autocomplete: "off", onchange: () => { button.disabled = !sure.checked; } });
  return h("section", { "aria-labelledby": "trash-title" }, h("h3", { id: "trash-title" }, "Move to the trash"),
    h("p", {}, "The files go to the trash of the machine that runs th serve. The index keeps their rows until th index sync."),
    h("div", { class: "buttons" }, sure, h("label", { for: "sure" }, "I have looked at them"), button));
}

function trashed(answer, done) {
  return h("div", {}, h("p", { role: "status" }, `Moved ${plural(answer.trashed.length, "file")} to the trash, ${size(answer.bytes)}.`),
    answer.failed.length ? h("section", {}, h("h3", {}, `${plural(answer.failed.length, "file")} stayed`), h("ul", { class: "failed" }, answer.failed.map((one) => h("li", {}, `${shown(one.path)}: ${one.reason}`)))) : null,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: done }, "Done")));
}

function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
