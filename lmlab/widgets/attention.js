// Left, every head of every layer as one number, with the key/value heads that query heads share above. Right, the chosen
// head: queries down, keys across, on a canvas. Below, the text, each token as deep as the chosen one looks at it. Every
// head and every row is in the data: another one is drawn at once, before Python has answered.
const WIDTH = 620, TOP = 44, LEFT = 104, FOOT = 76, SIDE = 496, SINK = 20, LETTER = 11, EDGE = kit.COLOURS.unseen;
const SHADES = Array.from({ length: 256 }, (_, i) => kit.interpolateCividis(i / 255));
const shade = (share) => SHADES[Math.round(255 * Math.max(0, Math.min(1, share)))];
const deep = (weight) => Math.sqrt(Math.max(0, weight)); // the small ones can be seen too
const ink = (share) => (share > 0.46 ? "#000" : "#fff");
const short = (piece) => (piece.length > 11 ? `${piece.slice(0, 10)}\u2026` : piece);
const percent = (weight) => `${(100 * weight).toFixed(1)}%`;
const floats = (view) => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

// What the data hold, as arrays: weight(head, i, j) of query i and key j, and so on.
function unpack(data) {
  const length = data.tokens.length, each = (length * (length + 1)) / 2;
  const at = (grid) => (head, i, j) => grid[head * each + (i * (i + 1)) / 2 + j];
  const sinks = data.sinks && floats(data.sinks), heads = data.statistics.distance[0].length;
  return { ...data, length, heads, weight: at(floats(data.weights)), sink: sinks && ((head, i) => sinks[head * length + i]),
    score: data.map && at(floats(data.map.values)), sees: (layer, i, j) => j <= i && (!data.windows[layer] || j > i - data.windows[layer]) };
}

function overview(parent, model, wide) {
  const frame = kit.add(parent, "div", { style: "display: grid; grid-template-columns: auto 1fr; gap: 2px 8px; font-size: 12px" });
  const columns = (node, count) => {
    node.style.cssText = `display: grid; grid-template-columns: repeat(${count}, minmax(0, 1fr)); gap: 2px; text-align: center`;
  };
  const cell = (tag = "div", style = "") => kit.add(frame, tag, { style });
  cell();
  const groups = cell();
  cell().textContent = "layer";
  const heads = cell(), layers = cell("div", "display: grid; gap: 2px; grid-auto-rows: 30px; align-items: center; white-space: nowrap");
  const box = cell("div", "padding: 0");
  const draw = kit.options(box, model, { name: "head", label: "Layer and head", style: "",
    moves: () => ({ ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide(), ArrowUp: -wide() }) });
  const options = box.firstElementChild;
  return (data, chosen, state) => {
    const values = (state.statistic === "beyond" ? data.beyond[state.window] : data.statistics[state.statistic]).flat();
    const most = Math.max(...values), plain = ["distance", "entropy"].includes(state.statistic);
    const said = (value) => (plain ? value.toFixed(1) : `${Math.round(100 * value)}%`);
    [groups, heads, options].forEach((node) => columns(node, data.heads));
    options.style.gridAutoRows = "30px";
    kit.select(groups).selectAll("span").data(data.groups).join("span").text((d) => d.label)
      .attr("style", (d) => `grid-column: span ${d.size}; border: 1px solid currentColor; border-bottom: 0; border-radius: 4px 4px 0 0; overflow: hidden`);
    kit.select(heads).selectAll("span").data(data.groups.flatMap((d) => Array(d.size).fill(0))).join("span").text((_, i) => (data.heads > 24 ? "" : i));
    kit.select(layers).selectAll("span").data(data.layers).join("span").text((d) => d);
    draw(values.map((value, i) => {
      const part = most ? value / most : 0, edge = i === chosen ? `outline: 3px solid ${kit.COLOURS.accent}; outline-offset: 0; font-weight: 700; z-index: 1` : "";
      return { text: data.heads > 10 ? "" : said(value), label: `layer ${Math.floor(i / data.heads)}, head ${i % data.heads}: ${said(value)}`,
        style: `display: block; line-height: 30px; cursor: pointer; overflow: hidden; background: ${shade(part)}; color: ${ink(part)}; ${edge}` };
    }), chosen);
  };
}

