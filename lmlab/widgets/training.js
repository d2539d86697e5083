// Above: a quantity of each run against the tokens read, held-out texts as marks, the floor as a dashed line. Below: rows
// of marks on one scale, such as the distance to the floor by kind of text. A button, and how far training has come.
const WIDTH = 940, HEIGHT = 290, LEFT = 84, RIGHT = 230, TOP = 24, BOTTOM = 238, ROW = 24;
const SHAPES = { o: "M-4.5,0a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0", s: "M-4,-4h8v8h-8z", "^": "M0,-5.5L5.5,4.5H-5.5Z",
  D: "M0,-6L5,0L0,6L-5,0Z", v: "M0,5.5L5.5,-4.5H-5.5Z", "*": "M-5,-1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z" };

const compact = (v) => (v >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : v >= 1e3 ? `${+(v / 1e3).toPrecision(3)}K` : `${+v.toPrecision(3)}`);
const round = (v) => [1, 2, 5].includes(+v.toExponential(0)[0]); // 0.1, 0.2, 0.5, 1, 2, ...

function scale(values, logarithmic, range) {
  if (!logarithmic) return kit.scaleLinear([Math.min(0, ...values), Math.max(...values, 1e-9) * 1.03], range).nice(5);
  return values.length ? kit.scaleLog([Math.min(...values), Math.max(...values)], range).nice() : kit.scaleLog([0.1, 10], range);
}

// A dashed line's marks are hollow, so that two models of a family differ without lines, too.
const filled = (marks, run) => marks.attr("fill", (d) => (run(d).dash.length ? "none" : run(d).colour))
  .attr("stroke", (d) => (run(d).dash.length ? run(d).colour : "currentColor")).attr("stroke-width", (d) => (run(d).dash.length ? 2.5 : 1));

function chart(node) {
  const picture = kit.svg(node, WIDTH, HEIGHT, "The course of training; the words and the table below hold its numbers");
  const [level, stages, lines, marks, names, keys] = Array.from({ length: 6 }, () => picture.append("g"));
  const across = (group, data, text) => {
    group.selectAll("line").data(data).join("line").attr("stroke", "currentColor").attr("stroke-width", 1.5);
    group.selectAll("text").data(data).join("text").text(text);
  };
  return (data) => {
    const values = data.lines.flatMap((line) => [...line.points, ...line.marks].map((point) => point[1]));
    const x = kit.scaleLinear([0, data.longest], [LEFT, WIDTH - RIGHT]);
    const y = scale(data.level ? [...values, data.level[0]] : values, data.logarithmic, [BOTTOM, TOP]);
    kit.axes(picture, { x, y, left: LEFT - 10, bottom: BOTTOM + 6, xLabel: "tokens read", yLabel: data.unit, xTicks: 7, xFormat: compact,
      yTicks: data.logarithmic ? y.ticks().filter(round) : 6, yFormat: compact });
    across(level, data.level ? [data.level] : [], (d) => d[1]);
    level.select("line").attr("x1", LEFT - 10).attr("x2", WIDTH - RIGHT + 8).attr("y1", (d) => y(d[0])).attr("y2", (d) => y(d[0]))
      .attr("stroke-dasharray", "7 4");
    level.select("text").attr("x", LEFT).attr("y", (d) => y(d[0]) - 5);
    across(stages, data.at === null ? data.stages : [...data.stages, [data.at, ""]], (d) => d[1]);
    stages.selectAll("line").attr("x1", (d) => x(d[0])).attr("x2", (d) => x(d[0])).attr("y1", TOP - 16).attr("y2", BOTTOM + 6)
      .attr("stroke-dasharray", (d) => (d[1] ? "2 4" : "none")).attr("stroke-width", (d) => (d[1] ? 1 : 1.5));
    stages.selectAll("text").attr("x", (d) => x(d[0]) + 5).attr("y", TOP - 6);
    const path = kit.line().x((d) => x(d[0])).y((d) => y(d[1]));
    lines.selectAll("path").data(data.lines).join("path").attr("fill", "none").attr("d", (line) => path(line.points) ?? "")
      .attr("stroke", (line) => line.colour).attr("stroke-dasharray", (line) => line.dash.join(" ")).attr("stroke-width", 2);
    const all = data.lines.flatMap((line) => line.marks.map((point) => ({ point, line })));
    marks.selectAll("path").data(all).join("path").attr("transform", (d) => `translate(${x(d.point[0])},${y(d.point[1])})`)
      .attr("d", (d) => SHAPES[d.line.marker]).call(filled, (d) => d.line);
    // each name beside the end of its line, with its colour, dashes and shape
    const shown = data.lines.filter((line) => line.points.length), ends = shown.map((line) => line.points.at(-1));
    const at = kit.apart(ends.map((end) => y(end[1])), 17, TOP, BOTTOM), right = Math.max(...ends.map((end) => x(end[0])));
    names.selectAll("text").data(shown).join("text").attr("x", right + 52).attr("y", (_, i) => at[i] + 4).text((line) => line.name);
    names.selectAll("path").data(shown).join("path").attr("fill", "none").attr("stroke", (line) => line.colour).attr("stroke-width", 2)
      .attr("stroke-dasharray", (line) => line.dash.join(" "))
      .attr("d", (_, i) => `M${x(ends[i][0]) + 4},${y(ends[i][1])}L${right + 16},${at[i]}H${right + 46}`);
    keys.selectAll("path").data(shown).join("path").attr("transform", (_, i) => `translate(${right + 31},${at[i]})`)
      .attr("d", (line) => SHAPES[line.marker]).call(filled, (line) => line);
  };
}

