// What all drawings share: sharp canvases, colours of the theme, nice steps, steady ranges.

export const FONT = '11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
const NAMES = ["surface", "line", "grid", "text", "quiet", "accent", "reference", "limit", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11"];

export const theme = {};
const changed = new Set();
function read() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) theme[name] = style.getPropertyValue(`--${name}`).trim();
  for (const listener of changed) listener();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", read);
read();
export const onTheme = (listener) => changed.add(listener);

// Colours come as names of the theme, so that they change with it.
export const curve = (index) => `c${index % 12}`;

export class Surface {
  constructor(host, label, onResize) {
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    host.append(this.canvas);
    this.context = this.canvas.getContext("2d");
    this.width = this.height = 0;
    new ResizeObserver(() => { this.measure(); onResize(); }).observe(host);
    this.measure();
  }

  measure() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }

  begin() {
    const { context } = this;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = FONT;
    context.lineJoin = "round";
    context.setLineDash([]);
    context.globalAlpha = 1;
    return context;
  }
}

// 1, 2 or 5 times a power of ten, so that at most `count` of them fit into the span.
export function niceStep(span, count) {
  const rough = span / Math.max(1, count), power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.9999);
}

export function ticks(low, high, count) {
  const step = niceStep(high - low, count), found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(i * step);
  return { step, values: found };
}

// A range that grows at once and shrinks with patience, so that axes do not tremble.
export class Range {
  constructor() { this.reset(); }
  reset() { this.low = this.high = NaN; }
  follow(low, high) {
    if (!(low <= high)) return;
    const size = high - low || Math.abs(high) * 0.1 || 1;
    low -= size * 0.06; high += size * 0.06;
    if (Number.isNaN(this.low)) { this.low = low; this.high = high; return; }
    const slack = 0.25 * (this.high - this.low);
    if (low < this.low || low > this.low + slack) this.low = low;
    if (high > this.high || high < this.high - slack) this.high = high;
  }
  get known() { return !Number.isNaN(this.low); }
}
