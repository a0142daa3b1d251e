// What can be set while the graph runs: the switch of controllers, and a form for all the rest.

import { element, number, radios, words } from "./format.js";

const SWITCH = "controller";

export class Parameters {
  constructor(connection) {
    this.connection = connection;
    this.form = document.getElementById("parameters");
    this.host = document.getElementById("control");
    this.switchHost = document.getElementById("controller");
    this.switchAnswer = document.getElementById("controller-answer");
    this.shape = "";
    this.rows = new Map();
    this.active = null;
    this.clear();
  }

  clear() {
    this.take([]);
    this.switchAnswer.textContent = "";
    this.setActive(null);
  }

  take(nodes) {
    const all = nodes.flatMap(({ node, parameters }) => parameters.map((parameter) => ({ node, ...parameter })));
    const found = all.find((p) => p.name === SWITCH && p.type === "string");
    this.takeSwitch(found);
    const rest = all.filter((parameter) => parameter !== found);
    // A form that is being filled in stays; only values that nobody is changing are put into it.
    const shape = JSON.stringify(rest.map(({ value, ...fixed }) => fixed));
    if (shape !== this.shape) { this.shape = shape; this.build(rest); }
    for (const parameter of rest) this.rows.get(`${parameter.node} ${parameter.name}`)?.show(parameter.value);
  }

  // ------------------------------------------------------------------------------- controllers

  takeSwitch(found) {
    this.found = found;
    const options = found ? (found.choices.length ? found.choices : [found.value]) : [];
    const shape = JSON.stringify(options);
    if (shape !== this.switchShape) {
      this.switchShape = shape;
      this.show = null;
      this.switchHost.replaceChildren();
      if (found) {
        const group = element("div", { class: "segments choices", role: "radiogroup", "aria-label": "Controller" });
        this.show = radios(group, options.map((option) => [option, words(option)]), found.value, (value) => this.choose(value), true);
        this.switchHost.replaceChildren(group);
      }
    }
    this.showSwitch();
  }

  setActive(name) { this.active = name; this.showSwitch(); }

  showSwitch() {
    this.host.hidden = !this.show && !this.active;
    if (!this.show) {
      this.switchHost.replaceChildren(this.active ? `${words(this.active)}; no node lets it be switched while it runs` : "");
      return;
    }
    const holds = this.active ?? this.found.value;
    this.show(holds);
    for (const button of this.switchHost.firstChild.children) {
      button.toggleAttribute("data-pending", button.dataset.value === this.found.value && this.found.value !== holds);
    }
  }

  async choose(value) {
    const before = this.found;
    this.switchAnswer.removeAttribute("data-ok");
    this.switchAnswer.textContent = `asking ${before.node} for ${words(value)} …`;
    const { ok, reason } = await this.connection.set(before.node, SWITCH, value);
    this.switchAnswer.dataset.ok = ok;
    this.switchAnswer.textContent = ok ? `${words(value)} accepted by ${before.node}` : `${words(value)} refused: ${reason || "no reason given"}`;
    if (ok && this.found) this.found = { ...this.found, value };
    this.showSwitch();
  }

  // --------------------------------------------------------------------------------- all others

  build(parameters) {
    this.rows = new Map();
    const nodes = [...new Set(parameters.map((parameter) => parameter.node))];
    this.form.replaceChildren(...nodes.map((node) => element("fieldset", {}, element("legend", {}, node),
      ...parameters.filter((p) => p.node === node).map((parameter) => {
        const row = new Row(parameter, this.connection);
        this.rows.set(`${node} ${parameter.name}`, row);
        return row.element;
      }))));
    if (!nodes.length) this.form.append(element("p", { class: "empty" }, "No node of this graph has parameters that can be set while it runs."));
  }
}

