// Above: wavelength of each pair, in training (grey) and now (blue), against the lengths of the texts. Below: the hands
// themselves; the grey arc is what training showed, the blue one what this text needs, orange where it is unseen.
const WIDTH = 940, HEIGHT = 270, LEFT = 84, RIGHT = 150, TOP = 10, BOTTOM = 214;

const compact = (v) => (v >= 1e6 ? `${v / 1e6}M` : v >= 1e3 ? `${v / 1e3}K` : `${v}`);

function chart(node) {
  const picture = kit.svg(node, WIDTH, HEIGHT, "Wavelengths of the pairs; the text below says what they show");
  const groups = Object.fromEntries(["ramp", "marks", "before", "now"].map((name) => [name, picture.append("g")]));
  return (data) => {
    const pairs = data.wavelength.map((_, i) => i);
    const x = kit.scaleLinear([0, pairs.length - 1], [LEFT, WIDTH - RIGHT]);
    const top = Math.max(...data.wavelength, ...data.trained_wavelength, data.length);
    const y = kit.scaleLog([1, top], [BOTTOM, TOP]).nice();
    kit.axes(picture, { x, y, left: LEFT - 10, bottom: BOTTOM + 6, xLabel: "pair of dimensions, fastest first",
      yLabel: "wavelength, tokens", yTicks: y.ticks().filter((v) => Math.log10(v) % 1 === 0), yFormat: compact });
    const band = (x(1) - x(0));
    groups.ramp.selectAll("rect").data(pairs).join("rect").attr("x", (i) => x(i) - band / 2).attr("width", band)
      .attr("y", TOP).attr("height", BOTTOM - TOP).attr("fill", kit.COLOURS.accent).attr("opacity", (i) => data.ramp[i] * 0.22);
    const marks = [["original", data.trained, kit.COLOURS.before], ["this text", data.length, kit.COLOURS.now]];
    const apart = Math.abs(y(data.trained) - y(data.length)) < 16;
    groups.marks.selectAll("line").data(marks).join("line").attr("x1", LEFT - 10).attr("x2", WIDTH - RIGHT + 8)
      .attr("y1", (m) => y(m[1])).attr("y2", (m) => y(m[1])).attr("stroke", (m) => m[2]).attr("stroke-dasharray", "6 4");
    groups.marks.selectAll("text").data(marks).join("text").attr("x", WIDTH - RIGHT + 12)
      .attr("y", (m, i) => y(m[1]) + 4 + (apart ? (i ? -8 : 10) : 0)).text((m) => `${m[0]}: ${m[1].toLocaleString("en")}`);
    const dots = (group, values, colour, shape) => group.selectAll("path").data(pairs).join("path")
      .attr("transform", (i) => `translate(${x(i)},${y(values[i])})`).attr("d", shape).attr("fill", colour);
    dots(groups.before, data.trained_wavelength, kit.COLOURS.before, "M-3,-3h6v6h-6z");
    dots(groups.now, data.wavelength, (i) => (data.unseen[i] ? kit.COLOURS.unseen : kit.COLOURS.now),
      (i) => (data.unseen[i] ? "M0,-6L6,5H-6Z" : "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0"));
  };
}

const arc = (r, turns) => {
  const part = Math.min(turns, 0.9999), angle = 2 * Math.PI * part;
  return `M0,${-r}A${r},${r} 0 ${part > 0.5 ? 1 : 0} 1 ${r * Math.sin(angle)},${-r * Math.cos(angle)}`;
};

function dials(node) {
  const columns = 22, cell = WIDTH / columns, tall = cell + 9, picture = kit.svg(node, WIDTH, cell, "Clock hands, one per pair");
  const all = picture.append("g");
  return (data) => {
    const pairs = data.wavelength.map((_, i) => i), rows = Math.ceil(pairs.length / columns), r = cell / 2 - 6;
    picture.attr("viewBox", `0 0 ${WIDTH} ${rows * tall}`).attr("height", rows * tall);
    const place = (i) => `translate(${(i % columns + 0.5) * cell},${(Math.floor(i / columns) + 0.5) * tall - 5})`;
    const cells = all.selectAll("g").data(pairs).join((enter) => {
      const made = enter.append("g");
      for (const name of ["face", "before", "now", "hand"]) made.append("path").attr("class", name);
      made.append("text").attr("text-anchor", "middle").attr("y", r + 14);
      return made;
    }).attr("transform", place);
    const stroke = (name, path, colour, width) => cells.select(`.${name}`).attr("d", path).attr("fill", "none")
      .attr("stroke", colour).attr("stroke-width", width);
    stroke("face", arc(r, 1), "currentColor", 0.4);
    stroke("before", (i) => arc(r, data.trained_turns[i]), kit.COLOURS.before, 6);
    stroke("now", (i) => arc(r, data.turns[i]), (i) => (data.unseen[i] ? kit.COLOURS.unseen : kit.COLOURS.now), 3);
    stroke("hand", (i) => {
      const angle = 2 * Math.PI * (data.turns[i] < 1 ? data.turns[i] : data.turns[i] % 1);
      return `M0,0L${(r - 4) * Math.sin(angle)},${-(r - 4) * Math.cos(angle)}`;
    }, "currentColor", 1.5);
    cells.select("text").text((i) => (data.unseen[i] ? `${i}!` : i));
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "RoPE: clock hands and wavelengths");
    kit.controls(node, model);
    const draw = [chart(node), dials(node)];
    kit.add(node, "p", {}, "Grey squares and thick grey arcs: the original length, whose angles the model knows. Blue: this text. Orange triangles and numbers "
      + "with !: angles never seen. A full ring is a whole turn, the thin hand stands where the text ends. Shaded: how far YaRN slows "
      + "a hand, from not at all (no shade) to the whole factor.");
    kit.words(node, model);
    kit.drawing(node, model, (data) => draw.forEach((one) => one(data)));
  },
};
