/** Numbers and names as people read them. */

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

export const count = (value) => value.toLocaleString("en");

export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : word.endsWith("ch") ? "es" : "s"}`;

export const bits = (value) => plural(value, "bit");

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "size unknown";
  const unit = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  const value = bytes / 1000 ** unit;
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export function pixels(file) {
  return file.width && file.height ? `${file.width} × ${file.height}` : null;
}

/** Return the day of a time in seconds since 1970, as 2026-11-27. */
export function day(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const date = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** Return a path in which bytes that are not UTF-8 show as \xe9, as in labels and on the command line; the DOM would not take them. */
export const shown = (path) => path.replace(/[\udc80-\udcff]/gu, (char) => `\\x${(char.charCodeAt(0) - 0xdc00).toString(16)}`);

export const fileName = (path) => shown(path.slice(path.lastIndexOf("/") + 1));
