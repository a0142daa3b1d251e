// Numbers, units and small pieces of HTML.

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e4 && Number.isInteger(value)) return value.toLocaleString("en");
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  if (size >= 1e4) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

// As print has it: as wide as a plus.
const minus = (text) => text.replace("-", "−");

// With as many decimals as a step needs: the labels of an axis, which keep their width.
export function stepped(value, step) {
  const decimals = Math.min(8, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
  return minus((Math.abs(value) < step / 1e3 ? 0 : value).toLocaleString("en", {
    minimumFractionDigits: decimals, maximumFractionDigits: decimals,
  }));
}

// With a fixed number of decimals that suits a range: readouts, which must not jump.
export function within(value, span) {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 1e6) return value.toExponential(2);
  const decimals = Math.min(4, Math.max(0, 3 - Math.floor(Math.log10(Math.max(span, 1e-9)))));
  return minus(value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
}

export function seconds(t) {
  if (t < 0) return `−${seconds(-t)}`;
  const whole = Math.floor(t / 60);
  return whole ? `${whole}:${(t - 60 * whole).toFixed(1).padStart(4, "0")} min` : `${t.toFixed(2)} s`;
}

export const titled = (name, unit) => (unit ? `${name} [${unit}]` : name);
export const words = (name) => name.replaceAll("_", " ");

// Text is only ever set as text: names come from other machines.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

// A group of buttons of which one is chosen. The arrow keys go through them and choose as they go; or,
// where `asks` says that a choice has consequences, Enter or the space bar chooses.
export function radios(group, options, chosen, choose, asks = false) {
  const show = (value) => {
    for (const button of group.children) {
      const on = button.dataset.value === String(value);
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
    if (![...group.children].some((button) => button.tabIndex === 0) && group.firstChild) group.firstChild.tabIndex = 0;
  };
  group.replaceChildren(...options.map(([value, label]) => element("button", {
    type: "button", role: "radio", "data-value": value, onclick: () => { if (!asks) show(value); choose(value); },
  }, label)));
  group.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const at = [...group.children].indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = group.children[(at + step + group.children.length) % group.children.length];
    next.focus();
    if (!asks) next.click();
  };
  show(chosen);
  return show;
}
