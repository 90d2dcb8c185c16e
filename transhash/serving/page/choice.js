/** Which images go: what the rule chose, and what was changed by hand, image by image, under whatever rule. */

import { postWhenDone } from "./api.js";

const INTACT = ["kept", "spare", "unrelated", "reference"];
const TOGETHER = 5000; // images of a request

/** Return whether an image must stay as it is: a protected one, or one whose file is not what was encoded. */
export const isFixed = (image) => image.protected || !["kept", "spare", "unrelated"].includes(image.role);

/** Return whether no file of a cluster stays that is as it was encoded. */
export const isEmpty = (cluster, removed) => cluster.images.every((image) => removed.has(image.id) || !INTACT.includes(image.role));

const hands = new Map(); // from the name of a store to {said, by}: what was said by hand, and the choice that said the last of it

/** Return what was said by hand, which all views of a collection share: a map from the id of an image to {path, verdict}. */
function handOf(store) {
  if (!hands.has(store)) hands.set(store, { said: load(store), by: null });
  return hands.get(store);
}

function load(store) {
  try {
    return new Map(JSON.parse(localStorage.getItem(store) ?? "[]"));
  } catch {
    return new Map();
  }
}

addEventListener("storage", ({ key }) => { if (hands.has(key)) hands.set(key, { said: load(key), by: null }); }); // of another tab

export class Choice {
  #changes = new Map(); // from the ids of a cluster that the rule would leave otherwise to {removed, spare, freed, before, empty}
  #spare;
  #bytes;
  #store;
  #listeners = [];

  /** Begin with the first page of an answer, and with what was changed by hand before. */
  constructor(answer, store) {
    this.#spare = answer.spare_ids;
    this.#bytes = answer.totals.spare_bytes;
    this.#store = store;
  }

  /** What was said of images by hand: "keep", "remove", or "last" where nothing of the cluster was to stay. */
  get #hand() {
    return handOf(this.#store).said;
  }

  /** Whether another view has changed what was said since. */
  get isStale() {
    return ![null, this].includes(handOf(this.#store).by);
  }

  /** Apply what was changed by hand to the clusters that these rules make. */
  async restore(rules, signal) {
    const ids = [...this.#hand.keys()];
    for (let start = 0; start < ids.length; start += TOGETHER) {
      const answer = await postWhenDone("/v1/clusters", { ...rules, ids: ids.slice(start, start + TOGETHER) }, signal);
      for (const cluster of (await answer.json()).clusters) this.#note(cluster, this.#resolved(cluster));
    }
  }

  /** Call a function after every change, with the cluster that was changed, or null for all. */
  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Return the ids of a cluster's images that go. */
  removed(cluster) {
    return new Set(this.#changes.get(keyOf(cluster))?.removed ?? spareOf(cluster));
  }

  /** Let exactly these images of a cluster go. */
  choose(cluster, removed) {
    const free = cluster.images.filter((image) => !isFixed(image));
    const going = new Set(free.map((image) => image.id).filter((id) => removed.has(id)));
    const verdict = isEmpty(cluster, going) ? "last" : "remove";
    for (const { id, path } of free) this.#hand.set(id, { path, verdict: going.has(id) ? verdict : "keep" });
    if (!this.#note(cluster, going)) for (const { id } of free) this.#hand.delete(id);
    this.#tell(cluster);
  }

  /** Forget what was changed by hand. */
  reset() {
    this.#hand.clear();
    this.#changes.clear();
    this.#tell(null);
  }

  /** Forget what was said of some images, which are gone. */
  forget(ids) {
    for (const id of ids) this.#hand.delete(id);
    this.#save();
  }

  /** The ids of all images that go, also of clusters that were not loaded yet. */
  get ids() {
    const changes = [...this.#changes.values()];
    const replaced = new Set(changes.flatMap((change) => change.spare));
    return [...this.#spare.filter((id) => !replaced.has(id)), ...changes.flatMap((change) => change.removed)];
  }

  /** The ids of the images that go although nothing of their cluster stays, as was chosen by hand. */
  get lastCopies() {
    return [...this.#changes.values()].flatMap((change) => (change.empty ? change.removed : []));
  }

  /** The bytes that this frees. */
  get bytes() {
    return [...this.#changes.values()].reduce((sum, change) => sum + change.freed - change.before, this.#bytes);
  }

  /** The number of clusters that were changed by hand. */
  get changed() {
    return this.#changes.size;
  }

  /** The number of clusters of which nothing stays. */
  get emptied() {
    return [...this.#changes.values()].filter((change) => change.empty).length;
  }

  /** Return the ids that go by hand and by rule; one image stays unless all were to go when they were chosen. */
  #resolved(cluster) {
    const free = cluster.images.filter((image) => !isFixed(image));
    const said = (image) => {
      const known = this.#hand.get(image.id);
      return known?.path === image.path ? known.verdict : null; // another image may have the id in another index
    };
    const going = new Set(free.filter((image) => (said(image) ?? (image.role === "spare" ? "remove" : "keep")) !== "keep").map((image) => image.id));
    if (isEmpty(cluster, going) && !free.every((image) => said(image) === "last")) going.delete(free[0]?.id);
    return going;
  }

  /** Remember what goes of a cluster if the rule would not have it so, and return whether that is the case. */
  #note(cluster, going) {
    const spare = spareOf(cluster);
    const ids = [...going];
    const differs = ids.length !== spare.length || !spare.every((id) => going.has(id));
    if (differs) this.#changes.set(keyOf(cluster), { removed: ids, spare, freed: freed(cluster, going), before: cluster.spare_bytes, empty: ids.length > 0 && isEmpty(cluster, going) });
    else this.#changes.delete(keyOf(cluster));
    return differs;
  }

  #tell(cluster) {
    handOf(this.#store).by = this;
    this.#save();
    for (const listener of this.#listeners) listener(cluster);
  }

  #save() {
    try {
      if (this.#hand.size) localStorage.setItem(this.#store, JSON.stringify([...this.#hand]));
      else localStorage.removeItem(this.#store);
    } catch {
      // A full store: the choice lasts as long as the page.
    }
  }
}

const keyOf = (cluster) => cluster.images.map((image) => image.id).join();

const spareOf = (cluster) => cluster.images.filter((image) => image.role === "spare").map((image) => image.id);

/** Return the bytes that removing images frees: a file with several names must lose them all. */
function freed(cluster, removed) {
  const files = new Map();
  for (const { id, file, frees } of cluster.images) files.set(file, removed.has(id) ? (files.get(file) ?? frees) : 0);
  return [...files.values()].reduce((sum, bytes) => sum + bytes, 0);
}
