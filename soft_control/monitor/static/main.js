// The page: what comes from the server goes into the store, and thirty times a second onto canvases.

import { curve, onTheme } from "./canvas.js";
import { Chart } from "./chart.js";
import { Connection } from "./connection.js";
import { element, number, radios, words } from "./format.js";
import { Diagnostics, Solver } from "./panels.js";
import { Parameters } from "./parameters.js";
import { Path } from "./path.js";
import { Store } from "./store.js";

const WINDOWS = [[5, "5 s"], [15, "15 s"], [60, "1 min"], [300, "5 min"], [600, "10 min"]];
const FRAME_MS = 33;
const LONG_FRAME_MS = 150; // of a long window, whose pixels change seldom

const store = new Store();
const $ = (id) => document.getElementById(id);

const shared = {
  window: 15, paused: false, frozen: 0, cursor: null, stale: true,
  // Until when there is something to see, which in the first seconds is not the end of the axis.
  now() { return this.paused ? this.frozen : store.newest; },
  span() {
    const t1 = Math.max(this.now(), this.window);
    return { t0: t1 - this.window, t1 };
  },
  point(t) { if (t !== this.cursor) { this.cursor = t; this.touch(); } },
  touch() { this.stale = true; },
  redraw() { this.stale = true; draw(); }, // at once: a canvas that changes its size is empty
};

const charts = {
  error: new Chart("error", shared, { title: "Tracking error", zero: true, nothing: "no reference to compare with" }),
  outputs: new Chart("outputs", shared, { title: "Outputs and reference", nothing: "no outputs yet" }),
  commands: new Chart("commands", shared, { title: "Commands", nothing: "no commands yet" }),
  signals: new Chart("signals", shared, { title: "Signals", nothing: "no signals" }),
  solver: new Chart("solver", shared, { title: "Solver", zero: true, nothing: "no solver has said anything" }),
};
const path = new Path(shared);
const solver = new Solver(charts.solver, shared);
const diagnostics = new Diagnostics();
const state = { connected: false, graph: null };

const connection = new Connection({
  open() { state.connected = true; showState(); },
  lost() { state.connected = false; showState(); },
  graph(message) {
    const { graph } = state;
    if (graph && (graph.domain !== message.domain || graph.watched !== message.watched)) empty();
    state.graph = message;
    showState();
  },
  layout: lay,
  rows(buffer) { store.take(buffer); shared.touch(); },
  horizon({ outputs }) { path.horizon = outputs; state.horizonAt = performance.now(); },
  told(message) {
    parameters.setActive(message.controller);
    solver.told(message.statuses);
    diagnostics.told(message);
  },
  parameters({ nodes }) { parameters.take(nodes); },
  refused({ reason }) { console.warn(reason); },
});
const parameters = new Parameters(connection);

// ------------------------------------------------------------------------------------- layout

function empty() {
  lay({ generation: -1, columns: [], points: [], row_s: 0.04, rows_max: 1 });
  parameters.clear();
  diagnostics.told({ statuses: [], statistics: [] });
  solver.told([]);
}

function lay(layout) {
  const goesOn = layout.start_s === store.layout.start_s && layout.start_s !== undefined;
  store.clear(layout);
  path.horizon = null;
  if (!goesOn) { // what was looked at is gone
    if (shared.paused) pause(false);
    shared.cursor = null;
  }
  const names = (stream) => store.of(stream).map((column) => ({ column }));
  charts.error.set(names("error"));
  const outputs = names("outputs").map((one, index) => ({ ...one, colour: curve(index) }));
  const wanted = names("reference").map((one) => {
    const of = outputs.findIndex(({ column }) => column.name === one.column.name);
    return { ...one, colour: of < 0 ? "reference" : curve(of), dashed: true, label: `${one.column.name} ref` };
  });
  charts.outputs.set([...outputs, ...wanted]);
  // What the actuators are told; where nobody says that, what a controller asks for.
  const told = names("commands");
  charts.commands.set(told.length ? told : names("asked"));
  const limited = (told.length ? told : names("asked")).some(({ column }) => column.min !== undefined);
  $("commands-note").textContent = [told.length || !store.of("asked").length ? "" : "as asked for", limited ? "limits dashed" : ""].filter(Boolean).join(", ");
  charts.signals.set(names("signals"));
  solver.set(store);
  path.set(store);
  document.title = layout.robot ? `${layout.robot} – soft_control monitor` : "soft_control monitor";
  showState();
}

