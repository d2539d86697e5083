// Above: how the loss of each token of the text changes. Below, left: the next tokens, before (grey) and after (blue).
// Right: what the untouched and the changed model write, and where they part.
const WIDTH = 940, LEFT = 76, TOP = 26, BOTTOM = 150, ROW = 32, SIDE = 700, NAMES = 130;
const STYLE = `
.lmlab .texts { display: grid; grid-template-columns: auto 1fr; gap: 4px 10px; align-items: baseline; margin: 8px 0; }
.lmlab .texts .said { white-space: pre-wrap; overflow-wrap: anywhere; }
.lmlab .texts .other { border-bottom: 3px solid #D55E00; }
.lmlab .texts dt { font-weight: 600; white-space: nowrap; } .lmlab .texts dd { margin: 0; }
`;

function losses(node) {
  const svg = kit.svg(node, WIDTH, 250, "Change of each token's loss; the text below says what it shows");
  const zero = svg.append("line"), bars = svg.append("g").attr("class", "changes"), names = svg.append("g").attr("class", "tokens");
  const title = svg.append("text").attr("x", LEFT).attr("y", 14);
  return ({ tokens, losses }) => {
    const change = losses[1].map((after, i) => after - losses[0][i]);
    const low = Math.min(0, ...change), high = Math.max(0, ...change), room = Math.max(high - low, 0.1) * 0.05;
    const x = kit.scaleBand(tokens.map((_, i) => i), [LEFT, WIDTH - 8]).paddingInner(0.15);
    const y = kit.scaleLinear([low - room, high + room], [BOTTOM, TOP]);
    const longest = Math.max(...tokens.map((piece) => Math.min(piece.length, 14)));
    svg.attr("viewBox", `0 0 ${WIDTH} ${BOTTOM + 20 + longest * 8}`).attr("height", BOTTOM + 20 + longest * 8);
    title.text(change.length ? "change of the loss, token by token (above 0: the token has become less probable)"
      : "one token alone has no loss: nothing stands before it");
    kit.axes(svg, { x: x.copy().domain([]), y, left: LEFT - 6, bottom: BOTTOM, xLabel: "", yLabel: "nats", yTicks: 4 });
    zero.attr("x1", LEFT - 6).attr("x2", WIDTH - 8).attr("y1", y(0)).attr("y2", y(0)).attr("stroke", "currentColor").attr("opacity", 0.6);
    bars.selectAll("rect").data(change).join((enter) => enter.append("rect").call((made) => made.append("title")))
      .attr("x", (_, i) => x(i + 1)).attr("width", x.bandwidth()).attr("y", (v) => Math.min(y(0), y(v)))
      .attr("height", (v) => Math.abs(y(v) - y(0))).attr("fill", (v) => (v > 0 ? kit.COLOURS.unseen : kit.COLOURS.now))
      .select("title").text((v, i) => `${tokens[i + 1]}: ${losses[0][i].toFixed(2)} to ${losses[1][i].toFixed(2)} nats`);
    names.selectAll("text").data(tokens).join("text").attr("text-anchor", "end")
      .attr("transform", (_, i) => `translate(${x(i) + x.bandwidth() / 2 + 4},${BOTTOM + 12}) rotate(-65)`)
      .text((piece) => (piece.length > 14 ? `${piece.slice(0, 13)}\u2026` : piece));
  };
}

const percent = (p) => (p > 0 && p < 0.005 ? "<1%" : `${Math.round(100 * p)}%`);

function next(node) {
  const svg = kit.svg(node, WIDTH, 300, "The most probable next tokens; the text below says what it shows");
  svg.append("text").attr("x", 0).attr("y", 14).text("the next token: untouched (grey), changed (blue)");
  const rows = svg.append("g").attr("class", "next");
  return ({ bars }) => {
    const x = kit.scaleLinear([0, 1], [NAMES, SIDE]);
    svg.attr("viewBox", `0 0 ${WIDTH} ${24 + bars.length * ROW}`).attr("height", 24 + bars.length * ROW);
    const row = rows.selectAll("g.row").data(bars).join((enter) => {
      const made = enter.append("g").attr("class", "row");
      made.append("text").attr("class", "piece").attr("text-anchor", "end").attr("x", NAMES - 8).attr("y", 20);
      ["before", "after"].forEach((name, i) => {
        made.append("rect").attr("class", name).attr("x", NAMES).attr("y", 3 + 14 * i).attr("height", 12)
          .attr("fill", i ? kit.COLOURS.now : kit.COLOURS.before);
        made.append("text").attr("class", `${name}-said`).attr("y", 13 + 14 * i).attr("style", "font-size: 11px");
      });
      return made;
    }).attr("transform", (_, i) => `translate(0,${24 + i * ROW})`);
    row.select(".piece").text((d) => (d.piece.length > 14 ? `${d.piece.slice(0, 13)}\u2026` : d.piece));
    ["before", "after"].forEach((name) => {
      row.select(`.${name}`).attr("width", (d) => x(d[name]) - NAMES);
      row.select(`.${name}-said`).attr("x", (d) => x(d[name]) + 5).text((d) => percent(d[name]));
    });
  };
}

function texts(node) {
  const list = kit.add(node, "dl", { class: "texts" });
  const said = ["untouched", "changed"].map((name) => {
    kit.add(list, "dt", {}, `${name} goes on`);
    return kit.add(list, "dd", { class: "said" });
  });
  return ({ written }) => said.forEach((place, side) => {
    const [same, other] = written[side];
    place.replaceChildren(same);
    kit.add(place, "span", { class: "other" }, other);
    if (!same && !other) kit.add(place, "em", {}, "nothing: the text ends");
  });
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "One change inside a model");
    kit.add(node, "style", {}, STYLE);
    kit.controls(node, model);
    const draw = [losses(node), next(node), texts(node)];
    kit.words(node, model);
    kit.drawing(node, model, (data) => draw.forEach((each) => each(data)));
  },
};
