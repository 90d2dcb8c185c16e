/** Images that were searched for in this tab: their pictures, by code, and the answer that came with the upload. */

import { post } from "./api.js";

const SIDE = 320;
const KEPT = 20;

const pictures = new Map();
let answered = null;

/** Search for an image that is not in the collection; returns its code. Filters are those of the view. */
export async function upload(file, query, signal) {
  const answer = await (await post("/v1/search", query, { image: file, signal })).json();
  answered = { code: answer.query.code, query: JSON.stringify(query), answer };
  pictures.set(answer.query.code, URL.createObjectURL(file));
  await remember(answer.query.code, file);
  return answer.query.code;
}

/** Return, once, the answer that came with the upload of an image, if it is the one to this query. */
export function firstAnswer(code, query) {
  const found = answered?.code === code && answered.query === JSON.stringify(query) ? answered.answer : null;
  answered = null;
  return found;
}

/** Return the address of an uploaded image; null if it was uploaded elsewhere. */
export const picture = (code) => pictures.get(code) ?? sessionStorage.getItem(`picture ${code}`);

/** Keep a small copy, so that the page can be loaded again. The image itself never leaves memory. */
async function remember(code, file) {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, SIDE / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.width * scale));
    canvas.height = Math.max(1, Math.round(image.height * scale));
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    const names = Object.keys(sessionStorage).filter((name) => name.startsWith("picture "));
    for (const name of names.slice(0, Math.max(0, names.length - KEPT))) sessionStorage.removeItem(name);
    sessionStorage.setItem(`picture ${code}`, canvas.toDataURL("image/jpeg", 0.8));
  } catch {
    // A format that the browser does not show, or a full store: the search works without a picture.
    if (!(await shows(file))) pictures.delete(code);
  }
}

async function shows(file) {
  return createImageBitmap(file).then(() => true, () => false);
}
