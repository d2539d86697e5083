// Above: the text, a piece for each token. Below, left: the most probable next tokens, each with two bars, what the model
// says (grey) and what is drawn from (blue); each is an option that can be chosen. Right: entropy, cache, drafts.
const WIDTH = 600, LEFT = 150, RIGHT = 424, ROW = 22, TOP = 28, SIDE = 330;
const STYLE = `
.lmlab textarea { width: 100%; box-sizing: border-box; font: inherit; font-weight: 400; color: inherit; background: var(--jp-layout-color1, #fff); }
.lmlab .buttons { display: flex; flex-wrap: wrap; gap: 8px; margin: 8px 0; }
.lmlab .text { max-height: 140px; overflow-y: auto; padding: 4px 6px; border: 1px solid #8886; }
.lmlab .piece { display: inline-block; line-height: 1.35; padding: 0 2px; margin: 0 1px; border-bottom: 2px solid #8889; max-width: 100%; overflow-wrap: anywhere; }
.lmlab .prompt { border-bottom: none; outline: 1px dotted #8889; }
.lmlab .chosen { border: 3px double currentColor; }
.lmlab .accepted { border-bottom: 4px solid #009E73; }
.lmlab .rejected { border: 2px dashed #D55E00; text-decoration: line-through; }
.lmlab .pending { border: 2px dotted #0072B2; }
.lmlab .beside { display: flex; flex-wrap: wrap; gap: 0 14px; }
.lmlab .beside svg { min-width: 480px; }
.lmlab [role=listbox]:not(:focus) .active { visibility: hidden; }
.lmlab .beside .scroll:last-child svg { min-width: 300px; }
.lmlab [role=option] { cursor: pointer; }
`;
const MARKS = { chosen: "\u261e ", accepted: "\u2713 ", rejected: "\u2717 ", pending: "? " };

let views = 0; // options are known by their ids, and those are the page's

const percent = (v) => (v > 0 && v < 0.0005 ? "<0.1%" : `${(100 * v).toFixed(1)}%`);
const moved = ({ own, reshaped }) => (reshaped === 0 ? "cut \u2715" : percent(reshaped)
  + (reshaped > 1.005 * own ? " \u25b2" : reshaped < 0.995 * own ? " \u25bc" : " ="));

function put(model, changes) {
  model.set("state", { ...model.get("state"), ...changes });
  model.save_changes();
}

// Enter, or leaving the field, begins anew with what was typed.
function prompt(node, model) {
  const label = kit.add(node, "label", {}, "Prompt (Enter begins with it)");
  const area = kit.add(label, "textarea", { rows: 2, spellcheck: "false" });
  const begin = () => { if (area.value !== model.get("state").prompt) put(model, { prompt: area.value }); };
  area.addEventListener("change", begin);
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    begin();
  });
  let shown = null;
  const refresh = () => {
    const { prompt } = model.get("state");
    if (prompt !== shown) area.value = shown = prompt; // what is being typed stays while other things change
  };
  model.on("change:state", refresh);
  refresh();
}

// Each button counts how often it was pressed: where several presses travel together, none is lost. Run presses Step again
// whenever the last step is drawn, until the text has ended, something is refused, or it is pressed once more.
function buttons(node, model) {
  const bar = kit.add(node, "div", { class: "buttons" });
  const count = (name) => put(model, { [name]: model.get("state")[name] + 1 });
  const make = (name, text, press) => {
    const button = kit.add(bar, "button", { type: "button", "data-button": name }, text);
    button.addEventListener("click", press);
    return button;
  };
  let running = false;
  const run = (wanted) => {
    running = wanted && !model.get("data").ended;
    button.textContent = running ? "Stop" : "Run";
    node.setAttribute("aria-busy", running); // the words are read aloud at the end
    if (running) count("steps");
  };
  make("steps", "Step", () => count("steps"));
  const button = make("run", "Run", () => run(!running));
  make("backs", "Back", () => count("backs"));
  make("restarts", "Begin again", () => { run(false); count("restarts"); });
  model.on("change:version", () => setTimeout(() => {
    const drawn = model.get("data").steps === model.get("state").steps;
    if (running && (drawn || model.get("problem"))) run(node.isConnected && !model.get("problem"));
  }, 25));
}