// The canvas, and over it what is sharp at any size: names, the chosen row, the window's edge.
function picture(parent, model) {
  const frame = kit.add(parent, "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "The chosen head, token by token" });
  const inner = kit.add(frame, "div", { style: `position: relative; width: ${WIDTH}px` });
  const height = TOP + SIDE + FOOT, scale = Math.max(1, window.devicePixelRatio || 1);
  const canvas = kit.add(inner, "canvas", { width: WIDTH * scale, height: height * scale, "aria-hidden": "true",
    style: `position: absolute; inset: 0; width: ${WIDTH}px; height: ${height}px` });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const svg = kit.select(inner).append("svg").attr("width", WIDTH).attr("height", height).attr("viewBox", `0 0 ${WIDTH} ${height}`)
    .attr("role", "img").attr("aria-label", "Weights or scores of the chosen head; the text below says what they show")
    .attr("style", `position: relative; min-width: 0; max-width: none; cursor: pointer`);
  const hover = kit.add(parent, "p", { "aria-hidden": "true", style: "min-height: 1.45em; margin: 0" });
  const layers = Object.fromEntries(["legend", "rows", "keys", "edges", "chosen"].map((name) => [name, svg.append("g").attr("class", name)]));
  let now = null; // what is drawn: for the pointer
  svg.on("pointermove", (event) => {
    const found = now?.under(event);
    hover.textContent = found ? now.tell(...found) : "";
  });
  svg.on("pointerleave", () => { hover.textContent = ""; });
  svg.on("click", (event) => {
    const found = now?.under(event);
    if (found) kit.put(model, "token", found[0]);
  });
  return (data, head, t, state) => {
    pen.clearRect(0, 0, WIDTH, height);
    const layer = Math.floor(head / data.heads), lines = state.form === "lines", score = lines ? null : data.map;
    const { length } = data, x0 = LEFT + (data.sinks ? SINK + 6 : 0), cell = Math.min((LEFT + SIDE - x0) / length, 40);
    const tone = score ? (value) => (value - score.low[layer][head % data.heads])
      / (score.high[layer][head % data.heads] - score.low[layer][head % data.heads] || 1) : deep;
    const value = score ? data.score : data.weight, place = { x0, cell, layer, head, t, tone, value, score };
    now = (lines ? threads : map)(pen, layers, data, place, state);
    const range = score ? [[score.low[layer][head % data.heads].toFixed(2), 0], [score.high[layer][head % data.heads].toFixed(2), 1]]
      : [["0", 0], ["25%", 0.5], ["100%", 1]];
    legend(layers.legend, lines ? [["orange: the chosen token", 0.5]] : range,
      `layer ${layer}, head ${head % data.heads}: ${score ? score.label : "weights"}`, now.edges);
  };
}

// What a shade means; for lines, what a colour does.
function legend(group, ends, title, edges = []) {
  const bar = 440, wide = 160, steps = Array.from({ length: ends.length > 1 ? 40 : 0 }, (_, i) => i / 39);
  group.selectAll("rect").data(steps).join("rect").attr("x", (d) => bar + (wide - 4) * d).attr("y", 4).attr("width", 5).attr("height", 12).attr("fill", shade);
  const said = [[title, LEFT, 15], ...ends.map(([text, at]) => [text, bar + wide * at, ends.length > 1 ? 29 : 15]),
    ...edges.map((d, k) => [`${d.text} of ${d.window} ends`, bar + 34, 52 + 18 * k])];
  group.selectAll("text").data(said).join("text").attr("x", (d) => d[1]).attr("y", (d) => d[2])
    .attr("text-anchor", (_, i) => (i && i <= ends.length ? "middle" : "start")).attr("style", (_, i) => (i ? `font-size: ${LETTER}px` : "font-weight: 600")).text((d) => d[0]);
  group.selectAll("path").data(edges).join("path").attr("d", (_, k) => `M${bar},${48 + 18 * k}h28`).attr("stroke", EDGE).attr("stroke-width", 2)
    .attr("stroke-dasharray", (d) => d.dash);
}

// Names of the tokens, as many as have room; the chosen one always.
function names(group, data, chosen, pitch, where, turn, anchor = "end") {
  const step = Math.ceil((LETTER + 1) / pitch);
  const some = data.tokens.map((piece, i) => ({ piece, i })).filter(({ i }) => i === chosen || (i % step === 0 && (step === 1 || chosen < 0 || Math.abs(i - chosen) >= step)));
  group.selectAll("text").data(some).join("text").text((d) => short(d.piece)).attr("text-anchor", anchor).attr("transform", (d) => `translate(${where(d.i)}) rotate(${turn})`)
    .attr("style", (d) => `font-size: ${LETTER}px; font-weight: ${d.i === chosen ? 700 : 400}`);
}

function map(pen, layers, data, { x0, cell, layer, head, t, tone, value, score }, state) {
  const { length, windows } = data, end = TOP + length * cell, size = Math.max(cell - (cell > 6 ? 1 : 0), 0.5);
  for (let i = 0; i < length; i++) {
    for (let j = 0; j <= i; j++) {
      const seen = data.sees(layer, i, j);
      pen.fillStyle = seen ? shade(tone(value(head, i, j))) : "rgba(128, 128, 128, 0.15)";
      pen.fillRect(x0 + j * cell, TOP + i * cell, size, size);
    }
    if (data.sinks && (!score || score.sinks)) {
      pen.fillStyle = shade(tone(score ? score.sinks[layer][head % data.heads] : data.sink(head, i)));
      pen.fillRect(LEFT, TOP + i * cell, SINK, size);
    }
  }
  names(layers.rows, data, t, cell, (i) => `${LEFT - 6},${TOP + (i + 0.5) * cell + 4}`, 0);
  names(layers.keys, data, -1, cell, (j) => `${x0 + (j + 0.5) * cell + 4},${end + 8}`, -60);
  const sink = data.sinks ? [[`${LEFT + SINK / 2},${TOP - 6}`, "sink"]] : [];
  const edge = (window) => {
    if (!window || window >= length) return "";
    const at = Array.from({ length: length - window }, (_, k) => `H${x0 + (k + 1) * cell}V${TOP + (window + k + 1) * cell}`);
    return `M${x0},${TOP + window * cell}${at.join("")}`;
  };
  const own = windows[layer], asked = own && own <= state.window ? null : state.window;
  const edges = [{ window: own, dash: "", text: "window" }, { window: asked, dash: "3 3", text: "a window" }].filter((d) => edge(d.window));
  layers.edges.selectAll("path").data(edges).join("path").attr("d", (d) => edge(d.window)).attr("fill", "none").attr("stroke", EDGE)
    .attr("stroke-width", 2).attr("stroke-dasharray", (d) => d.dash);
  layers.edges.selectAll("text").data(sink).join("text").attr("text-anchor", "middle").attr("transform", (d) => `translate(${d[0]})`)
    .attr("style", `font-size: ${LETTER}px`).text((d) => d[1]);
  layers.chosen.selectAll("path").data([0]).join("path").attr("fill", "none").attr("stroke", kit.COLOURS.accent).attr("stroke-width", 2)
    .attr("d", `M${(data.sinks ? LEFT : x0) - 2},${TOP + t * cell - 1.5}H${x0 + (t + 1) * cell + 1}v${cell + 2}H${(data.sinks ? LEFT : x0) - 2}z`);
  const under = (event) => {
    const { x, y } = event.currentTarget.getBoundingClientRect(), j = Math.floor((event.clientX - x - x0) / cell), i = Math.floor((event.clientY - y - TOP) / cell);
    return i >= 0 && i < length && j >= 0 && j <= i ? [i, j] : null;
  };
  const tell = (i, j) => `\u201c${data.tokens[i]}\u201d looks at \u201c${data.tokens[j]}\u201d: `
    + (data.sees(layer, i, j) ? (score ? value(head, i, j).toFixed(2) : percent(value(head, i, j))) : "outside the window");
  return { under, tell, edges };
}

// Two columns of the same tokens; a line from each query to each key, as strong as the weight; those of the chosen in front.
function threads(pen, layers, data, { head, t }) {
  const { length } = data, pitch = Math.min((SIDE + FOOT - 20) / (length + 1), 18), y = (i) => TOP + (i + 1.5) * pitch, from = LEFT + 40, to = WIDTH - 150;
  const draw = (i, j, weight, strong) => {
    if (weight < 0.01) return;
    pen.globalAlpha = strong ? Math.min(1, 0.25 + weight) : 0.4 * weight;
    pen.strokeStyle = strong ? kit.COLOURS.accent : "#808080";
    pen.lineWidth = strong ? 1 + 5 * weight : 1 + 2 * weight;
    pen.beginPath();
    pen.moveTo(from, y(i));
    pen.lineTo(to, y(j));
    pen.stroke();
  };
  const row = (i, strong) => {
    for (let j = 0; j <= i; j++) draw(i, j, data.weight(head, i, j), strong);
    if (data.sinks) draw(i, -1, data.sink(head, i), strong);
  };
  for (let i = 0; i < length; i++) if (i !== t) row(i, false);
  row(t, true);
  pen.globalAlpha = 1;
  names(layers.rows, data, t, pitch, (i) => `${from - 8},${y(i) + 4}`, 0);
  names(layers.keys, data, -1, pitch, (j) => `${to + 8},${y(j) + 4}`, 0, "start");
  layers.edges.selectAll("path").data([]).join("path");
  layers.edges.selectAll("text").data(data.sinks ? ["sink"] : []).join("text").attr("text-anchor", "start")
    .attr("transform", `translate(${to + 8},${y(-1) + 4})`).attr("style", `font-size: ${LETTER}px`).text((d) => d);
  layers.chosen.selectAll("path").data([0]).join("path").attr("fill", kit.COLOURS.accent).attr("stroke", "none").attr("stroke-width", 2)
    .attr("d", `M${from - 5},${y(t) - 4}l6,4l-6,4z`);
  const under = (event) => {
    const { top } = event.currentTarget.getBoundingClientRect(), i = Math.round((event.clientY - top - y(0)) / pitch);
    return i >= 0 && i < length ? [i, 0] : null;
  };
  return { under, tell: (i) => `\u201c${data.tokens[i]}\u201d` };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Attention, head by head");
    kit.controls(node, model);
    const panels = kit.add(node, "div", { style: "display: flex; flex-wrap: wrap; gap: 12px 20px; margin-top: 8px" });
    let data = null, held = null;
    const left = kit.add(panels, "div", { style: "flex: 1 1 320px; max-width: 340px" }), heads = overview(left, model, () => data.heads);
    const draw = picture(kit.add(panels, "div", { style: "min-width: 0; max-width: 100%" }), model);
    const text = kit.options(left, model, { name: "token", label: "The token that looks", style: "margin: 10px 0; padding: 2px; line-height: 1.9",
      moves: () => ({ ArrowRight: 1, ArrowLeft: -1 }) });
    kit.add(left, "p", {}, "Choose a head, and the token that looks (arrow keys or a click). The text is shaded by where it looks; a dot is a blank.");
    kit.words(left, model);
    const show = () => {
      if (!model.get("data").tokens) return;
      if (model.get("data") !== held) data = unpack(held = model.get("data"));
      const state = model.get("state"), head = Math.min(state.head, data.layers.length * data.heads - 1), t = Math.min(state.token, data.length - 1);
      heads(data, head, state);
      draw(data, head, t, state);
      text(data.tokens.map((piece, j) => {
        const weight = j <= t ? data.weight(head, t, j) : 0, fill = j <= t ? `background: ${shade(deep(weight))}; color: ${ink(deep(weight))}` : "opacity: 0.75";
        return { text: piece, label: `${piece}${j <= t ? `, ${percent(weight)}` : ""}`, style: "display: inline-block; padding: 0 3px; margin: 0 1px; border: 1px solid #8888; "
          + `border-radius: 3px; line-height: 1.5; white-space: pre; cursor: pointer; ${fill}${j === t ? `; outline: 3px solid ${kit.COLOURS.accent}; font-weight: 600` : ""}` };
      }), t);
    };
    model.on("change:state", show);
    kit.drawing(node, model, show);
  },
};
