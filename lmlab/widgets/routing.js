// Tokens by experts in one layer: a shade for each weight, on a canvas of one pixel a cell; beside it each expert's load, below
// it the tokens. Under "More": margins, groups and bias in the same columns, tables of shades, load over a training.
const LEFT = 236, TOP = 48, LOAD = [78, 184], NAMES = 96, STRIP = 64, ROOM = 950, LEGEND = 476;
const CHART = { width: 940, height: 264, left: 84, right: 500, from: 650, to: 930, top: 30, bottom: 206 };
const LOOKS = { balanced: { colour: kit.COLOURS.now, dash: "" }, unbalanced: { colour: kit.COLOURS.unseen, dash: "7 4" } };

const between = (v, low, high) => Math.max(low, Math.min(high, v));
const short = (piece, room) => (piece.length > room ? `${piece.slice(0, room - 1)}\u2026` : piece);
const compact = (v) => (v >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : v >= 1e3 ? `${+(v / 1e3).toPrecision(3)}K` : `${v}`);
const number = (row) => row.replace("expert ", "");

// A canvas of shades, and over it an SVG of the same size for all else; both keep their size, and what does not fit scrolls.
function raster(node, label) {
  const frame = kit.add(node, "div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label });
  const stage = kit.select(kit.add(frame, "div", { style: "position: relative" }));
  const svg = stage.append("svg").attr("role", "img").attr("aria-label", label).attr("style", "position: relative; min-width: 0; max-width: none");
  return { svg, paint({ width, height, left, top, wide, tall, cells, scale }) {
    svg.attr("viewBox", `0 0 ${width} ${height}`).attr("width", width).attr("height", height);
    const canvas = stage.selectAll("canvas").data(cells.length ? [cells] : []).join((enter) => enter.insert("canvas", "svg"));
    const columns = cells.length ? cells[0].length : 0;
    canvas.attr("aria-hidden", "true").attr("width", columns).attr("height", cells.length).attr("style", "position: absolute; image-rendering: "
      + `pixelated; left: ${left}px; top: ${top}px; width: ${columns * wide}px; height: ${cells.length * tall}px`).each(function () {
      const pen = this.getContext("2d"), image = pen.createImageData(columns, cells.length);
      cells.flat().forEach((v, i) => {
        const shade = kit.interpolateCividis(between(v / (scale || 1), 0, 1)).match(/\d+/g).map(Number);
        image.data.set([...shade, 255], 4 * i);
      });
      pen.putImageData(image, 0, 0);
    });
  } };
}

const layers = (svg, names) => Object.fromEntries(names.map((name) => [name, svg.append("g").attr("class", name)]));
const words = (group, data, text, x, y) => group.selectAll("text").data(data).join("text").text(text).attr("x", x).attr("y", y);

function heatmap(node) {
  const { svg, paint } = raster(node, "Tokens by experts, and each expert's load; the words and the table below hold the numbers");
  const group = layers(svg, ["head", "legend", "names", "load", "numbers", "even", "out", "moved", "groups", "band", "tokens", "strip", "columns"]);
  return (data) => {
    const { rows, tokens } = data, experts = rows.length, many = tokens.length;
    const wide = between(Math.floor((ROOM - LEFT) / many), 14, 26), tall = experts > 16 ? Math.max(6, Math.floor(360 / experts)) : 22;
    const foot = TOP + experts * tall, band = data.shared ? "the shared expert reads every token, without a weight" : experts ? "" : "reads every token";
    const bottom = foot + (band ? 28 : 0), end = LEFT + many * wide, low = bottom + NAMES + 30 + STRIP;
    paint({ width: Math.max(end + 12, LEFT + LEGEND + 150), height: data.strip ? low + 16 : bottom + NAMES, left: LEFT, top: TOP, wide, tall,
      cells: data.cells, scale: data.scale });
    words(group.head, experts ? [["expert", 4], ["load: 1 is even", LOAD[0]], [data.heading, LEFT]] : [], (d) => d[0], (d) => d[1], TOP - 22)
      .attr("style", "font-weight: 600");
    const steps = experts ? Array.from({ length: 11 }, (_, i) => i) : [];
    group.legend.selectAll("rect").data(steps).join("rect").attr("x", (i) => LEFT + LEGEND + 20 + 8 * i).attr("y", TOP - 33).attr("width", 8)
      .attr("height", 13).attr("fill", (i) => kit.interpolateCividis(i / 10));
    words(group.legend, experts ? [["0", 6], [`${data.scale}`, 114]] : [], (d) => d[0], (d) => LEFT + LEGEND + d[1], TOP - 22);
    const middle = (_, e) => TOP + (e + 0.5) * tall, every = tall >= 12 ? rows : [];
    words(group.names, every, (row) => row, 4, (_, e) => middle(_, e) + 4);
    const x = kit.scaleLinear([0, Math.max(2, ...data.load)], LOAD), thick = Math.max(2, tall - 6);
    group.load.selectAll("rect").data(data.load).join("rect").attr("x", LOAD[0]).attr("width", (v) => x(v) - LOAD[0]).attr("height", thick)
      .attr("y", (_, e) => middle(_, e) - thick / 2).attr("fill", kit.COLOURS.accent);
    words(group.numbers, tall >= 12 ? data.load : [], (v) => v.toFixed(2), LOAD[1] + 12, (_, e) => middle(_, e) + 4);
    group.even.selectAll("line").data(experts ? [1] : []).join("line").attr("x1", x).attr("x2", x).attr("y1", TOP - 6).attr("y2", foot + 4)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "4 3");
    const size = data.groups ? experts / data.groups : 0;
    group.groups.selectAll("line").data(data.groups ? [...Array(data.groups - 1).keys()] : []).join("line").attr("x1", 4).attr("x2", end)
      .attr("y1", (g) => TOP + (g + 1) * size * tall).attr("y2", (g) => TOP + (g + 1) * size * tall).attr("stroke", "#fff").attr("stroke-width", 2);
    const out = data.out.flatMap((row, g) => row.map((away, n) => [g, n, away])).filter((d) => d[2]);
    group.out.selectAll("rect").data(out).join("rect").attr("x", (d) => LEFT + d[1] * wide).attr("y", (d) => TOP + d[0] * size * tall)
      .attr("width", wide).attr("height", size * tall)
      .attr("fill", "var(--jp-layout-color0, #fff)");
    group.moved.selectAll("rect").data(data.moved).join("rect").attr("x", (d) => LEFT + d[0] * wide + 1.5).attr("y", (d) => TOP + d[1] * tall + 1.5)
      .attr("width", wide - 3).attr("height", tall - 3).attr("fill", "none").attr("stroke", kit.COLOURS.unseen).attr("stroke-width", 3);
    group.band.selectAll("rect").data(band ? [0] : []).join("rect").attr("x", LEFT).attr("y", foot + 5).attr("width", many * wide).attr("height", 20)
      .attr("fill", kit.COLOURS.accent).attr("fill-opacity", 0.35).attr("stroke", kit.COLOURS.accent);
    words(group.band, band ? [[experts ? "shared" : "the MLP", 4], [band, LEFT + 6]] : [], (d) => d[0], (d) => d[1], foot + 20);
    group.tokens.selectAll("text").data(tokens).join("text").attr("text-anchor", "end").text((piece) => short(piece, 11))
      .attr("transform", (_, n) => `translate(${LEFT + (n + 0.5) * wide + 4},${bottom + 6}) rotate(-90)`);
    strip(group.strip, data.strip, kit.scaleBand([...tokens.keys()], [LEFT, end]).paddingInner(0.2).paddingOuter(0.1), low);
    group.columns.selectAll("rect").data(data.titles).join((enter) => {
      const made = enter.append("rect").attr("fill", "transparent");
      made.append("title");
      return made;
    }).attr("x", (_, n) => LEFT + n * wide).attr("y", TOP).attr("width", wide).attr("height", bottom + NAMES - TOP).select("title").text((text) => text);
  };
}