function text(node) {
  const frame = kit.add(node, "div", { class: "text", tabindex: 0, role: "region", "aria-label": "The text, a piece for each token" });
  return (data) => {
    const parts = data.pieces.flatMap(({ text, how, draft }) => [...(draft === null ? [] : [["rejected", draft]]), [how, text]]);
    if (data.pending) parts.push(["pending", data.pending.text]);
    kit.select(frame).selectAll("span").data(parts).join("span").attr("class", ([how]) => `piece ${how}`)
      .text(([how, words]) => (MARKS[how] ?? "") + words);
    frame.scrollTop = frame.scrollHeight;
  };
}

const line = (group, name, x, words, anchor = "start") => group.selectAll(`text.${name}`).data((d) => [d]).join("text")
  .attr("class", name).attr("x", x).attr("y", 16).attr("text-anchor", anchor).text(words);
const box = (group, name, y, height, x0, x1, fill) => group.selectAll(`rect.${name}`).data((d) => [d]).join("rect").attr("class", name)
  .attr("y", y).attr("height", height).attr("x", x0).attr("width", (d) => Math.max(x1(d) - (x0.call ? x0(d) : x0), 0)).attr("fill", fill);

function bars(node, model) {
  const name = `lmlab-next-${views++}`;
  const list = kit.add(node, "div", { class: "scroll", tabindex: 0, role: "listbox", "aria-label": "Next token; Enter writes the marked one" });
  const picture = kit.select(list).append("svg").attr("width", WIDTH).attr("role", "none");
  const heads = picture.append("g"), rows = picture.append("g");
  const x = kit.scaleLinear([0, 1], [LEFT, RIGHT]);
  let active = 0, length = 0;
  const mark = () => {
    list.setAttribute("aria-activedescendant", `${name}-${active}`);
    rows.selectAll("g.next").attr("aria-selected", (_, i) => i === active).select(".active").attr("opacity", (_, i) => (i === active ? 1 : 0));
  };
  const choose = (i) => put(model, { chosen: [length, model.get("data").bars[i].token] });
  list.addEventListener("keydown", (event) => {
    const last = model.get("data").bars.length - 1;
    const to = { ArrowDown: Math.min(active + 1, last), ArrowUp: Math.max(active - 1, 0), Home: 0, End: last }[event.key];
    const taken = event.key === " " || (event.key === "Enter" && !event.shiftKey);
    if (to === undefined && !taken) return;
    event.preventDefault();
    if (taken) return choose(active);
    active = to;
    mark();
  });
  return (data) => {
    active = data.pieces.length === length ? Math.min(active, data.bars.length - 1) : 0;
    length = data.pieces.length;
    const all = [...data.bars, { ...data.others, text: `${data.others.number.toLocaleString("en")} others`, draft: false }];
    const bottom = TOP + ROW * all.length;
    picture.attr("viewBox", `0 0 ${WIDTH} ${bottom + 44}`).attr("height", bottom + 44);
    heads.selectAll("text").data([[LEFT - 12, "next token"], [RIGHT + 54, "model"], [WIDTH - 22, "drawn from"]]).join("text")
      .attr("x", (d) => d[0]).attr("y", 16).attr("text-anchor", "end").style("font-weight", 600).text((d) => d[1]);
    const row = rows.selectAll("g").data(all).join("g").attr("class", (_, i) => (data.bars[i] ? "next" : "others"))
      .attr("transform", (_, i) => `translate(0,${TOP + ROW * i})`);
    box(row, "active", 1, ROW - 2, 2, () => WIDTH - 2, "transparent").attr("stroke", kit.COLOURS.accent).attr("stroke-width", 2).attr("opacity", 0);
    line(row, "token", LEFT - 12, (d) => (d.draft ? "draft ?  " : "") + d.text, "end");
    box(row, "own", 4, 7, LEFT, (d) => x(d.own), (d) => (d.reshaped ? "#8a8a8a" : "transparent")).attr("stroke", "#8a8a8a")
      .attr("stroke-dasharray", (d) => (d.reshaped ? "none" : "3 2"));
    box(row, "reshaped", 12, 8, LEFT, (d) => x(d.reshaped), kit.COLOURS.now);
    line(row, "model", RIGHT + 54, (d) => percent(d.own), "end");
    line(row, "drawn", WIDTH - 22, moved, "end");
    rows.selectAll("g.next").attr("role", "option").attr("id", (_, i) => `${name}-${i}`).on("click", (_, d) => choose(data.bars.indexOf(d)))
      .attr("aria-label", (d) => `${d.text}${d.draft ? ", the draft" : ""}: model ${percent(d.own)}, drawn from ${moved(d)}`);
    rows.selectAll("g.others").attr("role", "none");
    kit.axes(picture, { x, y: kit.scaleLinear([0, 1], [bottom, TOP]), left: LEFT, bottom, xLabel: "probability", yLabel: "", xTicks: 5,
      yTicks: [], xFormat: (v) => `${100 * v}%` });
    mark();
  };
}

