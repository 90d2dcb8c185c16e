/** Zoom and pan of several images at once, by mouse, touch and keyboard. */

const MOST = 32;
const STEP = 1.4;
const PAN = 0.1; // of the picture's frame, per key

/**
 * Make frames show the same part of their images. Every frame holds one image that fills it.
 * `onZoom(scale)` is told of every change; the functions returned are for buttons.
 */
export function zoom(frames, onZoom) {
  let scale = 1;
  let [x, y] = [0, 0]; // how far the middle is moved, in widths and heights of a frame
  const touches = new Map();
  let spread = 0;

  function apply() {
    const most = (scale - 1) / 2;
    [x, y] = [x, y].map((value) => Math.max(-most, Math.min(most, value)));
    for (const frame of frames) {
      frame.firstElementChild.style.transform = `translate(${100 * x}%, ${100 * y}%) scale(${scale})`;
      frame.classList.toggle("zoomed", scale > 1);
    }
    onZoom(scale);
  }

  /** Zoom so that the point (u, v), from -0.5 to 0.5 of the frame, stays where it is. */
  function by(factor, u = 0, v = 0) {
    const next = Math.max(1, Math.min(MOST, scale * factor));
    [x, y] = [u - ((u - x) * next) / scale, v - ((v - y) * next) / scale];
    scale = next;
    apply();
  }

  function at(frame, event) {
    const box = frame.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width - 0.5, (event.clientY - box.top) / box.height - 0.5];
  }

  function moved(frame, event) {
    const before = touches.get(event.pointerId);
    if (!before) return;
    touches.set(event.pointerId, event);
    const box = frame.getBoundingClientRect();
    const share = 1 / touches.size;
    x += (share * (event.clientX - before.clientX)) / box.width;
    y += (share * (event.clientY - before.clientY)) / box.height;
    if (touches.size === 2) {
      const now = distance([...touches.values()]);
      by(now / spread, ...at(frame, event));
      spread = now;
    } else {
      apply();
    }
  }

  function listen(frame) {
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      by(Math.exp(-event.deltaY / 400), ...at(frame, event));
    }, { passive: false });
    frame.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      frame.focus({ preventScroll: true });
      frame.setPointerCapture(event.pointerId);
      touches.set(event.pointerId, event);
      if (touches.size === 2) spread = distance([...touches.values()]);
    });
    frame.addEventListener("pointermove", (event) => moved(frame, event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, (event) => touches.delete(event.pointerId));
    frame.addEventListener("dblclick", (event) => (scale > 1 ? reset() : by(3, ...at(frame, event))));
    frame.addEventListener("keydown", (event) => {
      const act = keys[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }

  function pan(u, v) {
    [x, y] = [x + u, y + v];
    apply();
  }

  function reset() {
    [scale, x, y] = [1, 0, 0];
    apply();
  }

  const closer = () => by(STEP);
  const farther = () => by(1 / STEP);
  const keys = {
    "+": closer, "=": closer, "-": farther, 0: reset,
    ArrowLeft: () => pan(PAN, 0), ArrowRight: () => pan(-PAN, 0), ArrowUp: () => pan(0, PAN), ArrowDown: () => pan(0, -PAN),
  };
  frames.forEach(listen);
  apply();
  return { closer, farther, reset };
}

const distance = ([one, two]) => Math.max(1, Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY));
