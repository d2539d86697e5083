// Above: the device's roofline, and each model under it as a point for writing (a circle) and one for reading (a square); a
// thin line is the way of the circle as more texts are written at once. In the middle: memory, and tokens a second. Tables
// say the same in numbers. Folded: experts, and arithmetic against the length of the text.
const WIDTH = 940, LEFT = 84, RIGHT = 236, TOP = 34, BOTTOM = 330, ROW = 25, SMALL = 200;
const APART = 3.5;
const DASHES = ["", "9 4", "3 3", "12 4 3 4", "6 3", "2 5", "15 5", "1 3"];

const compact = (v) => (v >= 2 ** 20 ? `${v / 2 ** 20}M` : v >= 1024 ? `${v / 1024}K` : `${v}`);
const short = (v) => (v >= 1e6 ? `${+(v / 1e6).toPrecision(3)}M` : v >= 1e3 ? `${+(v / 1e3).toPrecision(3)}K` : `${+v.toPrecision(3)}`);
const decades = (scale) => scale.ticks().filter((v) => Math.abs(Math.log10(v) % 1) < 1e-6);

// A family has one colour; its models differ by dash and by their number.
function styled(rows) {
  const seen = {};
  return rows.map((row) => {
    const n = (seen[row.family] = (seen[row.family] ?? -1) + 1);
    return { ...row, colour: kit.FAMILIES[row.family], dash: DASHES[n % DASHES.length] };
  });
}

// A number in a circle or a square, in the model's colour.
function badges(group, rows, shape, place) {
  const made = group.selectAll("g").data(rows).join((enter) => {
    const one = enter.append("g");
    one.append(shape);
    one.append("text").attr("text-anchor", "middle").attr("y", 4).attr("font-weight", 600);
    return one;
  }).attr("transform", (row, i) => `translate(${place(row, i)})`);
  made.select(shape).attr("fill", "var(--jp-layout-color0, #fff)").attr("stroke", (row) => row.colour).attr("stroke-width", 2);
  if (shape === "circle") made.select(shape).attr("r", 9);
  else made.select(shape).attr("x", -9).attr("y", -9).attr("width", 18).attr("height", 18);
  made.select("text").text((row) => row.number);
}

