// The tokens of a text, one of them chosen. Below, for that token and after every part: how long the stream is, where it
// points, how much of its end each part wrote; and the logit lens, the tokens that the model would say if it stopped there.
// All tokens are in the data: another one, another stop and other bars are drawn at once, before Python has answered.
const WIDTH = 940, LEFT = 84, RIGHT = 6, CELL = 24;
const LENGTH = [40, 98], DIRECTION = [126, 184], BARS = [212, 270], LENS = 302;
const UNITS = { share: ["share", "the share of the last state that each part wrote; together they are 1"],
  vote: ["logit", "what each part added to the logit of what is said (framed), above the mean of all tokens"] };

function strip(node, model) {
  const choose = kit.options(node, model, { name: "token", label: "Token of the text", style: "margin: 8px 0; padding: 2px; line-height: 1.9",
    moves: () => ({ ArrowRight: 1, ArrowLeft: -1 }) });
  const look = "display: inline-block; padding: 0 3px; margin: 0 1px; border: 1px solid #8888; border-radius: 3px; line-height: 1.5; "
    + "white-space: pre; cursor: pointer";
  return (data, t) => choose(data.tokens.map((text, i) => (
    { text, style: `${look}${i === t ? "; background: #0072B2; color: #fff; font-weight: 600" : ""}` })), t);
}

const colour = (part) => (part.startsWith("attention") ? kit.COLOURS.now : part.startsWith("MLP") ? kit.COLOURS.accent : kit.COLOURS.before);
const percent = (p) => (p >= 0.995 && p < 1 ? ">99%" : p < 0.005 ? "<1%" : `${Math.round(p * 100)}%`);
const short = (piece, room) => (piece.length > room ? `${piece.slice(0, room - 1)}\u2026` : piece);

