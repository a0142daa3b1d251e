// Where points are and where they shall be: planes, and space seen from a side that one turns.

import { Range, Surface, curve, theme, ticks } from "./canvas.js";
import { element, radios, stepped, within } from "./format.js";

const LONGEST_S = 60; // of a path that can still be read
const AXES = ["x", "y", "z"];
const MARGIN = { left: 56, right: 18, top: 14, bottom: 40 };

export class Path {
  constructor(shared) {
    this.shared = shared;
    this.card = document.querySelector(".path");
    this.host = document.getElementById("path-plot");
    this.legend = document.getElementById("path-legend");
    this.viewGroup = document.getElementById("views");
    this.select = document.getElementById("point");
    this.surface = new Surface(this.host, "Path of the points", () => shared.redraw());
    this.nothing = element("p", { class: "nothing" }, "no position yet");
    this.host.append(this.nothing);
    this.view = null;
    this.turn = { yaw: -0.62, pitch: 0.42 };
    this.ranges = Object.fromEntries(AXES.map((axis) => [axis, new Range()]));
    this.points = [];
    this.horizon = null;
    this.select.addEventListener("change", () => { this.resetRanges(); this.entries(); shared.touch(); });
    this.turning();
  }

  // What the layout says of points; their columns of outputs, reference and prediction.
  set(store) {
    const columns = (point, stream) => Object.fromEntries(point.axes.map((axis, i) => [axis, store.find(stream, point.outputs[i])]));
    this.points = store.layout.points.filter((point) => point.axes.length > 1).map((point, index) => ({
      ...point, index, colour: curve(index), output: null,
      seen: columns(point, "outputs"), wanted: columns(point, "reference"), predicted: columns(point, "predicted"),
    })).filter((point) => point.axes.every((axis) => point.seen[axis]));
    this.card.hidden = store.layout.points.length > 0 && !this.points.length;
    document.getElementById("main").classList.toggle("no-path", this.card.hidden);
    this.nothing.hidden = this.points.length > 0;
    const chosen = this.select.value;
    this.select.replaceChildren(element("option", { value: "" }, "all"), ...this.points.map((p) => element("option", { value: p.name }, p.name)));
    this.select.value = this.points.some((p) => p.name === chosen) ? chosen : "";
    document.getElementById("point-choice").hidden = this.points.length < 2;
    const has = AXES.filter((axis) => this.points.length && this.points.every((point) => point.axes.includes(axis)));
    const planes = [];
    for (const [i, a] of has.entries()) for (const b of has.slice(i + 1)) planes.push([a + b, `${a}–${b}`]);
    const views = has.length === 3 ? [["xyz", "3D"], ...planes.reverse()] : planes;
    if (!views.some(([key]) => key === this.view)) this.view = views.length ? views[0][0] : null;
    radios(this.viewGroup, views, this.view, (view) => { this.view = view; this.host.classList.toggle("turns", view === "xyz"); this.shared.touch(); });
    this.viewGroup.hidden = views.length < 2;
    this.host.classList.toggle("turns", this.view === "xyz");
    this.resetRanges();
    this.entries();
    this.shared.touch();
  }

  get shown() { return this.points.filter((point) => !this.select.value || point.name === this.select.value); }
  resetRanges() { for (const range of Object.values(this.ranges)) range.reset(); }

  entries() {
    const fixed = (label, colour, dashed, output) => {
      const swatch = element("i", { class: dashed ? "dashed" : "" });
      swatch.style.color = `var(--${colour})`;
      return element("li", {}, element("span", { class: "fixed" }, swatch, label, output ?? ""));
    };
    for (const point of this.points) point.output = element("output", {}, "");
    const wanted = this.shown.some((point) => Object.values(point.wanted).some(Boolean));
    this.legend.replaceChildren(...this.shown.map((p) => fixed(p.name, p.colour, false, p.output)),
      ...(wanted ? [fixed("reference", "reference", true)] : []));
  }

