/** Which images go: what the rule chose, and what was changed by hand, cluster by cluster. */

const FIXED = ["reference", "archived", "changed", "unverified", "missing"];

/** Return whether an image must stay as it is: one of a reference folder, or one whose file is not what was encoded. */
export const isFixed = (image) => FIXED.includes(image.role);

export class Choice {
  #changes = new Map(); // from the ids of a cluster to {removed, spare, freed, before, empty}
  #spare;
  #bytes;
  #store;
  #listeners = [];

  /** Begin with the first page of an answer, and with what was changed by hand before the page was loaded again. */
  constructor(answer, store) {
    this.#spare = answer.spare_ids;
    this.#bytes = answer.totals.spare_bytes;
    this.#store = store;
    try {
      const spare = new Set(answer.spare_ids);
      const kept = JSON.parse(localStorage.getItem(store) ?? "[]");
      this.#changes = new Map(kept.filter(([, change]) => change.spare.every((id) => spare.has(id)))); // of clusters that are there
    } catch {
      this.#changes = new Map();
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
    const spare = spareOf(cluster);
    const ids = cluster.images.filter((image) => removed.has(image.id) && !isFixed(image)).map((image) => image.id);
    const going = new Set(ids);
    if (ids.length === spare.length && spare.every((id) => going.has(id))) this.#changes.delete(keyOf(cluster));
    else this.#changes.set(keyOf(cluster), { removed: ids, spare, freed: freed(cluster, going), before: cluster.spare_bytes, empty: isEmpty(cluster, going) });
    this.#tell(cluster);
  }

  /** Forget what was changed by hand. */
  reset() {
    this.#changes.clear();
    this.#tell(null);
  }

  /** The ids of all images that go, also of clusters that were not loaded yet. */
  get ids() {
    const changes = [...this.#changes.values()];
    const replaced = new Set(changes.flatMap((change) => change.spare));
    return [...this.#spare.filter((id) => !replaced.has(id)), ...changes.flatMap((change) => change.removed)];
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

  #tell(cluster) {
    try {
      if (this.#changes.size) localStorage.setItem(this.#store, JSON.stringify([...this.#changes]));
      else localStorage.removeItem(this.#store);
    } catch {
      // A full store: the choice lasts as long as the page.
    }
    for (const listener of this.#listeners) listener(cluster);
  }
}

const keyOf = (cluster) => cluster.images.map((image) => image.id).join();

const spareOf = (cluster) => cluster.images.filter((image) => image.role === "spare").map((image) => image.id);

const freed = (cluster, removed) => cluster.images.reduce((sum, image) => sum + (removed.has(image.id) ? (image.bytes ?? 0) : 0), 0);

/** Return whether no image of a cluster stays that is there. */
const isEmpty = (cluster, removed) => cluster.images.every((image) => removed.has(image.id) || image.role === "missing");