// A bar for each token, below its column; none where there is no number.
function strip(group, data, x, low) {
  const values = data ? data.values.map((v, n) => [n, v]).filter((d) => d[1] !== null) : [];
  const y = kit.scaleLinear([0, Math.max(...values.map((d) => d[1]), 1e-9)], [low, low - STRIP]);
  group.selectAll("rect").data(values).join("rect").attr("x", (d) => x(d[0])).attr("width", x.bandwidth()).attr("y", (d) => y(d[1]))
    .attr("height", (d) => low - y(d[1])).attr("fill", kit.COLOURS.now);
  group.selectAll("text.title").data(data ? [data.title] : []).join("text").attr("class", "title").attr("x", LEFT).attr("y", low - STRIP - 10)
    .text((text) => text);
  if (data) kit.axes(group, { x, y, left: LEFT - 6, bottom: low, xLabel: "", yLabel: "", yTicks: 3, xFormat: () => "" });
  else group.selectAll("g.axis, text.x-name, text.y-name").remove();
}

// Rows by columns of shades, the numbers in them where they have room.
function grid(node) {
  const { svg, paint } = raster(node, "Rows by columns; the words below say the most of it");
  const group = layers(svg, ["head", "frame", "rows", "columns", "numbers"]), left = 160, top = 46, tall = 24;
  return (data) => {
    const { rows, columns } = data, wide = between(Math.floor((ROOM - left) / columns.length), 12, 64);
    const cells = data.texts.flatMap((row, i) => row.map((text, j) => ({ i, j, text, light: data.cells[i][j] > 0.45 * data.scale })));
    paint({ width: Math.max(left + wide * columns.length + 12, 600), height: top + tall * rows.length + 6, left, top, wide, tall,
      cells: data.cells, scale: data.scale });
    words(group.head, [data.title], (text) => text, 4, 16).attr("style", "font-weight: 600");
    group.frame.selectAll("rect").data([0]).join("rect").attr("x", left).attr("y", top).attr("width", wide * columns.length)
      .attr("height", tall * rows.length).attr("fill", "none").attr("stroke", "currentColor").attr("stroke-opacity", 0.5);
    words(group.rows, rows, (row) => row, left - 8, (_, i) => top + i * tall + 16).attr("text-anchor", "end");
    words(group.columns, columns, wide < 60 ? number : (name) => name, (_, j) => left + (j + 0.5) * wide, top - 8).attr("text-anchor", "middle");
    words(group.numbers, wide < 32 ? [] : cells, (d) => d.text, (d) => left + (d.j + 0.5) * wide, (d) => top + d.i * tall + 16)
      .attr("text-anchor", "middle").attr("style", (d) => `fill: ${d.light ? "#000" : "#fff"}`);
  };
}