  turning() {
    const { canvas } = this.surface;
    let from = null;
    const by = (x, y) => {
      this.turn.yaw += x;
      this.turn.pitch = Math.min(1.55, Math.max(-0.2, this.turn.pitch + y));
      this.shared.touch();
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (this.view !== "xyz") return;
      from = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      by((event.clientX - from[0]) * 0.008, (event.clientY - from[1]) * 0.008);
      from = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
      if (!step || this.view !== "xyz") return;
      event.preventDefault();
      by(...step);
    });
  }

  draw(store) {
    const context = this.surface.begin();
    if (!this.view || this.surface.width < 80) return;
    const { t0, t1 } = this.shared.span();
    const until = this.shared.cursor ?? this.shared.now();
    const begin = Math.max(store.first, store.from(Math.max(t0, t1 - LONGEST_S)));
    const end = Math.min(store.count, store.from(this.shared.now() + 1e-6));
    this.scale(store, begin, end);
    if (!this.ranges[this.view[0]].known) return;
    const project = this.view === "xyz" ? this.space(context) : this.plane(context);
    const axes = [...this.view];
    this.time = store.time;
    const place = (columns, i) => project(...axes.map((axis) => columns[axis].values[i % store.capacity]));
    for (const point of this.shown) {
      if (axes.every((axis) => point.wanted[axis])) this.trail(context, place, point.wanted, begin, end, theme.reference, 1.3, [4, 3]);
      this.shadow(context, store, point, begin, end, project);
      this.trail(context, place, point.seen, begin, end, theme[point.colour], 1.9, []);
    }
    for (const point of this.shown) this.now(context, store, point, axes, until, project);
  }

  scale(store, begin, end) {
    for (const axis of this.view) {
      let low = Infinity, high = -Infinity;
      for (const point of this.shown) for (const columns of [point.seen, point.wanted]) {
        const values = columns[axis]?.values;
        for (let i = begin; values && i < end; i++) {
          const value = values[i % store.capacity];
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
      this.ranges[axis].follow(low, high);
    }
  }

  // Equal scales on all axes: middle of each range, and units a pixel.
  middles() { return [...this.view].map((axis) => (this.ranges[axis].low + this.ranges[axis].high) / 2); }
  span(axis) { return this.ranges[axis].high - this.ranges[axis].low; }

  plane(context) {
    const [a, b] = this.view, { width, height } = this.surface;
    const w = width - MARGIN.left - MARGIN.right, h = height - MARGIN.top - MARGIN.bottom;
    const unit = Math.max(this.span(a) / w, this.span(b) / h), [ma, mb] = this.middles();
    const project = (u, v) => [MARGIN.left + w / 2 + (u - ma) / unit, MARGIN.top + h / 2 - (v - mb) / unit];
    const horizontal = ticks(ma - (w / 2) * unit, ma + (w / 2) * unit, w / 70);
    const vertical = ticks(mb - (h / 2) * unit, mb + (h / 2) * unit, h / 45);
    context.lineWidth = 1;
    context.fillStyle = theme.quiet;
    const zero = (value, step) => (Math.abs(value) < step / 1e3 ? theme.line : theme.grid);
    for (const value of horizontal.values) {
      const at = Math.round(project(value, mb)[0]) + 0.5;
      line(context, at, MARGIN.top, at, MARGIN.top + h, zero(value, horizontal.step));
      text(context, stepped(value, horizontal.step), at, height - MARGIN.bottom + 6, "center", "top");
    }
    for (const value of vertical.values) {
      const at = Math.round(project(ma, value)[1]) + 0.5;
      line(context, MARGIN.left, at, width - MARGIN.right, at, zero(value, vertical.step));
      text(context, stepped(value, vertical.step), MARGIN.left - 7, at, "right", "middle");
    }
    const unitOf = this.shown[0].unit ? ` [${this.shown[0].unit}]` : "";
    text(context, a + unitOf, MARGIN.left + w / 2, height - 14, "center", "middle");
    context.save();
    context.translate(9, MARGIN.top + h / 2);
    context.rotate(-Math.PI / 2);
    text(context, b + unitOf, 0, 0, "center", "middle");
    context.restore();
    return project;
  }

  space(context) {
    const { width, height } = this.surface, { yaw, pitch } = this.turn, middle = this.middles();
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const longest = Math.max(...AXES.map((axis) => this.span(axis)));
    const box = AXES.map((axis, i) => { const half = Math.max(this.span(axis), longest * 0.2) / 2; return [middle[i] - half, middle[i] + half]; });
    const flat = (x, y, z) => {
      const [u, v, w] = [x - middle[0], y - middle[1], z - middle[2]];
      return [cy * u + sy * v, (cy * v - sy * u) * sp + w * cp, (cy * v - sy * u) * cp - w * sp];
    };
    const corners = box[0].flatMap((x) => box[1].flatMap((y) => box[2].map((z) => flat(x, y, z))));
    const reach = (k) => Math.max(...corners.map((corner) => Math.abs(corner[k])));
    const scale = Math.min((width / 2 - 62) / reach(0), (height / 2 - 34) / reach(1));
    const project = (x, y, z) => { const [u, v] = flat(x, y, z); return [width / 2 + u * scale, height / 2 - v * scale]; };
    // The walls behind: of each axis the side that lies deeper.
    const far = AXES.map((_, i) => { const at = middle.slice(); at[i] = box[i][0]; return flat(...at)[2] > 0 ? 0 : 1; });
    const floor = far[2];
    this.floor = box[2][floor];
    AXES.forEach((axis, i) => {
      const { step, values } = ticks(box[i][0], box[i][1], 1 + (box[i][1] - box[i][0]) * scale / 60);
      const [j, k] = [0, 1, 2].filter((other) => other !== i);
      for (const value of values) for (const [wall, along] of [[j, k], [k, j]]) {
        const from = [0, 0, 0]; from[i] = value; from[wall] = box[wall][far[wall]];
        const to = from.slice(); from[along] = box[along][0]; to[along] = box[along][1];
        line(context, ...project(...from), ...project(...to), theme.grid);
      }
      // Labels stand on the edge of the floor, or of the wall, that is nearest and free.
      const edge = middle.slice();
      if (i === 2) { edge[0] = box[0][1 - far[0]]; edge[1] = box[1][far[1]]; if (project(box[0][far[0]], box[1][1 - far[1]], middle[2])[0] < project(...edge)[0]) { edge[0] = box[0][far[0]]; edge[1] = box[1][1 - far[1]]; } } else { edge[2] = box[2][floor]; edge[1 - i] = box[1 - i][1 - far[1 - i]]; }
      const out = outwards(project(...edge), [width / 2, height / 2]);
      const room = i === 2 ? [-1, 0] : out;
      context.fillStyle = theme.quiet;
      const inner = values.filter((value) => value > box[i][0] && value < box[i][1]);
      for (const value of inner) {
        const at = edge.slice(); at[i] = value;
        const [x, y] = project(...at);
        text(context, stepped(value, step), x + room[0] * 16, y + room[1] * 12, i === 2 ? "right" : "center", "middle");
      }
      const at = edge.slice();
      const [x, y] = project(...at);
      context.fillStyle = theme.text;
      const label = axis + (this.shown[0].unit ? ` [${this.shown[0].unit}]` : "");
      if (i === 2) { at[2] = box[2][1]; const [tx, ty] = project(...at); text(context, label, tx, ty - 13, "center", "middle"); } else text(context, label, x + out[0] * 44, y + out[1] * 28, "center", "middle");
      for (const a of [0, 1]) for (const b of [0, 1]) {
        if (a !== far[j] && b !== far[k]) continue;
        const from = [0, 0, 0]; from[j] = box[j][a]; from[k] = box[k][b];
        const to = from.slice(); from[i] = box[i][0]; to[i] = box[i][1];
        line(context, ...project(...from), ...project(...to), theme.line);
      }
    });
    return project;
  }

  trail(context, place, columns, begin, end, colour, width, dashes) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.setLineDash(dashes);
    // What is older is paler, in three pieces.
    const pieces = dashes.length ? [[begin, end, 0.95]] : [[0, 0.4, 0.3], [0.4, 0.75, 0.6], [0.75, 1, 1]].map(
      ([a, b, alpha]) => [Math.floor(begin + a * (end - begin)), Math.min(end, Math.floor(begin + b * (end - begin)) + 1), alpha]);
    for (const [from, to, alpha] of pieces) {
      context.globalAlpha = alpha;
      context.beginPath();
      let last = -Infinity;
      for (let i = from; i < to; i++) {
        const [x, y] = place(columns, i), t = this.time[i % this.time.length];
        if (Number.isNaN(x + y)) continue;
        // A pause of a second is no line.
        if (t - last < 1) context.lineTo(x, y); else context.moveTo(x, y);
        last = t;
      }
      context.stroke();
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  shadow(context, store, point, begin, end, project) {
    if (this.view !== "xyz") return;
    const onFloor = (columns, i) => project(columns.x.values[i % store.capacity], columns.y.values[i % store.capacity], this.floor);
    this.trail(context, onFloor, point.seen, begin, end, theme.line, 1.6, [1, 0]);
  }

  now(context, store, point, axes, until, project) {
    const at = (columns, t) => axes.map((axis) => (columns[axis] ? store.at(columns[axis], t) : NaN));
    // Both of one row: where one of the topics trails, an error would be seen that there is none of.
    const pair = axes.flatMap((axis) => [point.seen[axis], point.wanted[axis]]);
    const together = pair.every(Boolean) ? store.last(pair, until) : NaN;
    const instant = Number.isNaN(together) ? until : together;
    const seen = at(point.seen, instant), wanted = at(point.wanted, instant);
    const known = !Number.isNaN(seen.reduce((a, b) => a + b)), has = !Number.isNaN(wanted.reduce((a, b) => a + b));
    if (this.horizon && this.shared.cursor === null && !this.shared.paused) {
      const rows = point.axes.map((axis) => this.horizon[point.outputs[point.axes.indexOf(axis)]]);
      if (rows.every(Boolean)) {
        context.fillStyle = theme.reference;
        for (let j = 1; j < rows[0].length; j++) {
          const [x, y] = project(...axes.map((axis) => rows[point.axes.indexOf(axis)][j]));
          context.beginPath(); context.arc(x, y, 1.8, 0, 7); context.fill();
        }
      }
    }
    if (known && has) line(context, ...project(...seen), ...project(...wanted), theme.limit, 1.5);
    if (has) {
      const [x, y] = project(...wanted);
      context.strokeStyle = theme.text; context.lineWidth = 1.5;
      context.beginPath(); context.arc(x, y, 5.5, 0, 7); context.stroke();
    }
    if (known) {
      const [x, y] = project(...seen);
      context.fillStyle = theme[point.colour]; context.strokeStyle = theme.surface; context.lineWidth = 1.5;
      context.beginPath(); context.arc(x, y, 4.5, 0, 7); context.fill(); context.stroke();
    }
    const values = point.axes.map((axis) => within(store.at(point.seen[axis], instant), 50)).join(", ");
    const said = known ? `(${values})${point.unit ? ` ${point.unit}` : ""}` : "–";
    if (point.output && point.output.textContent !== said) {
      point.output.textContent = said;
      this.surface.canvas.setAttribute("aria-label", `Path of ${point.name} at ${said}. Arrow keys turn the view.`);
    }
  }
}

function line(context, x0, y0, x1, y1, colour, width = 1) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function text(context, said, x, y, align, baseline) {
  context.textAlign = align;
  context.textBaseline = baseline;
  context.fillText(said, x, y);
}

function outwards([x, y], [cx, cy]) {
  const size = Math.hypot(x - cx, y - cy) || 1;
  return [(x - cx) / size, (y - cy) / size];
}