function roofline(node) {
  const picture = kit.svg(node, WIDTH, BOTTOM + 50, "Models under the roofline of the device; the words and tables below hold its numbers");
  const [roof, ridges, trails, ways, points, writes, reads, names] = Array.from({ length: 8 }, () => picture.append("g"));
  return (data) => {
    const rows = styled(data.rows), every = rows.flatMap((row) => [row.write, row.read, ...row.trail]), top = data.roofs.at(-1);
    const x = kit.scaleLog([Math.min(...every.map((d) => d[0])) / 1.5, Math.max(top.ridge * 3, ...every.map((d) => d[0])) * 1.5],
      [LEFT, WIDTH - RIGHT]).nice();
    const y = kit.scaleLog([Math.min(...every.map((d) => d[1])) / 4, top.peak * 1.3], [BOTTOM, TOP]);
    const [low, high] = x.domain(), start = Math.max(low, y.domain()[0] / data.bandwidth);
    kit.axes(picture, { x, y, left: LEFT, bottom: BOTTOM, xLabel: "FLOP for each byte moved", yLabel: "TFLOP/s at most",
      xTicks: decades(x), yTicks: decades(y), xFormat: short, yFormat: short });
    const path = kit.line().x((d) => x(d[0])).y((d) => y(d[1]));
    const lines = [[[start, start * data.bandwidth], [top.ridge, top.peak]], ...data.roofs.map((one) => [[one.ridge, one.peak], [high, one.peak]])];
    roof.selectAll("path").data(lines).join("path").attr("d", path).attr("fill", "none").attr("stroke", "currentColor").attr("stroke-width", 2);
    const middle = Math.sqrt(start * data.roofs[0].ridge); // half-way up the slope
    const said = [...data.roofs.map((one) => [`${one.format}: ${short(one.peak)} TFLOP/s`, one.ridge, one.peak]),
      [`${short(data.bandwidth)} TB/s`, middle, middle * data.bandwidth]];
    roof.selectAll("text").data(said).join("text").attr("x", (d) => x(d[1]) - 9).attr("y", (d) => y(d[2]) + 4).attr("text-anchor", "end")
      .text((d) => d[0]);
    ridges.selectAll("line").data(data.roofs).join("line").attr("x1", (d) => x(d.ridge)).attr("x2", (d) => x(d.ridge)).attr("y1", (d) => y(d.peak))
      .attr("y2", BOTTOM).attr("stroke", "currentColor").attr("stroke-dasharray", "2 5").attr("opacity", 0.6);
    ridges.selectAll("text").data(data.roofs.slice(0, 1)).join("text").attr("x", (d) => x(d.ridge) + 5).attr("y", BOTTOM - 34)
      .text((d) => `${short(d.ridge)} FLOP/byte`);
    // beside the roof and each other, where they would lie on one line
    trails.selectAll("path").data(rows).join("path").attr("fill", "none").attr("d", (row) => path(row.trail)).attr("stroke", (row) => row.colour)
      .attr("stroke-dasharray", (row) => row.dash).attr("stroke-width", 2)
      .attr("transform", (_, i) => `translate(${APART * (i + 1)},${APART * (i + 1)})`);

    const spread = (key) => kit.apart(rows.map((row) => x(row[key][0])), 22, LEFT + 12, WIDTH - RIGHT - 10);
    const under = spread("write"), over = spread("read"), foot = BOTTOM - 16, head = TOP - 22;
    const marks = rows.flatMap((row, i) => [{ ...row, at: row.write, to: [under[i], foot - 9], read: false },
      { ...row, at: row.read, to: [over[i], head + 9], read: true }]);
    ways.selectAll("line").data(marks).join("line").attr("x1", (d) => x(d.at[0])).attr("y1", (d) => y(d.at[1])).attr("x2", (d) => d.to[0])
      .attr("y2", (d) => d.to[1]).attr("stroke", (d) => d.colour).attr("stroke-width", 1);
    points.selectAll("path").data(marks).join("path").attr("transform", (d) => `translate(${x(d.at[0])},${y(d.at[1])})`)
      .attr("d", (d) => (d.read ? "M-5,-5h10v10h-10z" : "M-5.5,0a5.5,5.5 0 1,0 11,0a5.5,5.5 0 1,0 -11,0")).attr("stroke", (d) => d.colour)
      .attr("stroke-width", 2).attr("fill", (d) => (d.fits ? d.colour : "var(--jp-layout-color0, #fff)"));
    badges(writes, rows, "circle", (_, i) => `${under[i]},${foot}`);
    badges(reads, rows, "rect", (_, i) => `${over[i]},${head}`);
    const keys = [...rows.map((row) => ({ ...row, text: `${row.label}${row.fits ? "" : ", does not fit"}` })),
      ...["circle: writes a token in each text", "square: reads the texts", "line: the circle's way,", "from 1 to 1,024 texts at once", "hollow: does not fit"]
        .map((text) => ({ text }))];
    names.selectAll("text").data(keys).join("text").attr("x", (d) => WIDTH - RIGHT + (d.number ? 54 : 18)).attr("y", (_, i) => TOP + 4 + i * 20).text((d) => d.text);
    names.selectAll("path").data(rows).join("path").attr("d", (_, i) => `M${WIDTH - RIGHT + 18},${TOP + i * 20}h30`).attr("fill", "none")
      .attr("stroke", (row) => row.colour).attr("stroke-width", 3).attr("stroke-dasharray", (row) => row.dash);
    const tall = Math.max(BOTTOM + 50, TOP + keys.length * 20);
    picture.attr("viewBox", `0 0 ${WIDTH} ${tall}`).attr("height", tall);
  };
}

function bars(node) {
  const picture = kit.svg(node, WIDTH, ROW, "What the models hold of the device's memory, and how many tokens a second they write at most");
  const heads = picture.append("g"), rows = picture.append("g"), limit = picture.append("g");
  return (data) => {
    const lines = styled(data.rows), height = ROW * lines.length + 46;
    picture.attr("viewBox", `0 0 ${WIDTH} ${height}`).attr("height", height);
    const held = kit.scaleLinear([0, Math.max(data.memory, ...lines.map((row) => row.weights + row.cache))], [190, 560]);
    const speed = kit.scaleLinear([0, Math.max(1e-9, ...lines.map((row) => row.speed))], [610, 780]);
    heads.selectAll("text").data([[190, "Memory, GB: weights (grey), cache, free (outlined)"], [610, "Tokens/s written at most (bound by)"]]).join("text")
      .attr("x", (d) => d[0]).attr("y", 16).attr("font-weight", 600).text((d) => d[1]);
    const row = rows.selectAll("g").data(lines).join("g").attr("transform", (_, i) => `translate(0,${ROW * i + 26})`);
    const text = (name, x, words, anchor = "start") => row.selectAll(`text.${name}`).data((d) => [d]).join("text")
      .attr("class", name).attr("x", x).attr("y", 14).attr("text-anchor", anchor).text(words);
    const rect = (name, from, to, scale, fill) => row.selectAll(`rect.${name}`).data((d) => [d]).join("rect").attr("class", name).attr("height", 18)
      .attr("x", (d) => scale(from(d))).attr("width", (d) => Math.max(scale(to(d)) - scale(from(d)), 0)).attr("fill", fill);
    text("model", 180, (d) => d.label, "end");
    rect("weights", () => 0, (d) => d.weights, held, "#8a8a8a");
    rect("cache", (d) => d.weights, (d) => d.weights + d.cache, held, (d) => d.colour);
    rect("free", (d) => d.weights + d.cache, (d) => Math.max(data.memory, d.weights + d.cache), held, "none").attr("stroke", "currentColor").attr("opacity", 0.6);
    rect("speed", () => 0, (d) => d.speed, speed, (d) => d.colour);
    text("says", (d) => speed(d.speed) + 6, (d) => d.says);
    limit.selectAll("line").data([data.memory]).join("line").attr("x1", held).attr("x2", held).attr("y1", 22).attr("y2", height - 18)
      .attr("stroke", "currentColor").attr("stroke-width", 2).attr("stroke-dasharray", "6 3");
    limit.selectAll("text").data([data.memory]).join("text").attr("x", held).attr("y", height - 4)
      .attr("text-anchor", held(data.memory) > 360 ? "end" : "start").text((v) => `the device holds ${Math.round(v).toLocaleString("en")} GB`);
  };
}

