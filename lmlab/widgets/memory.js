// Above: the cache of each model against the length of the text. Below, for the length that is marked: the cache by kind
// of layer, and weights with cache beside the memory of the GPU. A table says the same in numbers.
const WIDTH = 940, HEIGHT = 270, LEFT = 84, RIGHT = 240, TOP = 10, BOTTOM = 214, ROW = 25;
const DASHES = ["", "9 4", "3 3", "12 4 3 4", "6 3", "2 5", "15 5", "1 3"];
const FILLS = { full: "", window: "M0,8L8,0", latent: "M4,3v2" };

let patterns = 0; // each picture has its own: a pattern in a hidden picture paints nothing

const compact = (v) => (v >= 2 ** 20 ? `${v / 2 ** 20}M` : v >= 1024 ? `${v / 1024}K` : `${v}`);
const short = (v) => (v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v >= 0.01 ? v.toFixed(2) : v.toPrecision(1));

// A family has one colour; its models differ by dash and by the name at the end of the line.
function styled(lines) {
  const seen = {};
  return lines.map((line) => {
    const n = line.changed ? 0 : (seen[line.family] = (seen[line.family] ?? -1) + 1);
    return { ...line, colour: line.changed ? kit.COLOURS.unseen : kit.FAMILIES[line.family],
      dash: line.changed ? "2 2" : DASHES[n % DASHES.length] };
  });
}

function chart(node) {
  const picture = kit.svg(node, WIDTH, HEIGHT, "Cache against the length of the text; the table below holds its numbers");
  const mark = picture.append("g"), beyond = picture.append("g"), within = picture.append("g"), names = picture.append("g");
  return (data) => {
    const lines = styled(data.lines), all = lines.flatMap((line) => line.values);
    const x = kit.scaleLog([data.lengths[0], data.lengths.at(-1)], [LEFT, WIDTH - RIGHT]).base(2);
    const y = data.logarithmic ? kit.scaleLog([Math.min(...all), Math.max(...all)], [BOTTOM, TOP]).nice()
      : kit.scaleLinear([0, Math.max(...all) * 1.05], [BOTTOM, TOP]).nice();
    kit.axes(picture, { x, y, left: LEFT - 10, bottom: BOTTOM + 6, xLabel: "tokens in the text", yLabel: data.unit,
      xTicks: data.lengths.filter((_, i) => i % 4 === 0), xFormat: compact, yFormat: (v) => `${v}`,
      yTicks: data.logarithmic ? y.ticks().filter((v) => Math.abs(Math.log10(v) % 1) < 1e-6) : 6 });
    mark.selectAll("line").data([data.length]).join("line").attr("x1", x).attr("x2", x).attr("y1", TOP).attr("y2", BOTTOM + 6)
      .attr("stroke", "currentColor").attr("stroke-dasharray", "4 4");
    const path = kit.line().x((d) => x(d[0])).y((d) => y(d[1]));
    const points = (line) => line.values.map((v, i) => [data.lengths[i], v]);
    const draw = (group, chosen, width) => group.selectAll("path").data(lines).join("path").attr("fill", "none")
      .attr("d", (line) => path(chosen(line))).attr("stroke", (line) => line.colour)
      .attr("stroke-dasharray", (line) => line.dash).attr("stroke-width", width);
    draw(beyond, points, 1).attr("opacity", 0.75);
    draw(within, (line) => [...points(line).filter((d) => d[0] < line.released[0]), line.released], 3.5);
    const at = kit.apart(lines.map((line) => y(line.values.at(-1))), 15, TOP, BOTTOM + 20);
    names.selectAll("text").data(lines).join("text").attr("x", WIDTH - RIGHT + 34).attr("y", (_, i) => at[i] + 4)
      .text((line) => line.name);
    names.selectAll("path").data(lines).join("path").attr("fill", "none").attr("stroke", (line) => line.colour)
      .attr("stroke-width", 2).attr("stroke-dasharray", (line) => line.dash)
      .attr("d", (line, i) => `M${WIDTH - RIGHT + 3},${y(line.values.at(-1))}L${WIDTH - RIGHT + 12},${at[i]}H${WIDTH - RIGHT + 30}`);
  };
}

