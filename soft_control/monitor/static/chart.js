// Curves over time on a canvas: one pane a unit, limits, legend with readouts, a shared cursor.

import { Range, Surface, curve, theme, ticks } from "./canvas.js";
import { element, seconds, stepped, titled, within } from "./format.js";

const LEFT = 58, RIGHT = 10, TOP = 6, BOTTOM = 20, GAP = 12;

export class Chart {
  // options: title, zero (the range starts at 0), nothing (what is said without data)
  constructor(id, shared, options) {
    this.host = document.getElementById(`${id}-plot`);
    this.legend = document.getElementById(`${id}-legend`);
    this.shared = shared;
    this.options = options;
    this.series = [];
    this.panes = [];
    this.hidden = new Set();
    this.surface = new Surface(this.host, options.title, () => shared.redraw());
    this.nothing = element("p", { class: "nothing" }, options.nothing);
    this.host.append(this.nothing);
    const { canvas } = this.surface;
    canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    canvas.addEventListener("pointerleave", () => shared.point(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => shared.point(null));
  }

  // series: [{column, label, colour, dashed}]; those of one unit share a pane.
  set(series) {
    this.series = series.map((one, index) => ({
      colour: curve(index), label: one.column.name, dashed: index > 11, ...one, // colours come again after twelve
    }));
    const units = [...new Set(this.series.map((one) => one.column.unit))];
    this.panes = units.map((unit) => ({
      unit, range: new Range(), series: this.series.filter((one) => one.column.unit === unit),
    }));
    this.host.style.height = units.length > 1 ? `${Math.min(420, 70 + 105 * units.length)}px` : "";
    this.legend.replaceChildren(...this.series.map((one) => this.entry(one)));
    this.nothing.hidden = this.series.length > 0;
    this.shared.touch();
  }

  entry(one) {
    one.key = `${one.column.stream}/${one.column.name}`;
    one.output = element("output", {}, "–");
    const swatch = element("i", { class: one.dashed ? "dashed" : "" });
    swatch.style.color = `var(--${one.colour})`;
    const button = element("button", { type: "button", "aria-pressed": !this.hidden.has(one.key), onclick: () => {
      if (!this.hidden.delete(one.key)) this.hidden.add(one.key);
      button.setAttribute("aria-pressed", !this.hidden.has(one.key));
      for (const pane of this.panes) pane.range.reset();
      this.shared.touch();
    } }, swatch, one.label, one.output);
    return element("li", {}, button);
  }

  point(x) {
    const { t0, t1 } = this.shared.span(), inside = (x - LEFT) / (this.surface.width - LEFT - RIGHT);
    this.shared.point(inside >= 0 && inside <= 1 ? t0 + inside * (t1 - t0) : null);
  }

  key(event) {
    const { t0, t1 } = this.shared.span(), step = (t1 - t0) / (event.shiftKey ? 20 : 200);
    const at = this.shared.cursor ?? t1;
    const to = { ArrowLeft: at - step, ArrowRight: at + step, Home: t0, End: t1, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.shared.point(to === null ? null : Math.min(t1, Math.max(t0, to)));
  }

  draw(store) {
    const context = this.surface.begin(), { width, height } = this.surface;
    if (!this.series.length || width < 80) return;
    const { t0, t1 } = this.shared.span(), cursor = this.shared.cursor;
    const begin = Math.max(store.first, store.from(t0) - 1), end = Math.min(store.count, store.from(this.shared.now() + 1e-6));
    const plotWidth = width - LEFT - RIGHT;
    const each = (height - TOP - BOTTOM - GAP * (this.panes.length - 1)) / this.panes.length;
    const x = (t) => LEFT + ((t - t0) / (t1 - t0)) * plotWidth;
    const time = ticks(t0, t1, plotWidth / 90);
    this.panes.forEach((pane, index) => {
      const top = TOP + index * (each + GAP), bottom = top + each;
      this.scale(pane, store, begin, end);
      this.frame(context, pane, time, x, top, bottom, width);
      context.save();
      context.beginPath();
      context.rect(LEFT, top, plotWidth, each);
      context.clip();
      const y = (value) => bottom - ((value - pane.range.low) / (pane.range.high - pane.range.low)) * each;
      if (pane.range.known) for (const one of pane.series) {
        if (this.hidden.has(one.key)) continue;
        this.limits(context, one, y, width);
        this.line(context, store, one, begin, end, x, y, plotWidth);
      }
      context.restore();
      if (cursor !== null) this.cross(context, store, pane, cursor, x, y, top, bottom);
      context.fillStyle = theme.quiet;
      context.textAlign = "left";
      context.textBaseline = "top";
      const label = pane.unit ? `[${pane.unit}]` : "";
      context.fillText(label, 2, top - 5);
    });
    context.fillStyle = theme.quiet;
    context.textBaseline = "top";
    for (const t of time.values) {
      const at = x(t), text = stepped(t, time.step);
      const half = context.measureText(text).width / 2;
      context.textAlign = "center";
      if (at - half > LEFT - 10 && at + half < width - 26) context.fillText(text, at, height - BOTTOM + 6);
    }
    context.textAlign = "right";
    context.fillText("[s]", width - 4, height - BOTTOM + 6);
    this.read(store, cursor);
  }

  scale(pane, store, begin, end) {
    let low = this.options.zero ? 0 : Infinity, high = -Infinity;
    const { capacity } = store;
    for (const one of pane.series) {
      if (this.hidden.has(one.key)) continue;
      const { values, min, max } = one.column;
      for (let i = begin; i < end; i++) {
        const value = values[i % capacity];
        if (value < low) low = value;
        if (value > high) high = value;
      }
      // Limits are seen where the curve fills a good part of what they allow.
      if (min !== undefined && high - low > 0.2 * (max - min)) { low = Math.min(low, min); high = Math.max(high, max); }
    }
    pane.range.follow(low, high);
    if (this.options.zero && pane.range.known) pane.range.low = Math.min(0, low);
  }

  frame(context, pane, time, x, top, bottom, width) {
    context.lineWidth = 1;
    context.strokeStyle = theme.grid;
    context.beginPath();
    for (const t of time.values) { context.moveTo(Math.round(x(t)) + 0.5, top); context.lineTo(Math.round(x(t)) + 0.5, bottom); }
    context.stroke();
    if (!pane.range.known) return;
    const { low, high } = pane.range, { step, values } = ticks(low, high, (bottom - top) / 34);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of values) {
      const at = Math.round(bottom - ((value - low) / (high - low)) * (bottom - top)) + 0.5;
      context.strokeStyle = Math.abs(value) < step / 1e3 ? theme.line : theme.grid;
      context.beginPath();
      context.moveTo(LEFT, at);
      context.lineTo(width - RIGHT, at);
      context.stroke();
      context.fillStyle = theme.quiet;
      if (at > top + 8 || !pane.unit) context.fillText(stepped(value, step), LEFT - 7, at);
    }
  }

  limits(context, one, y, width) {
    if (one.column.min === undefined) return;
    context.strokeStyle = theme[one.colour];
    context.globalAlpha = 0.75;
    context.lineWidth = 1.2;
    context.setLineDash([6, 4]);
    context.beginPath();
    for (const limit of [one.column.min, one.column.max]) { context.moveTo(LEFT, y(limit)); context.lineTo(width, y(limit)); }
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }

  line(context, store, one, begin, end, x, y, plotWidth) {
    const { values } = one.column, { capacity, time } = store;
    context.strokeStyle = theme[one.colour];
    context.lineWidth = one.dashed ? 1.3 : 1.6;
    context.setLineDash(one.dashed ? [4, 3] : []);
    context.beginPath();
    if (end - begin < 2.5 * plotWidth) {
      let drawing = false, last = 0;
      for (let i = begin; i < end; i++) {
        const value = values[i % capacity], t = time[i % capacity];
        if (Number.isNaN(value)) continue;
        // A pause of a second is no line.
        if (drawing && t - last < 1) context.lineTo(x(t), y(value)); else context.moveTo(x(t), y(value));
        drawing = true;
        last = t;
      }
    } else { // from the lowest to the highest value of each pixel
      let pixel = -1, low = 0, high = 0;
      for (let i = begin; i < end; i++) {
        const value = values[i % capacity];
        if (Number.isNaN(value)) continue;
        const at = Math.round(x(time[i % capacity]));
        if (at !== pixel) {
          if (pixel >= 0) { context.lineTo(pixel, y(low)); context.lineTo(pixel, y(high)); }
          pixel = at; low = high = value;
        } else if (value < low) low = value; else if (value > high) high = value;
      }
      if (pixel >= 0) { context.lineTo(pixel, y(low)); context.lineTo(pixel, y(high)); }
    }
    context.stroke();
    context.setLineDash([]);
  }

  cross(context, store, pane, cursor, x, y, top, bottom) {
    const at = Math.round(x(cursor)) + 0.5;
    context.strokeStyle = theme.quiet;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(at, top);
    context.lineTo(at, bottom);
    context.stroke();
    for (const one of pane.series) {
      const value = store.at(one.column, cursor);
      if (this.hidden.has(one.key) || Number.isNaN(value)) continue;
      context.fillStyle = theme[one.colour];
      context.beginPath();
      context.arc(at, y(value), 3, 0, 7);
      context.fill();
    }
  }

  read(store, cursor) {
    const t = cursor ?? this.shared.now();
    for (const pane of this.panes) for (const one of pane.series) {
      const span = pane.range.known ? pane.range.high - pane.range.low : 1;
      const text = within(store.at(one.column, t), span) + (one.column.unit ? ` ${one.column.unit}` : "");
      if (one.output.textContent === text) continue;
      one.output.textContent = text;
      // The room of the longest text so far: a legend that breaks its lines anew moves the page.
      if (text.length > (one.room ?? 0)) { one.room = text.length; one.output.style.minWidth = `${0.9 * text.length}ch`; }
    }
    const where = cursor === null ? "newest" : `at ${seconds(cursor)}`;
    const said = this.series.slice(0, 8).map((one) => `${titled(one.label, "")} ${one.output.textContent}`).join(", ");
    this.surface.canvas.setAttribute("aria-label", `${this.options.title}, ${where}: ${said}. Arrow keys move the cursor.`);
  }
}
