// What every view needs: a root that keeps its keys, labelled controls, a summary that is read aloud, axes and colours.
// A view is a function render({ model, el }) that uses of `model` only get, set, on and save_changes.
import { axisBottom, axisLeft } from "d3-axis";
import { select } from "d3-selection";

export { scaleBand, scaleLinear, scaleLog } from "d3-scale";
export { interpolateCividis } from "d3-scale-chromatic";
export { area, line } from "d3-shape";
export { select };

// Okabe and Ito; the families' colours are those of lmlab/figures/theme.py
export const FAMILIES = { "GPT-OSS": "#0072B2", Qwen3: "#E69F00", DeepSeek: "#009E73" };
export const COLOURS = { before: "#808080", now: "#0072B2", unseen: "#D55E00", kept: "#009E73", accent: "#E69F00" };

const STYLE = `
.lmlab { color: var(--jp-ui-font-color1, #222); background: var(--jp-layout-color0, #fff); font: 14px/1.45 system-ui, sans-serif;
  max-width: 980px; padding: 8px 4px; }
.lmlab .controls { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 6px 18px; }
.lmlab label { display: flex; flex-direction: column; font-weight: 600; }
.lmlab label output { font-weight: 400; }
.lmlab input, .lmlab label select { width: 100%; box-sizing: border-box; font: inherit; font-weight: 400; color: inherit; background: var(--jp-layout-color1, #fff);
  accent-color: #0072B2; }
.lmlab :focus-visible { outline: 3px solid #E69F00; outline-offset: 1px; }
.lmlab details { margin: 6px 0; }
.lmlab .many, .lmlab .wide { grid-column: 1 / -1; margin: 0; }
.lmlab fieldset { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); margin: 4px 0; }
.lmlab .answers { grid-template-columns: 1fr; gap: 4px; }
.lmlab button { font: inherit; padding: 4px 12px; }
.lmlab fieldset label { display: block; font-weight: 400; }
.lmlab fieldset input { width: auto; margin-right: 6px; }
.lmlab [hidden] { display: none; }
.lmlab table { border-collapse: collapse; margin: 8px 0; }
.lmlab th, .lmlab td { text-align: right; padding: 3px 12px 3px 0; border-bottom: 1px solid #8886; white-space: nowrap; }
.lmlab th:first-child { text-align: left; }
.lmlab summary { cursor: pointer; font-weight: 600; }
.lmlab p { margin: 6px 0; }
.lmlab .problem:not(:empty) { border-left: 4px solid #D55E00; padding-left: 8px; font-weight: 600; }
.lmlab .scroll { overflow-x: auto; }
.lmlab svg { min-width: 720px; max-width: 100%; height: auto; display: block; }
.lmlab svg text { fill: currentColor; font: 13px system-ui, sans-serif; }
.lmlab .axis path, .lmlab .axis line { stroke: currentColor; opacity: 0.5; }
`;

// A group with a name. Keys pressed inside stay inside, since JupyterLab would take arrows and letters for its own; Escape
// and Shift+Enter go through.
export function root(el, name) {
  const node = document.createElement("div");
  node.className = "lmlab";
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", name);
  node.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" && !(event.key === "Enter" && event.shiftKey)) event.stopPropagation();
  });
  const style = document.createElement("style");
  style.textContent = STYLE;
  node.append(style);
  el.append(node);
  return node;
}