// One quantity of each model against another, the present one marked.
function curves(node) {
  const title = kit.add(node, "strong"), picture = kit.svg(node, WIDTH, SMALL + 46, "Lines; the tables hold the numbers of the marked place");
  const mark = picture.append("g"), lines = picture.append("g"), names = picture.append("g");
  return (data) => {
    const rows = styled(data.lines), all = rows.flatMap((row) => row.values);
    title.textContent = data.title;
    picture.attr("aria-label", data.title);
    const x = kit.scaleLog([data.x[0], data.x.at(-1)], [LEFT, WIDTH - RIGHT]).base(2);
    const y = data.logarithmic ? kit.scaleLog([Math.min(...all), Math.max(...all)], [SMALL, 12]).nice() : kit.scaleLinear([0, 100], [SMALL, 12]);
    kit.axes(picture, { x, y, left: LEFT, bottom: SMALL, xLabel: data.xLabel, yLabel: data.yLabel, xTicks: data.x.filter((_, i) => i % 2 === 0),
      xFormat: compact, yTicks: data.logarithmic ? decades(y) : 5, yFormat: short });
    mark.selectAll("line").data([data.at]).join("line").attr("x1", x).attr("x2", x).attr("y1", 12).attr("y2", SMALL)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "4 4");
    const path = kit.line().x((_, i) => x(data.x[i])).y(y);
    lines.selectAll("path").data(rows).join("path").attr("fill", "none").attr("d", (row) => path(row.values)).attr("stroke", (row) => row.colour)
      .attr("stroke-dasharray", (row) => row.dash) // equal shares of experts lie on one line: what is below is wider
      .attr("stroke-width", (_, i) => (data.logarithmic ? 2.5 : 2.5 + 2 * Math.min(rows.length - 1 - i, 3)));
    const at = kit.apart(rows.map((row) => y(row.values.at(-1))), 16, 12, SMALL + 30);
    names.selectAll("text").data(rows).join("text").attr("x", WIDTH - RIGHT + 34).attr("y", (_, i) => at[i] + 4).text((row) => row.label);
    names.selectAll("path").data(rows).join("path").attr("fill", "none").attr("stroke", (row) => row.colour).attr("stroke-width", 2)
      .attr("stroke-dasharray", (row) => row.dash).attr("d", (row, i) => `M${WIDTH - RIGHT + 3},${y(row.values.at(-1))}L${WIDTH - RIGHT + 12},${at[i]}H${WIDTH - RIGHT + 30}`);
  };
}

function titled(node) {
  const title = kit.add(node, "strong"), fill = kit.table(node, "Table");
  return (data) => {
    title.textContent = data.title;
    node.lastChild.setAttribute("aria-label", data.title);
    fill(data);
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Cost: memory, arithmetic and tokens per second of models on a device");
    kit.controls(node, model);
    const part = (parent) => kit.add(parent, "div", { style: "margin-bottom: 8px" });
    const pictures = [roofline(part(node)), bars(part(node))];
    kit.words(node, model);
    const tables = Array.from({ length: 3 }, () => titled(part(node))), fold = kit.add(node, "details");
    kit.add(fold, "summary", {}, "Experts, and arithmetic against the length of the text");
    const lines = [curves(part(fold)), curves(part(fold))], experts = titled(part(fold));
    kit.drawing(node, model, (data) => {
      pictures.forEach((draw) => draw(data));
      tables.forEach((draw, i) => draw(data.tables[i]));
      lines.forEach((draw, i) => draw(data.lines[i]));
      experts(data.experts);
    });
  },
};
