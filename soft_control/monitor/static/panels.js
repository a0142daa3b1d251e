// Solver, diagnostics and statistics as numbers and tables.

import { element, number, words } from "./format.js";

const LEVELS = ["OK", "WARN", "ERROR", "STALE"];
const STALE_S = 5;
const PREFERRED = ["step_cost", "cost", "iterations", "latency_us"];

export class Solver {
  constructor(chart, shared) {
    Object.assign(this, { chart, shared, columns: [], tiles: [] });
    this.card = document.querySelector(".solver");
    this.choice = document.getElementById("solver-choice");
    this.host = document.getElementById("solver-tiles");
    this.badge = document.getElementById("solver-status");
    this.choice.addEventListener("change", () => this.show());
  }

  set(store) {
    const rank = (column) => { const at = PREFERRED.indexOf(column.name); return at < 0 ? PREFERRED.length : at; };
    this.columns = store.of("solver").sort((a, b) => rank(a) - rank(b));
    const before = this.choice.value;
    this.choice.replaceChildren(...this.columns.map((column) => element("option", { value: column.name }, words(column.name))));
    if (this.columns.some((column) => column.name === before)) this.choice.value = before;
    this.choice.parentElement.hidden = this.columns.length < 2;
    this.tiles = this.columns.map((column) => {
      const value = element("dd", {}, "–");
      return { column, value, element: element("div", {}, element("dt", { title: column.name }, words(column.name.replace(/_us$/, ""))), value) };
    });
    this.host.replaceChildren(...this.tiles.map((tile) => tile.element));
    this.show();
  }

  show() { this.chart.set(this.columns.filter((column) => column.name === this.choice.value).map((column) => ({ column, label: words(column.name) }))); }

  draw(store) {
    const t = this.shared.cursor ?? this.shared.now();
    for (const { column, value } of this.tiles) {
      const said = number(store.at(column, t)), shape = said + column.unit;
      if (value.dataset.said === shape) continue;
      value.dataset.said = shape;
      value.replaceChildren(said, ...(column.unit && said !== "–" ? [" ", element("small", {}, column.unit)] : []));
    }
  }

  told(statuses) {
    const solver = statuses.find((status) => status.topic.endsWith("/solver"));
    this.badge.hidden = !solver;
    if (!solver) return;
    const stale = solver.age_s > STALE_S;
    // Another controller may be at work: nothing is wrong with a solver that rests.
    if (stale) delete this.badge.dataset.level; else this.badge.dataset.level = solver.level;
    this.badge.textContent = stale ? `nothing for ${Math.round(solver.age_s)} s` : words(solver.message);
  }
}

export class Diagnostics {
  constructor() {
    this.host = document.getElementById("diagnostics");
    this.note = document.getElementById("diagnostics-note");
    this.said = "";
  }

  told({ statuses, statistics }) {
    const rows = statuses.filter((status) => !status.topic.endsWith("/solver"));
    const said = JSON.stringify([rows.map(({ age_s, ...rest }) => [rest, age_s > STALE_S && Math.round(age_s / 5)]), statistics.map(({ age_s, ...rest }) => [rest, age_s > STALE_S])]);
    if (said === this.said) return;
    this.said = said;
    const bad = rows.filter((status) => status.level > 0).length;
    this.note.textContent = rows.length ? (bad ? `${bad} of ${rows.length} not OK` : `all ${rows.length} OK`) : "";
    if (!rows.length && !statistics.length) {
      this.host.replaceChildren(element("p", { class: "empty" }, "Nothing has been said on a topic of diagnostics or statistics."));
      return;
    }
    const pair = (name, value, unit) => element("span", {}, `${words(name)} `, element("b", {}, value + (unit ? ` ${unit}` : "")));
    const lines = rows.map((status) => element("tr", { class: status.age_s > STALE_S ? "stale" : "" },
      element("td", {}, element("span", { class: "badge", "data-level": status.level }, LEVELS[status.level] ?? "?")),
      element("td", {}, status.name),
      element("td", { class: "values" }, element("span", {}, status.message + (status.age_s > STALE_S ? `, ${Math.round(status.age_s)} s ago` : "")),
        ...status.values.map(([name, value]) => pair(name, value, "")))));
    const counted = statistics.map(({ source, values, age_s }) => element("tr", { class: age_s > STALE_S ? "stale" : "" },
      element("td", {}), element("td", {}, source),
      element("td", { class: "values" }, ...values.map(([name, value, unit]) => pair(name, number(value), unit)))));
    this.host.replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...["Level", "Name", "Says"].map((title) => element("th", { scope: "col" }, title)))),
      element("tbody", {}, ...lines, ...counted)));
  }
}