export function add(parent, tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

// The controls that Python lists in the trait `controls`: {name, label, kind: "slider" | "choice" | "many" | "text" |
// "marks", values, labels, more, when}. Each writes its value into the trait `state`; values and their labels come from
// Python. "marks" are chosen in the picture, which the view draws.
export function controls(parent, model) {
  const specs = model.get("controls").filter((spec) => spec.kind !== "marks");
  const sight = add(parent, "div", { class: "controls" });
  let more = null;
  if (specs.some((spec) => spec.more)) {
    const details = add(parent, "details");
    add(details, "summary", {}, "More");
    more = add(details, "div", { class: "controls" });
  }
  const kinds = { many: boxes, text: written };
  const made = specs.map((spec) => (kinds[spec.kind] ?? control)(spec.more ? more : sight, spec, model));
  const refresh = () => {
    const state = model.get("state");
    specs.forEach(({ name, when }, i) => {
      made[i].node.hidden = Boolean(when) && !when[1].includes(state[when[0]]);
      made[i].show(state[name]);
    });
  };
  model.on("change:state", refresh);
  refresh();
}

export const put = (model, name, value) => {
  model.set("state", { ...model.get("state"), [name]: value });
  model.save_changes();
};

function control(parent, spec, model) {
  const node = add(parent, "label", {}, spec.label);
  const input = add(node, spec.kind === "choice" ? "select" : "input", { "data-control": spec.name });
  const output = spec.kind === "choice" ? null : add(node, "output");
  if (spec.kind === "choice") {
    spec.labels.forEach((text, i) => add(input, "option", { value: i }, text));
  } else {
    Object.assign(input, { type: "range", min: 0, max: spec.values.length - 1, step: 1 });
  }
  input.addEventListener("input", () => put(model, spec.name, spec.values[Number(input.value)]));
  const show = (value) => {
    const i = spec.values.indexOf(value);
    input.value = i;
    if (output) {
      output.textContent = spec.labels[i];
      input.setAttribute("aria-valuetext", spec.labels[i]);
    }
  };
  return { node, show };
}

// A text of the reader's own: it counts once Enter is pressed or the field is left.
function written(parent, spec, model) {
  const node = add(parent, "label", { class: "wide" }, spec.label);
  const input = add(node, "input", { type: "text", "data-control": spec.name, spellcheck: "false", autocomplete: "off" });
  input.addEventListener("change", () => put(model, spec.name, input.value));
  const show = (value) => {
    if (document.activeElement !== input) input.value = value; // what is being typed stays
  };
  return { node, show };
}

// Any of the values, as check boxes in a fold that says which are chosen.
function boxes(parent, spec, model) {
  const node = add(parent, "details", { class: "many" });
  const heading = add(node, "summary");
  const set = add(node, "fieldset", { "data-control": spec.name });
  add(set, "legend", {}, spec.label);
  const inputs = spec.labels.map((text, i) => {
    const label = add(set, "label");
    const input = add(label, "input", { type: "checkbox", "data-control": spec.name, "data-value": i });
    label.append(text);
    return input;
  });
  set.addEventListener("input", () => put(model, spec.name, spec.values.filter((_, i) => inputs[i].checked)));
  const show = (chosen) => {
    spec.values.forEach((value, i) => { inputs[i].checked = chosen.includes(value); });
    heading.textContent = `${spec.label}: ${spec.labels.filter((_, i) => inputs[i].checked).join(", ") || "none"}`;
  };
  return { node, show };
}

// The text that says what the picture shows, below it and read aloud when it changes; and a line for what went wrong.
export function words(parent, model) {
  const problem = add(parent, "p", { class: "problem", role: "alert" });
  const summary = add(parent, "p", { class: "summary", "aria-live": "polite" });
  const refresh = () => {
    problem.textContent = model.get("problem");
    summary.textContent = model.get("summary");
  };
  model.on("change:summary change:problem", refresh);
  refresh();
}

let lists = 0; // ids that no other list on the page has

// A list of {text, label, style}, of which one is chosen by a click or the keys of moves(), {key: step}; Home and End too.
export function options(parent, model, { name, label, moves, style }) {
  const box = add(parent, "div", { role: "listbox", tabindex: 0, "data-control": name, "aria-label": label, style,
    "aria-orientation": "horizontal" });
  const tag = `lmlab-token-${lists++}`;
  const go = (to) => {
    const last = box.children.length - 1, place = Math.max(0, Math.min(last, to));
    if (place !== Math.min(model.get("state")[name], last)) put(model, name, place);
  };
  box.addEventListener("keydown", (event) => {
    const step = { Home: -Infinity, End: Infinity, ...moves() }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    go(Math.min(model.get("state")[name], box.children.length - 1) + step);
  });
  box.addEventListener("click", (event) => {
    const at = [...box.children].indexOf(event.target.closest("[role=option]"));
    if (at >= 0) go(at);
  });
  return (items, chosen) => {
    box.setAttribute("aria-activedescendant", `${tag}-${chosen}`);
    select(box).selectAll("span").data(items).join("span").attr("role", "option").attr("id", (_, i) => `${tag}-${i}`)
      .attr("aria-selected", (_, i) => `${i === chosen}`).attr("aria-label", (d) => d.label ?? null).attr("title", (d) => d.label ?? null)
      .attr("style", (d) => d.style).text((d) => d.text);
  };
}

// As many pictures as there are things to draw: make(node) gives the function that draws one.
export function several(parent, make, style = "margin: 10px 0") {
  const place = add(parent, "div"), made = [];
  return (all) => {
    while (made.length > all.length) made.pop().part.remove();
    while (made.length < all.length) {
      const part = add(place, "div", { style });
      made.push({ part, draw: make(part) });
    }
    made.forEach(({ draw }, i) => draw(all[i]));
  };
}

// Draw now and after every change of the data; the root carries the version that is on the screen.
export function drawing(node, model, draw) {
  const refresh = () => {
    const data = model.get("data");
    if (Object.keys(data).length) draw(data); // nothing to draw where the first state was refused
    node.setAttribute("data-version", model.get("version"));
  };
  model.on("change:version", refresh);
  refresh();
}

// Rows of text that Python wrote; the first of a row names it. What does not fit scrolls, by keyboard too.
export function table(parent, label) {
  const frame = add(parent, "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label });
  const node = add(frame, "table");
  return ({ columns, rows }) => {
    node.replaceChildren();
    const head = add(add(node, "thead"), "tr"), body = add(node, "tbody");
    columns.forEach((text) => add(head, "th", { scope: "col" }, text));
    rows.forEach((row) => {
      const line = add(body, "tr");
      row.forEach((text, i) => add(line, i ? "td" : "th", i ? {} : { scope: "row" }, text));
    });
  };
}

// On a narrow screen the picture keeps a readable size and scrolls, by keyboard too.
export function svg(parent, width, height, label) {
  const frame = add(parent, "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label });
  return select(frame).append("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("width", width)
    .attr("height", height).attr("role", "img").attr("aria-label", label);
}

export function axes(picture, { x, y, left, bottom, xLabel, yLabel, xTicks, yTicks, xFormat, yFormat }) {
  let xAxis = axisBottom(x), yAxis = axisLeft(y);
  if (xTicks) xAxis = Array.isArray(xTicks) ? xAxis.tickValues(xTicks) : xAxis.ticks(xTicks);
  if (yTicks) yAxis = Array.isArray(yTicks) ? yAxis.tickValues(yTicks) : yAxis.ticks(yTicks);
  if (xFormat) xAxis = xAxis.tickFormat(xFormat);
  if (yFormat) yAxis = yAxis.tickFormat(yFormat);
  const place = (name, axis, shift) => {
    const found = picture.selectAll(`g.${name}`).data([0]).join("g").attr("class", `axis ${name}`);
    found.attr("transform", shift).call(axis);
  };
  place("x", xAxis, `translate(0,${bottom})`);
  place("y", yAxis, `translate(${left},0)`);
  const name = (key, text, cx, cy, turn) => picture.selectAll(`text.${key}`).data([0]).join("text").attr("class", key)
    .attr("text-anchor", "middle").attr("transform", `translate(${cx},${cy}) rotate(${turn})`).text(text);
  const [x0, x1] = x.range(), [y0, y1] = y.range();
  name("x-name", xLabel, (x0 + x1) / 2, bottom + 38, 0);
  name("y-name", yLabel, left - 52, (y0 + y1) / 2, -90);
}

// Places for labels on a line: as near to `wanted` as can be, at least `gap` apart, between `low` and `high`.
export function apart(wanted, gap, low, high) {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b]), placed = [];
  order.forEach((i, k) => { placed[i] = k ? Math.max(wanted[i], placed[order[k - 1]] + gap) : Math.max(wanted[i], low); });
  for (let k = order.length - 1, limit = high; k >= 0; k--, limit -= gap) {
    placed[order[k]] = Math.min(placed[order[k]], limit);
  }
  return placed;
}
