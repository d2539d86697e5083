// Models as parts within parts: boxes one opens, or squares whose areas are parameters; one part is chosen. Beside the
// picture what it holds, in each model; below, its lines of code and the vendor's facts. All parts are in the data: another
// part, an opened one and another way to draw are shown at once, before Python has answered.
const ROW = 25, GAP = 22, TOP = 26, WIDE = 940, ALONE = 470, TALL = 430, NAME = 150;
const FILLS = { attention: "#0072B2", MLP: "#E69F00", embedding: "#009E73", norm: "#808080", layers: "#808080", MTP: "#CC79A7" };
const SIGNS = { only: "+ ", other: "\u2260 ", same: "" };

let trees = 0; // ids that no other view on the page has

const opened = (state, node) => node.folds && state.open.includes(node.path);

function inSight(column, state) {
  const shown = new Set();
  return column.nodes.filter((node) => {
    const parent = !node.parent || (state.open.includes(node.parent) && shown.has(node.parent));
    if (parent) shown.add(node.path);
    return parent;
  });
}

// Places as boxes: a part's own row, and below it what it holds.
function nested(data, state, sight, width) {
  let lowest = 0;
  const items = sight.flatMap((nodes, i) => {
    const x = i * (width + GAP), placed = [], ends = new Map();
    let y = TOP;
    nodes.forEach((node, k) => {
      placed.push({ node, x: x + 7 * node.depth, y, width: width - 14 * node.depth, mode: "box" });
      y += ROW + 3;
      const next = nodes[k + 1]?.depth ?? 0;
      for (let d = node.depth; d > next; d--) y += 4; // room below what has ended
      ends.set(node.path, y);
      for (let up = node; up.parent; ) {
        up = nodes.find((one) => one.path === up.parent);
        ends.set(up.path, y);
      }
    });
    lowest = Math.max(lowest, y);
    return placed.map((one) => {
      const below = nodes.filter((other) => other.path !== one.node.path && within(nodes, other, one.node.path));
      const last = below.length ? placed[nodes.indexOf(below.at(-1))] : null;
      const height = last ? last.y + ROW + 4 * (last.node.depth - one.node.depth) - one.y : ROW;
      return { ...one, height };
    });
  });
  return { items, height: lowest + 4, heads: data.columns.map((column, i) => ({ column, x: i * (width + GAP), y: 15, told: "" })) };
}

function within(nodes, node, path) {
  for (let up = node; up; up = nodes.find((one) => one.path === up.parent)) if (up.path === path) return true;
  return false;
}

// Places to scale: squares side by side, on one scale or each on its own; a part whose own parts are seen is an outline.
function scaled(data, state, sight, together) {
  const most = Math.max(...data.columns.map((column) => column.parameters)), n = data.columns.length;
  const ratio = data.columns.map((column) => (together ? Math.sqrt(column.parameters / most) : 1));
  let side = n === 1 ? ALONE - 20 : TALL;
  const slots = () => ratio.map((r) => Math.max(r * side, NAME));
  while (slots().reduce((a, b) => a + b) + GAP * (n - 1) > (n === 1 ? ALONE : WIDE)) side -= 5;
  let x = 0;
  const foot = TOP + 18 + side, heads = [];
  const items = sight.flatMap((nodes, i) => {
    const own = ratio[i] * side, left = x, top = foot - own;
    heads.push({ column: data.columns[i], x, y: 15, told: data.columns[i].total, ring: own < 8 ? [left + own / 2, top + own / 2] : null });
    x += slots()[i] + GAP;
    return nodes.map((node) => {
      const [ax, ay, aw, ah] = node.area ?? [0, 0, 0, 0];
      return { node, x: left + ax * own, y: top + ay * own, width: aw * own, height: ah * own, mode: opened(state, node) ? "outline" : "tile" };
    });
  });
  return { items, height: foot + 8, heads };
}

const cut = (text, room) => (text.length <= room ? text : room < 4 ? "" : `${text.slice(0, room - 1)}\u2026`);

function titled({ node, width, height, mode }, state) {
  if (mode === "outline" || height < 14) return "";
  const fold = mode === "box" && node.folds ? (opened(state, node) ? "\u25be " : "\u25b8 ") : "";
  const room = Math.floor((width - 14) / 6.7) - (mode === "box" ? node.number.length + 2 : 0);
  return cut(`${SIGNS[node.mark]}${fold}${node.title}`, room);
}