// Rows of marks, a shape for each run.
function dots(node) {
  const picture = kit.svg(node, WIDTH, ROW, "Marks by row; the table below holds their numbers");
  const head = picture.append("text").attr("x", 10).attr("y", 14).attr("font-weight", 600);
  const [rules, at, marks, said] = Array.from({ length: 4 }, () => picture.append("g"));
  return (data) => {
    const top = 24, bottom = top + ROW * data.rows.length, height = bottom + 30;
    picture.attr("viewBox", `0 0 ${WIDTH} ${height}`).attr("height", height);
    head.text(data.title);
    const x = scale([data.at, ...data.runs.flatMap((run) => run.values)], false, [230, WIDTH - RIGHT]);
    const y = kit.scaleBand(data.rows, [top, bottom]), middle = (row) => y(row) + ROW / 2;
    kit.axes(picture, { x, y, left: 226, bottom, xLabel: "", yLabel: "", xTicks: 6, xFormat: compact });
    rules.selectAll("line").data(data.rows).join("line").attr("x1", 230).attr("x2", WIDTH - RIGHT).attr("y1", middle).attr("y2", middle)
      .attr("stroke", "currentColor").attr("opacity", 0.25);
    at.selectAll("line").data([data.at]).join("line").attr("x1", x).attr("x2", x).attr("y1", top).attr("y2", bottom)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "7 4").attr("stroke-width", 1.5);
    const all = data.runs.flatMap((run) => data.rows.map((row, i) => ({ run, row, value: run.values[i] })));
    marks.selectAll("path").data(all).join("path").attr("transform", (d) => `translate(${x(d.value)},${middle(d.row)})`)
      .attr("d", (d) => SHAPES[d.run.marker]).call(filled, (d) => d.run);
    said.selectAll("text").data(data.said).join("text").attr("x", WIDTH - RIGHT + 14).attr("y", (_, i) => middle(data.rows[i]) + 4).text((text) => text);
  };
}

// A table with a heading; `high`: where it is cut off and scrolls.
const table = (high) => (node) => {
  const heading = kit.add(node, "strong"), fill = kit.table(node, "Table");
  node.lastChild.style.maxHeight = high;
  return (data) => {
    heading.textContent = data.title;
    node.lastChild.setAttribute("aria-label", data.title);
    fill(data);
  };
};

function training(node, model) {
  const row = kit.add(node, "p"), button = kit.add(row, "button", { type: "button" });
  const bar = kit.add(row, "progress", { max: 1, "aria-label": "How far training has come" }), text = kit.add(row, "span");
  bar.style.cssText = "margin: 0 12px; width: 180px; accent-color: #0072B2; vertical-align: middle";
  let on = false;
  button.addEventListener("click", () => {
    if (!on) return;
    on = false; // one press, one answer
    model.set("pressed", model.get("pressed") + 1);
    model.save_changes();
  });
  return ({ button: spec, progress }) => {
    row.hidden = !spec;
    if (!spec) return;
    on = spec.on;
    button.textContent = spec.label;
    button.setAttribute("aria-disabled", !on); // a disabled one would lose the focus to JupyterLab
    bar.hidden = !progress;
    if (progress) bar.value = progress.share;
    text.textContent = progress ? progress.text : "";
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Training: losses against the floor");
    kit.controls(node, model);
    const change = kit.several(node, table("190px")), sizes = kit.several(node, dots), state = training(node, model), draw = kit.several(node, chart);
    const rows = kit.several(node, dots);
    kit.add(node, "p", {}, "A mark: held-out texts, measured. Dashed: the level to compare with.");
    const numbers = kit.several(node, table("none"));
    kit.words(node, model);
    kit.drawing(node, model, (data) => {
      change(data.change);
      sizes(data.sizes);
      state(data);
      draw([data.chart].filter(({ lines, level, stages }) => level || stages.length || lines.some((line) => line.points.length)));
      rows(data.dots);
      numbers(data.tables);
    });
  },
};