// Left: the busiest expert's load over a training, thin for each seed, thick for their mean. Right: all experts at one moment.
function training(node) {
  const { width, height, left, right, from, to, top, bottom } = CHART;
  const svg = kit.svg(node, width, height, "Load over a recorded training; the words below hold its numbers");
  const group = layers(svg, ["curves", "at", "seeds", "means", "names", "ranks", "bars", "heads"]);
  return (data) => {
    const look = (line) => LOOKS[line.name] ?? LOOKS.balanced, values = data.lines.flatMap((line) => line.seeds.flat().map((point) => point[1]));
    const x = kit.scaleLinear([0, data.longest], [left, right]), y = kit.scaleLinear([1, Math.max(...values) * 1.02], [bottom, top]);
    words(group.heads, [["the busiest expert's load (1 is even)", left - 10], ["each expert's load, the busiest first", from - 10]], (d) => d[0],
      (d) => d[1], 14).attr("style", "font-weight: 600");
    kit.axes(group.curves, { x, y, left: left - 10, bottom: bottom + 6, xLabel: "tokens read", yLabel: "load", xTicks: 5, yTicks: 5, xFormat: compact });
    group.at.selectAll("line").data([data.at]).join("line").attr("x1", x).attr("x2", x).attr("y1", top).attr("y2", bottom + 6)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "4 4");
    const path = kit.line().x((d) => x(d[0])).y((d) => y(d[1]));
    const draw = (where, lines, wide) => where.selectAll("path").data(lines).join("path").attr("fill", "none").attr("d", (d) => path(d.points))
      .attr("stroke", (d) => look(d).colour).attr("stroke-dasharray", (d) => look(d).dash).attr("stroke-width", wide);
    draw(group.seeds, data.lines.flatMap(({ name, seeds }) => seeds.map((points) => ({ name, points }))), 1).attr("opacity", 0.5);
    draw(group.means, data.lines, 3);
    const ends = kit.apart(data.lines.map((line) => y(line.points.at(-1)[1])), 17, top, bottom);
    words(group.names, data.lines, (line) => line.name, right + 8, (_, i) => ends[i] + 4);
    const ranks = [...data.bars[0].values.keys()], place = kit.scaleBand(ranks, [from, to]).paddingInner(0.25), part = place.bandwidth() / data.bars.length;
    const high = kit.scaleLinear([0, Math.max(1.2, ...data.bars.flatMap((bar) => bar.values))], [bottom, top]);
    kit.axes(group.ranks, { x: place, y: high, left: from - 8, bottom: bottom + 6, xLabel: "experts by rank", yLabel: "", yTicks: 5, xFormat: (rank) => rank + 1 });
    const bars = data.bars.flatMap((bar, b) => bar.values.map((value, rank) => ({ name: bar.name, value, rank, b })));
    group.bars.selectAll("rect").data(bars).join("rect").attr("x", (d) => place(d.rank) + d.b * part).attr("width", part).attr("y", (d) => high(d.value))
      .attr("height", (d) => bottom - high(d.value)).attr("stroke", (d) => look(d).colour).attr("stroke-width", 1.5)
      .attr("fill", (d) => (look(d).dash ? "transparent" : look(d).colour));
    group.bars.selectAll("line").data([1]).join("line").attr("x1", from - 8).attr("x2", to).attr("y1", high).attr("y2", high)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "4 3");
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Routing: which experts read each token");
    kit.controls(node, model);
    const draw = heatmap(node), grids = kit.several(node, grid), replay = kit.several(node, training);
    kit.add(node, "p", {}, "A column is a token, a row an expert: the lighter, the more of the expert's output the token takes. The bars are the experts' "
      + "loads. A dot stands for a blank.");
    kit.words(node, model);
    const fold = kit.add(node, "details");
    kit.add(fold, "summary", {}, "In numbers, token by token");
    const table = kit.table(fold, "Tokens and the experts that read them");
    kit.drawing(node, model, (data) => {
      draw(data);
      grids(data.grids);
      replay(data.training ? [data.training] : []);
      table(data.table);
    });
  },
};