function picture(frame, model) {
  const svg = kit.svg(frame, WIDE, 300, "The parts of the models; the words and the table tell the chosen one");
  const tag = `lmlab-node-${trees++}`, heads = svg.append("g"), parts = svg.append("g"), mark = svg.append("g");
  svg.attr("role", "tree").attr("tabindex", 0).attr("data-control", "node").attr("aria-label", "Parts: arrow keys move, Enter opens and closes");
  const keys = (id) => `${tag}-${id.replace(/\W/g, "_")}`;
  const now = () => {
    const data = model.get("data"), state = model.get("state");
    const nodes = data.columns.flatMap((column) => inSight(column, state));
    return { state, nodes, at: nodes.findIndex((node) => node.id === state.node) };
  };
  const toggle = (state, node) => {
    if (!node.folds) return;
    kit.put(model, "open", state.open.includes(node.path) ? state.open.filter((path) => path !== node.path) : [...state.open, node.path]);
  };
  const go = (node) => node && node.id !== model.get("state").node && kit.put(model, "node", node.id);
  svg.on("keydown", (event) => {
    const { state, nodes, at } = now(), node = nodes[at], open = opened(state, node);
    const above = nodes.slice(0, at).reverse().find((one) => one.path === node.parent);
    const act = {
      ArrowDown: () => go(nodes[at + 1]), ArrowUp: () => go(nodes[at - 1]), Home: () => go(nodes[0]), End: () => go(nodes.at(-1)),
      ArrowRight: () => (node.folds && !open ? toggle(state, node) : node.folds && go(nodes[at + 1])),
      ArrowLeft: () => (open ? toggle(state, node) : go(above)), Enter: () => toggle(state, node),
    }[event.shiftKey ? "" : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  const click = (event, { node }) => {
    const { state } = now();
    svg.node().focus();
    if (node.id === state.node) toggle(state, node);
    else go(node);
  };
  return (data, state) => {
    const sight = data.columns.map((column) => inSight(column, state)), n = data.columns.length;
    const total = n === 1 ? ALONE : WIDE, width = (total - GAP * (n - 1)) / n;
    const { items, height, heads: names } = state.draw === "as boxes" ? nested(data, state, sight, width)
      : scaled(data, state, sight, state.draw === "to scale, together");
    frame.style.width = `min(100%, ${total}px)`;
    svg.attr("viewBox", `0 0 ${total} ${height}`).attr("width", total).attr("height", height).style("min-width", `${total}px`)
      .attr("aria-activedescendant", keys(state.node));
    heads.selectAll("text").data(names.flatMap((one) => [[one, one.column.name, 700, 0], [one, one.told, 400, 18]])).join("text")
      .attr("x", ([one]) => one.x).attr("y", ([one, , , down]) => one.y + down).attr("font-weight", (d) => d[2]).text((d) => d[1]);
    heads.selectAll("circle").data(names.filter((one) => one.ring)).join("circle").attr("r", 7).attr("fill", "none")
      .attr("stroke", "currentColor").attr("cx", (one) => one.ring[0]).attr("cy", (one) => one.ring[1]);
    const item = parts.selectAll("g").data(items, (one) => one.node.id).join((enter) => {
      const made = enter.append("g").attr("role", "treeitem").attr("style", "cursor: pointer").on("click", click);
      ["box", "active"].forEach((name) => made.append("rect").attr("class", name));
      ["title", "number"].forEach((name) => made.append("text").attr("class", name));
      return made;
    }).order().attr("id", (d) => keys(d.node.id)).attr("aria-label", (d) => `${d.node.title}${d.node.number ? `, ${d.node.number} parameters` : ""}`)
      .attr("aria-level", (d) => d.node.depth + 1).attr("aria-selected", (d) => `${d.node.id === state.node}`)
      .attr("aria-expanded", (d) => (d.node.folds ? `${opened(state, d.node)}` : null));
    const rect = (name) => item.select(`rect.${name}`).attr("x", (d) => d.x).attr("y", (d) => d.y).attr("height", (d) => d.height)
      .attr("fill", (d) => FILLS[d.node.kind]);
    rect("box").attr("width", (d) => d.width).attr("fill-opacity", (d) => ({ outline: 0, tile: 0.22 }[d.mode] ?? (d.node.kind === "layers" ? 0.04 : 0.1)))
      .attr("stroke", (d) => (d.node.mark === "same" ? FILLS[d.node.kind] : kit.COLOURS.unseen))
      .attr("stroke-width", (d) => (d.mode !== "box" ? 0.7 : { same: 1, other: 1.3, only: 2.6 }[d.node.mark]))
      .attr("stroke-dasharray", (d) => (d.mode === "box" && d.node.mark === "only" ? "5 3" : null));
    rect("active").attr("width", (d) => (d.mode === "tile" ? d.width * d.node.active : 0)).attr("fill-opacity", 0.55);
    item.select("text.title").attr("x", (d) => d.x + 6).attr("y", (d) => d.y + 17).text((d) => titled(d, state))
      .attr("font-weight", (d) => (d.node.id === state.node ? 700 : 400));
    item.select("text.number").attr("x", (d) => d.x + d.width - 6).attr("y", (d) => d.y + 17).attr("text-anchor", "end")
      .text((d) => (d.mode === "box" ? d.node.number : ""));
    mark.selectAll("rect").data(items.filter((d) => d.node.id === state.node)).join("rect").attr("fill", "none").attr("pointer-events", "none")
      .attr("stroke", "#E69F00").attr("stroke-width", 3.5).attr("x", (d) => d.x).attr("y", (d) => d.y).attr("width", (d) => d.width)
      .attr("height", (d) => d.height);
  };
}

// The chosen part's numbers, a column for each model; what differs is marked.
function told(data, state) {
  const all = new Map(data.columns.flatMap((column) => column.nodes.map((node) => [node.id, node])));
  const node = all.get(state.node), beside = node.beside.map((id) => all.get(id));
  const cells = beside.map((one) => new Map(one ? one.cells : []));
  const labels = [...new Set(cells.flatMap((one) => [...one.keys()]))];
  const rows = labels.map((label) => {
    const values = cells.map((one) => one.get(label) ?? "-");
    return [`${new Set(values).size > 1 ? SIGNS.other : ""}${label}`, ...values];
  });
  return { node, table: { columns: ["the chosen part", ...data.columns.map((column) => column.name)], rows } };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Architecture: the parts of a model");
    kit.controls(node, model);
    const both = kit.add(node, "div", { style: "display: flex; flex-wrap: wrap; gap: 4px 24px; align-items: flex-start; margin-top: 8px" });
    const left = kit.add(both, "div"), right = kit.add(both, "div", { style: "flex: 1 1 400px; min-width: 0" });
    const draw = picture(left, model), table = kit.table(right, "The chosen part in numbers");
    kit.words(left, model);
    const behind = kit.add(node, "div"), place = kit.add(behind, "p", { style: "font-weight: 600" });
    const code = kit.add(behind, "pre", { style: "white-space: pre-wrap; margin: 4px 0; font-size: 12px; color: inherit" });
    const heading = kit.add(behind, "p", { style: "font-weight: 600" }), facts = kit.add(behind, "ul", { style: "margin: 4px 0" });
    kit.add(node, "p", {}, "Arrow keys move among the parts, Enter or a second click opens and closes one. Numbers are of one copy of what "
      + "holds the part. A sign and a red edge mark what differs between models: + (dashed) has no counterpart in another, \u2260 is of another "
      + "size or setting. To scale, the solid share of a part is what one token uses.");
    const say = node.querySelector(".summary");
    let drawn = [];
    const show = () => {
      const data = model.get("data"), state = model.get("state");
      if (!data.columns || !data.columns.some((column) => column.nodes.some((one) => one.id === state.node))) return;
      const asked = [data, state.node, state.open, state.draw];
      if (asked.every((one, i) => one === drawn[i])) return;
      drawn = asked;
      draw(data, state);
      const { node: chosen, table: rows } = told(data, state);
      table(rows);
      place.textContent = chosen.place;
      code.textContent = data.codes[chosen.place] ?? "";
      heading.textContent = chosen.facts.length ? "The vendor's facts behind it" : "No vendor's fact stands behind it: this configuration is lmlab's own, or yours.";
      kit.select(facts).selectAll("li").data(chosen.facts).join("li").text((key) => data.facts[key]);
      const text = [data.lead, chosen.words, ...data.notes].join(" ");
      if (say.textContent !== text) say.textContent = text; // read aloud once
    };
    model.on("change:state change:summary", show);
    kit.drawing(node, model, show);
  },
};