function picture(node, model) {
  const svg = kit.svg(node, WIDTH, 446, "The stream at the chosen token; the text below says what it shows");
  const groups = Object.fromEntries(["chosen", "names", "length", "direction", "bars", "lens", "columns"].map(
    (name) => [name, svg.append("g").attr("class", name)]));
  return (data, t, state) => {
    const { parts } = data, stops = parts.map((_, i) => i), at = (name) => data[name].map((row) => row[t]);
    const ranks = data.top[0][t].length, bottom = LENS + ranks * CELL;
    svg.attr("viewBox", `0 0 ${WIDTH} ${bottom + 26}`).attr("height", bottom + 26);
    const x = kit.scaleBand(stops, [LEFT, WIDTH - RIGHT]).paddingInner(0.03), wide = x.bandwidth(), middle = (i) => x(i) + wide / 2;
    groups.chosen.selectAll("rect").data([state.stop]).join("rect").attr("x", (i) => x(i)).attr("width", wide).attr("y", 0)
      .attr("height", bottom + 24).attr("fill", kit.COLOURS.accent).attr("fill-opacity", 0.16).attr("stroke", kit.COLOURS.accent);
    groups.names.selectAll("text").data([...stops, ...stops]).join("text").attr("text-anchor", "middle").attr("x", (i) => middle(i))
      .attr("y", (_, k) => (k < parts.length ? 14 : bottom + 17)).attr("font-weight", (i) => (i === state.stop ? 700 : 400))
      .text((i) => parts[i]);

    const panel = (group, [top, foot], values, low, high, yLabel, title, yTicks = 3) => {
      const y = kit.scaleLinear([Math.min(low, ...values), Math.max(high, ...values)], [foot, top]);
      kit.axes(group, { x, y, left: LEFT - 6, bottom: foot, xLabel: "", yLabel, yTicks, xFormat: () => "" });
      group.selectAll("text.title").data([title]).join("text").attr("class", "title").attr("x", LEFT).attr("y", top - 8).text(title);
      return y;
    };
    const bars = (group, values, y) => group.selectAll("rect").data(values).join("rect").attr("x", (_, i) => x(i) + wide * 0.3)
      .attr("width", wide * 0.4).attr("y", (v) => Math.min(y(0), y(v))).attr("height", (v) => Math.abs(y(v) - y(0)))
      .attr("fill", (_, i) => colour(parts[i]));
    const line = (group, name, values, y, stroke, dash, mark) => {
      const path = kit.line().x((_, i) => middle(i)).y((v) => y(v));
      group.selectAll(`path.${name}`).data([values]).join("path").attr("class", name).attr("fill", "none").attr("d", path)
        .attr("stroke", stroke).attr("stroke-width", 2).attr("stroke-dasharray", dash);
      group.selectAll(`path.${name}-mark`).data(values).join("path").attr("class", `${name}-mark`).attr("fill", stroke).attr("d", mark)
        .attr("transform", (v, i) => `translate(${middle(i)},${y(v)})`);
    };
    const round = "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", square = "M-3.5,-3.5h7v7h-7z";

    const length = panel(groups.length, LENGTH, at("length").concat(at("added")), 0, 0, "length",
      "length of the stream (dots), and of what each part adds to it (bars)");
    bars(groups.length, at("added"), length);
    line(groups.length, "stream", at("length"), length, "currentColor", "", round);
    const direction = panel(groups.direction, DIRECTION, at("to_embedding").concat(at("to_final")), 0, 1, "cosine",
      "direction: likeness to the last state (dots), to the token\u2019s own embedding (squares)");
    line(groups.direction, "embedding", at("to_embedding"), direction, kit.COLOURS.before, "5 4", square);
    line(groups.direction, "final", at("to_final"), direction, kit.COLOURS.now, "", round);
    const [unit, title] = UNITS[state.bars];
    bars(groups.bars, at(state.bars), panel(groups.bars, BARS, at(state.bars), 0, 0, unit, title));

    groups.lens.selectAll("text.title").data([0]).join("text").attr("class", "title").attr("x", LEFT).attr("y", LENS - 8)
      .text("the logit lens: what the model would say if it stopped here, most probable first (framed: what it says in the end)");
    const cells = stops.flatMap((i) => data.top[i][t].map((piece, k) => ({ i, k, piece, p: data.p[i][t][k], right: data.right[i][t][k] })));
    const cell = groups.lens.selectAll("g.cell").data(cells).join((enter) => {
      const made = enter.append("g").attr("class", "cell");
      made.append("rect").attr("height", CELL - 3);
      made.append("text").attr("class", "piece").attr("x", 5).attr("y", 15).append("tspan");
      made.append("text").attr("class", "percent").attr("text-anchor", "end").attr("y", 15);
      made.append("title");
      return made;
    }).attr("transform", (d) => `translate(${x(d.i)},${LENS + d.k * CELL})`);
    const ink = (d) => `font-size: 12px; fill: ${d.p > 0.45 ? "#000" : "#fff"}; font-weight: ${d.right ? 700 : 400}`;
    cell.select("rect").attr("width", wide).attr("fill", (d) => kit.interpolateCividis(d.p)).attr("stroke-width", (d) => (d.right ? 3 : 0))
      .attr("stroke", kit.COLOURS.unseen);
    cell.select("tspan").text((d) => short(d.piece, 8));
    cell.select(".piece").attr("style", ink);
    cell.select(".percent").attr("x", wide - 4).attr("style", ink).text((d) => percent(d.p));
    cell.select("title").text((d) => `${d.piece} ${(d.p * 100).toFixed(1)}%`);

    groups.columns.selectAll("rect").data(stops).join("rect").attr("x", (i) => x(i)).attr("width", wide).attr("height", bottom + 24)
      .attr("fill", "transparent").attr("style", "cursor: pointer").on("click", (_, i) => kit.put(model, "stop", i));
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "The residual stream at one token");
    kit.controls(node, model);
    const choose = strip(node, model), draw = picture(node, model);
    kit.add(node, "p", {}, "Choose a token (arrow keys or a click), and a column. Grey: the embedding. Blue: attention, which brings "
      + "something from earlier tokens. Orange: the MLP, which sees this token alone. A dot stands for a blank.");
    kit.words(node, model);
    const say = node.querySelector(".summary");
    let drawn = [];
    const show = () => {
      const data = model.get("data"), state = model.get("state");
      if (!data.tokens) return;
      const t = Math.min(state.token, data.tokens.length - 1), { words } = data, asked = [data, t, state.stop, state.bars];
      if (asked.some((one, i) => one !== drawn[i])) {
        drawn = asked;
        choose(data, t);
        draw(data, t, state);
      }
      const text = `${words.token[t]} ${words[state.bars][t]} ${words.stop[state.stop][t]}`;
      if (say.textContent !== text) say.textContent = text; // read aloud once
    };
    model.on("change:state change:summary", show);
    kit.drawing(node, model, show);
  },
};
