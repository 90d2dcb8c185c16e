/** Zoom and pan of several images at once, by mouse, touch and keyboard. */

const MOST = 32;
const STEP = 1.4;
const PAN = 0.1; // of the picture's frame, per key
const KEYS = {
  "+": (zoom) => zoom.closer(), "=": (zoom) => zoom.closer(), "-": (zoom) => zoom.farther(), 0: (zoom) => zoom.reset(),
  ArrowLeft: (zoom) => zoom.pan(PAN, 0), ArrowRight: (zoom) => zoom.pan(-PAN, 0),
  ArrowUp: (zoom) => zoom.pan(0, PAN), ArrowDown: (zoom) => zoom.pan(0, -PAN),
};

/** Makes frames show the same part of their images. Every frame holds one image that fills it. */
export class Zoom {
  #frames;
  #onZoom;
  #scale = 1;
  #x = 0; // how far the middle is moved, in widths of a frame
  #y = 0; // and in heights
  #touches = new Map();
  #spread = 0;

  /** `onZoom(scale)` is told of every change. */
  constructor(frames, onZoom) {
    this.#frames = frames;
    this.#onZoom = onZoom;
    for (const frame of frames) this.#listen(frame);
    this.#apply();
  }

  closer() {
    this.#by(STEP);
  }

  farther() {
    this.#by(1 / STEP);
  }

  pan(x, y) {
    this.#x += x;
    this.#y += y;
    this.#apply();
  }

  reset() {
    this.#scale = 1;
    this.#apply();
  }

  #apply() {
    const most = (this.#scale - 1) / 2;
    [this.#x, this.#y] = [this.#x, this.#y].map((value) => Math.max(-most, Math.min(most, value)) + 0); // not -0
    for (const frame of this.#frames) {
      frame.firstElementChild.style.transform = `translate(${100 * this.#x}%, ${100 * this.#y}%) scale(${this.#scale})`;
      frame.classList.toggle("zoomed", this.#scale > 1);
    }
    this.#onZoom(this.#scale);
  }

  /** Zoom so that the point (x, y), from -0.5 to 0.5 of the frame, stays where it is. */
  #by(factor, x = 0, y = 0) {
    const next = Math.max(1, Math.min(MOST, this.#scale * factor));
    this.#x = x - ((x - this.#x) * next) / this.#scale;
    this.#y = y - ((y - this.#y) * next) / this.#scale;
    this.#scale = next;
    this.#apply();
  }

  #listen(frame) {
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#by(Math.exp(-event.deltaY / 400), ...at(frame, event));
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => this.#touch(frame, event));
    frame.addEventListener("pointermove", (event) => this.#move(frame, event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, (event) => this.#touches.delete(event.pointerId));
    frame.addEventListener("dblclick", (event) => (this.#scale > 1 ? this.reset() : this.#by(3, ...at(frame, event))));
    frame.addEventListener("keydown", (event) => {
      const act = KEYS[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act(this);
    });
  }

  #touch(frame, event) {
    if (event.button !== 0) return;
    event.preventDefault();
    frame.focus({ preventScroll: true });
    frame.setPointerCapture(event.pointerId);
    this.#touches.set(event.pointerId, event);
    if (this.#touches.size === 2) this.#spread = distance([...this.#touches.values()]);
  }

  /** Drag with one finger or the mouse; with two fingers, zoom as well. */
  #move(frame, event) {
    const before = this.#touches.get(event.pointerId);
    if (!before) return;
    this.#touches.set(event.pointerId, event);
    const box = frame.getBoundingClientRect();
    const fingers = this.#touches.size;
    this.pan((event.clientX - before.clientX) / box.width / fingers, (event.clientY - before.clientY) / box.height / fingers);
    if (fingers !== 2) return;
    const now = distance([...this.#touches.values()]);
    this.#by(now / this.#spread, ...at(frame, event));
    this.#spread = now;
  }
}

/** Return where in a frame an event happened, from -0.5 to 0.5. */
function at(frame, event) {
  const box = frame.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
}

const distance = ([one, two]) => Math.max(1, Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY));