// Three small pictures: [title, rows of [words, length of the bar, length of its frame, colour]].
function side(node) {
  const picture = kit.svg(node, SIDE, ROW, "Entropy, cache and drafts; the words below hold their numbers");
  const all = picture.append("g"), kB = (v) => (v / 1000).toFixed(1);
  return ({ entropy, cache, verdicts, pending }) => {
    const most = Math.max(...cache.map((one) => one.allocated)), told = verdicts.accepted + verdicts.rejected;
    const rows = [["Entropy, bits"], [`model ${entropy.own.toFixed(2)}`, entropy.own / entropy.most, 1, "#8a8a8a"],
      [`drawn from ${entropy.reshaped.toFixed(2)}`, entropy.reshaped / entropy.most, 1, kit.COLOURS.now], ["Cache, kB used of allocated"],
      ...cache.map(({ kind, used, allocated }) => [`${kind} ${kB(used)} of ${kB(allocated)}`, used / most, allocated / most, kit.COLOURS.kept])];
    if (told || pending) {
      rows.push([`Drafts, in ${verdicts.passes} passes`], [`\u2713 accepted ${verdicts.accepted}`, verdicts.accepted / (told || 1), 1, kit.COLOURS.kept],
        [`\u2717 rejected ${verdicts.rejected}`, verdicts.rejected / (told || 1), 1, kit.COLOURS.unseen]);
    }
    const tops = [];
    let height = 0;
    for (const row of rows) height = (tops.push(height + (row.length > 1 ? 0 : 6)), tops.at(-1) + (row.length > 1 ? 34 : 22));
    const x = kit.scaleLinear([0, 1], [4, SIDE - 8]);
    picture.attr("viewBox", `0 0 ${SIDE} ${height}`).attr("height", height);
    const row = all.selectAll("g").data(rows).join("g").attr("transform", (_, i) => `translate(0,${tops[i]})`);
    line(row, "words", 4, (d) => d[0]).style("font-weight", (d) => (d.length > 1 ? 400 : 600));
    box(row, "bar", 20, 9, 4, (d) => (d.length > 1 ? x(d[1]) : 4), (d) => d[3] ?? "none");
    box(row, "frame", 20, 9, 4, (d) => (d.length > 1 ? x(d[2]) : 4), "none").attr("stroke", (d) => (d.length > 1 ? "currentColor" : "none"));
  };
}

export default {
  render({ model, el }) {
    const node = kit.root(el, "Generation: the text so far, and the next token");
    kit.add(node, "style", {}, STYLE);
    kit.controls(node, model);
    prompt(node, model);
    buttons(node, model);
    const draw = [text(node)], beside = kit.add(node, "div", { class: "beside" });
    draw.push(bars(beside, model), side(beside));
    kit.add(node, "p", {}, "Grey: the model's own probabilities; blue: what the next step draws from. Pieces: \u2713 an accepted draft, \u2717 a rejected one, with what "
      + "was drawn in its place after it, ? a draft that waits, \u261e chosen by you, \u00b7 a blank.");
    kit.words(node, model);
    kit.drawing(node, model, (data) => draw.forEach((one) => one(data)));
  },
};