class Row {
  constructor(parameter, connection) {
    Object.assign(this, { parameter, connection });
    const { name, description, constraints, labels, value, node } = parameter;
    // An empty array may be filled: it has as many fields as it has labels, or one for all values.
    this.isText = Array.isArray(value) && !value.length && !labels.length;
    if (this.isText) this.inputs = [element("input", { type: "text", class: "list", placeholder: "empty; 1, 2, …", "aria-label": words(name) })];
    else this.inputs = Array.isArray(value) ? (value.length ? value : labels).map((_, i) => this.input(labels[i])) : [this.input(name)];
    for (const input of this.inputs) {
      input.addEventListener("input", () => this.mark());
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") this.send();
        if (event.key === "Escape") this.reset();
      });
    }
    const fields = Array.isArray(value) && !this.isText ? this.inputs.map((input, i) => element("label", {}, labels[i], input)) : this.inputs;
    this.button = element("button", { type: "button", disabled: true, onclick: () => this.send() }, "Set");
    this.answer = element("p", { class: "answer", role: "status", "aria-live": "polite" });
    this.element = element("div", { class: "parameter", "data-parameter": `${node}.${name}` },
      element("div", { class: "name" }, words(name), element("small", {}, [description, constraints].filter(Boolean).join(" "))),
      element("div", { class: "values" }, ...fields, this.button), this.answer);
  }

  input(label) {
    const { type, minimum, maximum, choices, name } = this.parameter, base = type.replace("_array", "");
    const common = { "aria-label": `${words(name)} ${label ?? ""}` };
    if (choices.length) return element("select", common, ...choices.map((choice) => element("option", { value: choice }, words(choice))));
    if (base === "bool") return element("input", { ...common, type: "checkbox" });
    if (base === "string" || base === "unset") return element("input", { ...common, type: "text" });
    return element("input", { ...common, type: "number", step: base === "integer" ? 1 : "any", min: minimum, max: maximum });
  }

  read() {
    const base = this.parameter.type.replace("_array", "");
    if (this.isText) {
      const items = this.inputs[0].value.split(",").map((item) => item.trim()).filter(Boolean);
      return base === "string" ? items : items.map((item) => (Number.isFinite(Number(item)) ? Number(item) : null));
    }
    const values = this.inputs.map((input) => {
      if (input.type === "checkbox") return input.checked;
      if (base === "double" || base === "integer") return input.value === "" ? null : Number(input.value);
      return input.value;
    });
    if (!this.parameter.type.endsWith("_array")) return values[0];
    return values.every((value) => value === null || value === "") ? [] : values;
  }

  show(value) {
    if (JSON.stringify(value) === JSON.stringify(this.held)) return;
    const untouched = !this.dirty;
    this.held = value;
    if (untouched) this.reset(); else this.mark();
  }

  reset() {
    const values = Array.isArray(this.held) ? this.held : [this.held];
    this.inputs.forEach((input, i) => {
      if (input.type === "checkbox") input.checked = Boolean(values[i]); else input.value = values[i] ?? "";
    });
    this.mark();
  }

  mark() {
    const values = Array.isArray(this.held) ? this.held : [this.held], now = [this.read()].flat();
    this.dirty = false;
    if (this.isText) this.dirty = now.length > 0;
    else this.inputs.forEach((input, i) => {
      const none = input.type === "text" ? "" : null, changed = (now[i] ?? none) !== (values[i] ?? none);
      input.classList.toggle("changed", changed);
      this.dirty ||= changed;
    });
    this.button.disabled = !this.dirty;
  }

  async send() {
    if (!this.dirty) return;
    const value = this.read(), { node, name } = this.parameter;
    if ([value].flat().includes(null)) {
      this.answer.dataset.ok = false;
      this.answer.textContent = Array.isArray(value) ? "a number is missing: give all, or none" : "a number is missing";
      return;
    }
    this.answer.removeAttribute("data-ok");
    this.answer.textContent = "asking …";
    const { ok, reason } = await this.connection.set(node, name, value);
    this.answer.dataset.ok = ok;
    const said = Array.isArray(value) ? value.map((v) => (typeof v === "number" ? number(v) : v)).join(", ") : String(value);
    this.answer.textContent = ok ? `${words(name)} is ${said || "empty"} now` : `refused: ${reason || "no reason given"}`;
    if (ok) { this.held = value; this.reset(); }
  }
}
