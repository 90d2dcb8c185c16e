/** The second look before a list is saved or files are moved to the trash: at the files as they are now. */

import { imageAddress, postWhenDone, thumbnailAddress } from "./api.js";
import { whenBlank } from "./cards.js";
import { h, icon, iconButton, pathOf } from "./dom.js";
import { count, plural, shown, size } from "./format.js";

const TOGETHER = 20; // files of a request to move some to the trash: each is decoded and compared
const FORMATS = { lines: "one path per line", nul: "paths that end in NUL, for xargs -0", json: "JSON" };

/** Open the dialog for what was chosen; `asked` holds the index and the rules. */
export function review({ index, asked, choice, allowTrash, onTrashed }) {
  const fault = h("p", { class: "fault", role: "alert" });
  const body = h("div", { class: "body" }, h("p", { class: "busy" }, h("span", { class: "spinner" }), "Looking at the files again …"), fault);
  const title = h("h2", { id: "review-title" }, `${plural(choice.ids.length, "image")} to remove`);
  const dialog = h("dialog", { class: "review", "aria-labelledby": "review-title", onclose: () => dialog.remove() },
    h("header", {}, title, iconButton("close", "Close", () => dialog.close())), body);

  const send = async (run) => {
    fault.textContent = "";
    try {
      await run();
    } catch (error) {
      fault.textContent = error.message;
    }
  };

  const ask = (remove, fields) => {
    const among = new Set(remove);
    return postWhenDone("/v1/review", { ...asked, remove, last_copies: choice.lastCopies.filter((id) => among.has(id)), ...fields });
  };

  async function look() {
    const checked = await (await ask(choice.ids, { action: "check" })).json();
    const refused = new Set(checked.refused.map(({ id }) => id));
    const ids = choice.ids.filter((id) => !refused.has(id));
    title.textContent = `${plural(checked.images, "image")} to remove, ${size(checked.bytes)}`;
    body.replaceChildren(refusals(checked.refused), gallery(index, checked), ids.length ? acting(ids, checked) : "", fault);
  }

  function acting(ids, checked) {
    const { emptied } = choice;
    const among = new Set(choice.lastCopies);
    const given = emptied > 0 && ids.some((id) => among.has(id));
    const parts = h("fieldset", { class: "acting", disabled: given }, saving(checked, (format) => send(() => save(ids, format))),
      allowTrash ? trashing(ids, () => send(() => trash(ids))) : "");
    if (!given) return parts;
    const sure = h("input", { type: "checkbox", id: "last", autocomplete: "off", onchange: () => { parts.disabled = !sure.checked; } });
    return h("div", { class: "acting" }, h("p", { class: "warning" }, icon("warning"), `Nothing stays of ${plural(emptied, "cluster")}.`),
      h("div", { class: "buttons" }, sure, h("label", { for: "last" }, `Remove all images of ${plural(emptied, "cluster")}, without keeping a copy`)), parts);
  }

  async function save(ids, format) {
    const answer = await ask(ids, { action: "list", format });
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
    download(await answer.blob(), name ?? "transhash-remove.txt");
  }

  async function trash(ids) {
    const sum = { trashed: [], failed: [], bytes: 0 };
    const progress = h("progress", { max: ids.length, value: 0, "aria-label": "Moving files" });
    body.replaceChildren(progress, fault);
    try {
      for (let start = 0; start < ids.length; start += TOGETHER) {
        const remove = ids.slice(start, start + TOGETHER);
        const answer = await (await ask(remove, { action: "trash", confirm: remove.length })).json();
        sum.trashed.push(...answer.trashed);
        sum.failed.push(...answer.failed);
        sum.bytes += answer.bytes;
        progress.value = start + remove.length;
      }
    } finally {
      choice.forget(sum.trashed.map(({ id }) => id));
      body.replaceChildren(trashed(sum, () => { dialog.close(); onTrashed(); }), fault);
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  send(look);
}

/** Return the list of images that were chosen and must stay. */
function refusals(refused) {
  if (!refused.length) return "";
  return h("section", {}, h("h3", {}, `${plural(refused.length, "chosen image")} must stay`), reasons(refused));
}

const reasons = (images) => h("ul", { class: "failed", tabindex: 0 }, images.map((one) => h("li", {}, `${shown(one.path)}: ${one.reason}`)));

/** Return pairs of an image that goes and a copy that stays. */
function gallery(index, { images, going }) {
  const picture = (id, path, text) => {
    const name = h("span", { class: "path", title: shown(path) }, shown(path));
    if (!index.images) return h("figure", {}, h("figcaption", {}, h("b", {}, text), name));
    const image = h("img", { src: thumbnailAddress(index.name, id, 256), alt: `${text}: ${shown(path)}`, title: shown(path), loading: "lazy", width: 160, height: 120 });
    const link = h("a", { href: imageAddress(index.name, id, false), target: "_blank", rel: "noopener" }, image);
    whenBlank(image, () => link.replaceWith(h("span", { class: "blank" }, icon("image"))));
    return h("figure", {}, link, h("figcaption", {}, h("b", {}, text), pathOf(shown(path))));
  };
  const pairs = going.map((image) => h("li", {}, picture(image.id, image.path, `Goes, ${size(image.bytes)}`),
    image.stays === null ? h("p", { class: "danger" }, "No copy stays") : picture(image.stays, image.stays_path, "Stays")));
  return h("div", { class: "going", tabindex: 0, role: "region", "aria-label": "Images to remove" }, h("ul", {}, pairs), images > going.length ? h("p", {}, `and ${count(images - going.length)} more`) : null);
}

function saving({ line_breaks: broken }, save) {
  const select = h("select", { id: "format" }, Object.entries(FORMATS).map(([value, text]) => h("option", { value, disabled: broken && value === "lines", selected: broken && value === "nul" }, text)));
  const command = h("code", {});
  const tell = () => {
    const nul = select.value === "nul";
    command.textContent = select.value === "json" ? "" : nul
      ? "th index remove INDEX --list transhash-remove.txt -0\nxargs -0 trash < transhash-remove.txt"
      : "th index remove INDEX --list transhash-remove.txt\nxargs -d '\\n' trash < transhash-remove.txt";
    command.parentElement.hidden = !command.textContent;
  };
  const box = h("section", { "aria-labelledby": "save-title" }, h("h3", { id: "save-title" }, "Save a list"), h("p", {}, "Nothing is deleted. The list is for other commands:"), h("pre", {}, command),
    broken ? h("p", {}, "A name contains a line break, so the paths cannot be one per line.") : null,
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
    h("div", { class: "buttons" }, sure, h("label", { for: "sure" }, "I have looked at them")), button);
}

function trashed(answer, done) {
  return h("div", {}, h("p", { role: "status" }, `Moved ${plural(answer.trashed.length, "file")} to the trash, ${size(answer.bytes)}.`),
    answer.failed.length ? h("section", {}, h("h3", {}, `${plural(answer.failed.length, "file")} stayed`), reasons(answer.failed)) : null,
    h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: done }, "Done")));
}

function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