function bars(node) {
  const picture = kit.svg(node, WIDTH, ROW, "Cache by kind of layer, and what the GPU holds");
  const tag = `lmlab-fill-${patterns++}`, defs = picture.append("defs");
  for (const [kind, d] of Object.entries(FILLS)) {
    defs.append("pattern").attr("id", `${tag}-${kind}`).attr("width", 8).attr("height", 8).attr("patternUnits", "userSpaceOnUse")
      .append("path").attr("d", d).attr("stroke", "#fff").attr("stroke-width", 2);
  }
  const heads = picture.append("g"), rows = picture.append("g"), limit = picture.append("g");
  return (data) => {
    const lines = styled(data.lines), height = ROW * lines.length + 44;
    picture.attr("viewBox", `0 0 ${WIDTH} ${height}`).attr("height", height);
    const cache = kit.scaleLinear([0, Math.max(...lines.map((line) => line.cache))], [190, 400]);
    const most = Math.max(data.gpu, ...lines.map((line) => line.weights + line.cache));
    const all = kit.scaleLinear([0, most], [600, 920]);
    heads.selectAll("text").data([[190, "Cache by kind of layer, GB"], [600, "Weights (grey) and cache on the GPU, GB"]]).join("text")
      .attr("x", (d) => d[0]).attr("y", 16).attr("font-weight", 600).text((d) => d[1]);
    const line = rows.selectAll("g").data(lines).join("g").attr("transform", (_, i) => `translate(0,${ROW * i + 26})`);
    const text = (name, x, words, anchor = "start") => line.selectAll(`text.${name}`).data((d) => [d]).join("text")
      .attr("class", name).attr("x", x).attr("y", 14).attr("text-anchor", anchor).text(words);
    text("model", 180, (d) => d.name, "end");
    const parts = (d) => {
      let from = 0;
      return Object.entries(d.kinds).map(([kind, held]) => ({ kind, from, to: (from += held), colour: d.colour }));
    };
    const rect = (name, datum, x, fill) => line.selectAll(`rect.${name}`).data(datum).join("rect").attr("class", name).attr("height", 18)
      .attr("x", (d) => x(d.from)).attr("width", (d) => Math.max(x(d.to) - x(d.from), 1)).attr("fill", fill);
    rect("held", parts, cache, (d) => d.colour);
    rect("fill", parts, cache, (d) => `url(#${tag}-${d.kind})`);
    text("kinds", (d) => cache(d.cache) + 6, (d) => Object.entries(d.kinds).map(([kind, held]) => `${kind} ${short(held)}`).join(" + "));
    rect("weights", (d) => [{ from: 0, to: d.weights }], all, "#8a8a8a");
    rect("cache", (d) => [{ from: d.weights, to: d.weights + d.cache }], all, (_, i, nodes) => kit.select(nodes[i].parentNode).datum().colour);
    limit.selectAll("line").data([data.gpu]).join("line").attr("x1", all).attr("x2", all).attr("y1", 22).attr("y2", height - 18)
      .attr("stroke", "currentColor").attr("stroke-width", 2).attr("stroke-dasharray", "6 3");
    limit.selectAll("text").data([data.gpu]).join("text").attr("x", all).attr("y", height - 4)
      .attr("text-anchor", all(data.gpu) > 760 ? "end" : "start").text((v) => `the GPU holds ${Math.round(v).toLocaleString("en")} GB`);
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "The cache: bytes against the length of the text");
    kit.controls(node, model);
    const draw = [chart(node), bars(node)];
    kit.add(node, "p", {}, "A line is thick as far as the released configuration reads, thin beyond. Plain bars are layers that keep the "
      + "whole text, striped ones keep a window, dotted ones keep latents.");
    const table = kit.table(node, "Weights, cache and what fits");
    kit.words(node, model);
    kit.drawing(node, model, (data) => {
      draw.forEach((one) => one(data));
      table(data.table);
    });
  },
};