// -------------------------------------------------------------------------------------- state

function showState() {
  const { connected, graph } = state, banner = $("banner");
  const robot = graph?.robots.find(({ namespace }) => namespace === graph.watched);
  let now = "waiting", said = "connecting", more = "";
  if (!connected) {
    [now, said] = ["lost", "connection lost, reconnecting"];
    more = "The monitor does not answer: it has ended, or its machine is asleep. What was seen until then stays; this page reconnects by itself.";
  } else if (graph && !robot) {
    said = `waiting for a robot on domain ${graph.domain}`;
    more = graph.follows ? "It will appear here as soon as one publishes. The monitor goes where a softctl run is." : "It will appear here as soon as one publishes.";
  } else if (robot) [now, said] = robot.live ? ["live", "live"] : ["silent", store.count ? "silent: no samples come" : "waiting for samples"];
  $("state").dataset.state = now;
  $("state").lastChild.textContent = said;
  banner.dataset.state = now;
  banner.replaceChildren(more, ...otherRuns(graph, robot));
  banner.hidden = banner.childNodes.length === 0 || (now !== "lost" && now !== "waiting" && banner.children.length === 0) || (!more && banner.children.length === 0);
  if (graph) {
    const name = store.layout.robot;
    $("where").textContent = [name && words(name), `domain ${graph.domain}`].filter(Boolean).join(" · ");
    $("robot-choice").hidden = graph.robots.length < 2;
    $("robot").replaceChildren(...graph.robots.map(({ namespace, live }) => element("option", { value: namespace }, namespace + (live ? "" : " (silent)"))));
    $("robot").value = graph.watched ?? "";
  }
  shared.touch();
}

// Runs elsewhere, offered where nothing moves here.
function otherRuns(graph, robot) {
  if (!state.connected || !graph || robot?.live) return [];
  const others = graph.runs.filter((domain) => domain !== graph.domain);
  if (!others.length) return [];
  return [element("span", {}, " Runs are under way in "), ...others.map((domain) => element("button", {
    type: "button", onclick: () => connection.send({ type: "domain", domain }),
  }, `domain ${domain}`))];
}

$("robot").addEventListener("change", ({ target }) => connection.send({ type: "watch", robot: target.value }));

function pause(on) {
  shared.paused = on;
  shared.frozen = store.newest;
  $("pause").setAttribute("aria-pressed", on);
  $("pause").textContent = on ? "Resume" : "Pause";
  shared.touch();
}
$("pause").addEventListener("click", () => pause(!shared.paused));
document.addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest("button, input, select, textarea")) return;
  event.preventDefault();
  pause(!shared.paused);
});
radios($("window"), WINDOWS, shared.window, (value) => { shared.window = value; shared.touch(); });

// ------------------------------------------------------------------------------------ drawing

function errorFigures() {
  const from = store.from(shared.span().t0), end = Math.min(store.count, store.from(shared.now() + 1e-6));
  $("error-figures").replaceChildren(...store.of("error").slice(0, 3).flatMap((column) => {
    let squares = 0, count = 0, largest = 0;
    for (let i = from; i < end; i++) {
      const value = column.values[i % store.capacity];
      if (Number.isNaN(value)) continue;
      squares += value * value; count++; largest = Math.max(largest, value);
    }
    if (!count) return [];
    const unit = column.unit ? ` ${column.unit}` : "";
    return [`${column.name}  RMS `, element("b", {}, number(Math.sqrt(squares / count), 3) + unit), "  max ", element("b", {}, number(largest, 3) + unit), "   "];
  }));
}

let ready = false, drawn = 0;
function draw() {
  if (!ready) return;
  drawn = performance.now();
  shared.stale = false;
  if (path.horizon && drawn - state.horizonAt > 500) path.horizon = null;
  path.draw(store);
  for (const chart of Object.values(charts)) chart.draw(store);
  solver.draw(store);
  errorFigures();
}

function frame(now) {
  const pause = shared.window > 60 && shared.cursor === null && !shared.paused ? LONG_FRAME_MS : FRAME_MS;
  if (shared.stale && now - drawn >= pause - 4) draw();
  requestAnimationFrame(frame);
}
onTheme(() => shared.touch());
lay(store.layout);
ready = true;
requestAnimationFrame(frame);
