/** Requests to the service, and its errors. */

import { signIn } from "./signin.js";

const TRIES = 4;

/** An error that the service describes (RFC 9457), or that it cannot be reached. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const waiting = (answer) => Math.min(5, Number(answer.headers.get("Retry-After")) || 1);

async function ask(path, options) {
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(path, { credentials: "same-origin", ...options });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(0, "The server cannot be reached. Is th serve still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401) await signIn();
    else if ([429, 503].includes(answer.status) && attempt < TRIES) await pause(waiting(answer));
    else throw await problem(answer);
  }
}

async function problem(answer) {
  try {
    const document = await answer.json();
    return new Problem(answer.status, document.detail || document.title);
  } catch {
    return new Problem(answer.status, `The server answered ${answer.status} ${answer.statusText}.`);
  }
}

function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") query.append(name, one);
    }
  }
  return `${path}?${query}`;
}

/** Return the JSON document at a path; null, undefined and empty parameters are left out. */
export async function get(path, parameters = {}, signal = undefined) {
  return (await ask(withQuery(path, parameters), { signal })).json();
}

/** As `get`, for what is computed while one waits: `onProgress` is told how far it is. Only the first request has `first`. */
export async function getWhenDone(path, parameters, signal, onProgress, first = {}) {
  for (let asked = { ...parameters, ...first }; ; asked = parameters) {
    const answer = await ask(withQuery(path, asked), { signal });
    const document = await answer.json();
    if (answer.status !== 202) return document;
    onProgress(document);
    await pause(waiting(answer));
    signal.throwIfAborted();
  }
}

/** Send JSON, or an image with JSON beside it, and return the answer. */
export function post(path, body, { image = null, signal = undefined } = {}) {
  if (image === null) {
    const headers = { "Content-Type": "application/json" };
    return ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }
  const form = new FormData();
  form.append("image", image, "image");
  form.append("query", new Blob([JSON.stringify(body)], { type: "application/json" }));
  return ask(path, { method: "POST", body: form, signal });
}

/** As `post` with JSON, for what may have to be computed first. */
export async function postWhenDone(path, body, signal = undefined) {
  for (;;) {
    const answer = await post(path, body, { signal });
    if (answer.status !== 202) return answer;
    await pause(waiting(answer));
    signal?.throwIfAborted();
  }
}

/** The address of an image file; with `blank`, one that cannot be shown is a single pixel instead of an error. */
export const imageAddress = (index, id, blank = true) => withQuery(`/v1/images/${id}`, { index, blank: blank || null });

/** As `imageAddress`, for a thumbnail. */
export const thumbnailAddress = (index, id, size) => withQuery(`/v1/thumbnails/${id}`, { index, size, blank: true });
