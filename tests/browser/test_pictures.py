"""What is drawn, read off the page: the height of a mark, the length of a bar, the reach of an arc are the numbers."""

import math
import re

import pytest

from lmlab.widgets.generation import GenerationView
from lmlab.widgets.memory import CacheView
from lmlab.widgets.residual import StreamView
from lmlab.widgets.rope import RoPEView
from lmlab.widgets.training import TrainingView
from tests.browser.lab import Page, server, write_notebook

pytestmark = pytest.mark.browser

ROPE = {"start": "Qwen3, long stage: ABF", "method": "none", "length": 16_384}
YARN = {"start": "GPT-OSS: YaRN x32", "length": 65_536}
CACHE = {"models": ["gpt-oss-120b", "deepseek-v3", "qwen3-8b"], "what_if": "qwen3-8b", "attention": "MLA", "rank": 256}
PER_TOKEN = {"models": ["gpt-oss-20b", "qwen3-32b"], "show": "per token of text", "gpu": "1 x H100, 86 GB"}
CUT = {"model": "mini-gpt-oss", "top_k": 3, "min_p": 0.05, "steps": 5}
DRAFTED = {"model": "mini-deepseek-v3", "temperature": 2.0, "top_p": "every token", "drafts": "on", "steps": 16}
STREAM = {"model": "mini-qwen3", "text": "Mia gave the red box to Tom. Later Tom", "token": 5, "stop": 3}
VOTES = {"model": "mini-deepseek-v3", "example": "a sum", "bars": "vote"}
LOSS = {"moment": 70}
DISTANCES = {"show": "distance to the floor", "texts": "story", "axis": "logarithmic"}
CELLS = [
    *(f"from lmlab.widgets.rope import RoPEView\n\nRoPEView(**{state})" for state in (ROPE, YARN)),
    *(f"from lmlab.widgets.memory import CacheView\n\nCacheView(**{state})" for state in (CACHE, PER_TOKEN)),
    *(f"from lmlab.widgets.generation import GenerationView\n\nGenerationView(**{state})" for state in (CUT, DRAFTED)),
    *(f"from lmlab.widgets.residual import StreamView\n\nStreamView(**{state})" for state in (STREAM, VOTES)),
    *(f"from lmlab.widgets.training import TrainingView\n\nTrainingView(**{state})" for state in (LOSS, DISTANCES)),
]
TICKS = """(axis) => [...axis.querySelectorAll(".tick")].map((tick) => [tick.textContent,
    ...tick.getAttribute("transform").match(/-?[\\d.]+/g).map(Number)])"""
SHAPES = """(node) => [...node.children].map((one) => Object.fromEntries(
    [...one.attributes].map((a) => [a.name, a.value]).concat([["text", one.textContent]])))"""


def number(text: str, kilo: float = 1e3) -> float:
    text = text.replace(",", "").replace("\u2212", "-").removesuffix("%")
    return float(text[:-1]) * kilo ** " KM".index(text[-1]) if text[-1] in "KM" else float(text)


def scale(svg, which: str, logarithmic: bool, kilo: float = 1e3):
    """Pixels -> value, by two ticks of the axis."""
    # an axis sets its ticks half a pixel further, where lines are sharp
    place = 2 if which == "y" else 1
    ticks = [(number(t[0], kilo), t[place] - 0.5) for t in svg.locator(f"g.axis.{which}").evaluate(TICKS) if t[0]]
    (a, at_a), (b, at_b) = ticks[0], ticks[-1]
    if logarithmic:
        return lambda at: a * (b / a) ** ((at - at_a) / (at_b - at_a))
    return lambda at: a + (b - a) * (at - at_a) / (at_b - at_a)


def shapes(svg, group: int) -> list[dict[str, str]]:
    """The attributes of what stands in one of the picture's own groups."""
    return svg.locator("xpath=./*[local-name()='g' and not(contains(@class, 'axis'))]").nth(group).evaluate(SHAPES)


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", text)]


@pytest.fixture(scope="module")
def views(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("pictures")
    write_notebook(root / "pictures.ipynb", *CELLS)
    with server(root) as address, Page(browser, address, "pictures.ipynb", height=4000) as opened:
        yield [opened.view(i) for i in range(len(CELLS))], opened
        assert not opened.faults


@pytest.mark.parametrize(("which", "state"), [(0, ROPE), (1, YARN)], ids=["without scaling", "YaRN"])
def test_the_hands(views, which, state):
    view, data = views[0][which], RoPEView(**state).data
    chart, dials = view.locator("svg").nth(0), view.locator("svg").nth(1)
    height = scale(chart, "y", logarithmic=True)
    ramp, marks, before, now = (shapes(chart, i) for i in range(4))
    assert [float(one["opacity"]) / 0.22 for one in ramp] == pytest.approx(data["ramp"], abs=1e-6)
    for group, wanted in ((before, data["trained_wavelength"]), (now, data["wavelength"])):
        assert [height(numbers(one["transform"])[1]) for one in group] == pytest.approx(wanted, rel=0.01)
    assert [one["d"].startswith("M0,-6L") for one in now] == data["unseen"], "unseen ones have a shape of their own"
    lines = [height(float(one["y1"])) for one in marks if "y1" in one]
    assert lines == pytest.approx([data["trained"], data["length"]], rel=0.01)
    words = [one["text"] for one in marks if one["text"]]
    assert words == [f"original: {data['trained']:,}", f"this text: {data['length']:,}"]
    for name, turns in (("before", data["trained_turns"]), ("now", data["turns"])):
        found = [
            numbers(d)[-2:] for d in dials.locator(f".{name}").evaluate_all("all => all.map(a => a.getAttribute('d'))")
        ]
        reach = [math.atan2(x, -y) / (2 * math.pi) % 1 for x, y in found]
        assert reach == pytest.approx([min(one, 0.9999) for one in turns], abs=1e-3)
    labels = dials.locator("text").all_text_contents()
    assert labels == [f"{i}!" if unseen else f"{i}" for i, unseen in enumerate(data["unseen"])]


@pytest.mark.parametrize(("which", "state"), [(2, CACHE), (3, PER_TOKEN)], ids=["whole", "per token"])
def test_the_cache(views, which, state):
    view, data = views[0][which], CacheView(**state).data
    chart, bars, lines = view.locator("svg").nth(0), view.locator("svg").nth(1), data["lines"]
    height = scale(chart, "y", data["logarithmic"])
    along = scale(chart, "x", logarithmic=True, kilo=1024)
    mark, beyond, within, names = (shapes(chart, i) for i in range(4))
    assert along(float(mark[0]["x1"])) == pytest.approx(data["length"], rel=0.01)
    for line, thin, thick in zip(lines, beyond, within, strict=True):
        points = numbers(thin["d"])
        assert [along(x) for x in points[::2]] == pytest.approx(data["lengths"], rel=0.01)
        assert [height(y) for y in points[1::2]] == pytest.approx(line["values"], rel=0.01)
        length, value = line["released"]
        x, y = numbers(thick["d"])[-2:]
        assert (along(x), height(y)) == pytest.approx((length, value), rel=0.01)
    assert [one["text"] for one in names if one["text"]] == [line["name"] for line in lines]
    read_bars(bars, data)
    cells = view.locator("tbody tr").evaluate_all("rows => rows.map(row => [...row.children].map(c => c.textContent))")
    assert cells == data["table"]["rows"]


def read_bars(bars, data) -> None:
    rows = bars.locator("xpath=./*[local-name()='g'][2]/*")
    limit = float(bars.locator("xpath=./*[local-name()='g'][3]/*[local-name()='line']").get_attribute("x1"))
    per_gb = (limit - 600) / data["gpu"]
    most = max(line["cache"] for line in data["lines"])
    for i, line in enumerate(data["lines"]):
        row = rows.nth(i)

        def widths(name, row=row):
            return [
                float(one)
                for one in row.locator(f"rect.{name}").evaluate_all("all => all.map(r => r.getAttribute('width'))")
            ]

        assert widths("held") == pytest.approx([max(210 * k / most, 1) for k in line["kinds"].values()], rel=0.01)
        assert widths("weights") == pytest.approx([line["weights"] * per_gb], rel=0.01)
        assert widths("cache") == pytest.approx([max(line["cache"] * per_gb, 1)], rel=0.01)
        words = row.locator("text.kinds").text_content()
        assert [part.split()[0] for part in words.split(" + ")] == list(line["kinds"])
    said = bars.locator("text").last.text_content()
    assert said == f"the GPU holds {round(data['gpu']):,} GB"


@pytest.mark.parametrize(("which", "state"), [(4, CUT), (5, DRAFTED)], ids=["cut", "with drafts"])
def test_the_next_token(views, which, state):
    view, data = views[0][which], GenerationView(**state).data
    bars, side = view.locator("svg").nth(0), view.locator("svg").nth(1)
    along = scale(bars, "x", logarithmic=False)
    rows, every = bars.locator("g.next, g.others"), [*data["bars"], data["others"]]
    assert rows.count() == len(every) and any(bar["reshaped"] == 0 for bar in every) == (state is CUT)
    for i, bar in enumerate(every):
        for name in ("own", "reshaped"):
            rect = {key: float(rows.nth(i).locator(f"rect.{name}").get_attribute(key)) for key in ("x", "width")}
            assert along(rect["x"]) == pytest.approx(0, abs=0.1)
            assert along(rect["x"] + rect["width"]) == pytest.approx(100 * bar[name], abs=0.1)
        dashed = rows.nth(i).locator("rect.own").get_attribute("stroke-dasharray") != "none"
        words = rows.nth(i).locator("text.drawn").text_content()
        assert dashed == words.startswith("cut") == (bar["reshaped"] == 0), "what is cut is hollow, and said to be"
        if not dashed:
            assert words[-1] == (
                "\u25b2"
                if bar["reshaped"] > 1.005 * bar["own"]
                else "\u25bc"
                if bar["reshaped"] < 0.995 * bar["own"]
                else "="
            )
    shown = [
        part
        for piece in data["pieces"]
        for part in ([("rejected", piece["draft"])] if piece["draft"] else []) + [(piece["how"], piece["text"])]
    ]
    if data["pending"]:
        shown.append(("pending", data["pending"]["text"]))
    found = view.locator(".piece").evaluate_all("all => all.map(one => [one.classList[1], one.textContent])")
    assert [how for how, _ in found] == [how for how, _ in shown]
    assert all(words.endswith(text) for (_, words), (_, text) in zip(found, shown, strict=True))
    read_side(side, data)


def read_side(side, data) -> None:
    """Bars in their frames: of all bits, of what is allocated, of all drafts."""
    rows = [
        row
        for row in side.locator("xpath=./*[local-name()='g']/*").all()
        if row.locator("rect.frame").get_attribute("stroke") != "none"
    ]
    widths = [[float(row.locator(f"rect.{name}").get_attribute("width")) for name in ("bar", "frame")] for row in rows]
    shares = [data["entropy"][name] / data["entropy"]["most"] for name in ("own", "reshaped")]
    shares += [one["used"] / one["allocated"] for one in data["cache"]]
    told = data["verdicts"]["accepted"] + data["verdicts"]["rejected"]
    if told:
        shares += [data["verdicts"][name] / told for name in ("accepted", "rejected")]
    assert [bar / frame for bar, frame in widths] == pytest.approx(shares, abs=0.005)


@pytest.mark.parametrize(("which", "state"), [(6, STREAM), (7, VOTES)], ids=["shares", "votes"])
def test_the_stream(views, which, state):
    view, mirror = views[0][which], StreamView(**state)
    data, t, stop, bars = mirror.data, mirror.state["token"], mirror.state["stop"], mirror.state["bars"]
    svg = view.locator("svg")

    def at(name):
        return [row[t] for row in data[name]]

    def marks(panel, name):
        height = scale(svg.locator(f"g.{panel}"), "y", logarithmic=False)
        found = svg.locator(f"g.{panel} > path.{name}-mark").evaluate_all(
            "all => all.map(a => a.getAttribute('transform'))"
        )
        return [height(numbers(one)[1]) for one in found]

    def columns(panel):
        """What each bar reaches: its upper end, or its lower one where it hangs from zero."""
        height = scale(svg.locator(f"g.{panel}"), "y", logarithmic=False)
        read = "all => all.map(a => ['y', 'height'].map((name) => Number(a.getAttribute(name))))"
        ends = [(height(y), height(y + tall)) for y, tall in svg.locator(f"g.{panel} > rect").evaluate_all(read)]
        return [max(one, key=abs) for one in ends]

    near = {"rel": 0.01, "abs": 0.01}
    assert marks("length", "stream") == pytest.approx(at("length"), **near)
    assert columns("length") == pytest.approx(at("added"), **near)
    assert marks("direction", "final") == pytest.approx(at("to_final"), **near)
    assert marks("direction", "embedding") == pytest.approx(at("to_embedding"), **near)
    assert columns("bars") == pytest.approx(at(bars), **near)
    tokens = view.locator("[role=option]")
    assert tokens.all_text_contents() == data["tokens"]
    chosen = view.locator("[role=option][aria-selected=true]")
    assert chosen.get_attribute("id") == view.locator("[role=listbox]").get_attribute("aria-activedescendant")
    assert tokens.nth(t).get_attribute("id") == chosen.get_attribute("id")
    cells = svg.locator("g.cell > title").all_text_contents()
    wanted = zip(data["top"], data["p"], strict=True)
    assert cells == [
        f"{word} {100 * p:.1f}%" for top, every in wanted for word, p in zip(top[t], every[t], strict=True)
    ]
    framed = svg.locator("g.cell > rect").evaluate_all("all => all.map(a => a.getAttribute('stroke-width') !== '0')")
    assert framed == [one for row in data["right"] for one in row[t]]
    column = float(svg.locator("g.chosen > rect").get_attribute("x"))
    assert column == float(svg.locator("g.columns > rect").nth(stop).get_attribute("x"))


def test_another_token_is_drawn_before_python_answers(views):
    view, data = views[0][6], StreamView(**STREAM).data
    now = """(node) => {
        const press = (key) => node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const say = node.closest(".lmlab").querySelector(".summary");
        const keys = ["Home", "ArrowRight", "End", "ArrowRight", "ArrowLeft"];
        return keys.map((key) => { press(key); return say.textContent; });
    }"""
    last = len(data["tokens"]) - 1
    said = view.locator("[role=listbox]").evaluate(now)
    assert [int(re.search(r"token (\d+) of", one)[1]) - 1 for one in said] == [0, 1, last, last, last - 1]
    view.locator("[role=option]").nth(5).click()
    view.locator("g.columns > rect").nth(3).click()
    assert view.locator(".summary").text_content() == StreamView(**STREAM).summary


def test_a_narrow_page_scrolls_within_and_loses_nothing(views):
    found, opened = views
    opened.page.set_viewport_size({"width": 480, "height": 900})
    for view in found:
        wide, shown = view.evaluate("(node) => [node.scrollWidth, node.clientWidth]")
        assert wide <= shown + 1, "the pictures scroll, the view does not"
        assert view.locator("select:visible, textarea:visible").count()
        assert view.locator(".scroll").first.evaluate("(node) => node.scrollWidth > node.clientWidth")


@pytest.mark.parametrize(("which", "state"), [(8, LOSS), (9, DISTANCES)], ids=["loss", "distance"])
def test_the_training(views, which, state):
    view, mirror = views[0][which], TrainingView(**state)
    data, (dots,) = mirror.data["chart"], mirror.data["dots"]
    chart, rows = view.locator("svg").nth(0), view.locator("svg").nth(1)
    height, along = scale(chart, "y", data["logarithmic"]), scale(chart, "x", logarithmic=False)
    level, stages, lines, marks, names, _ = (shapes(chart, i) for i in range(6))
    most = max(y for line in data["lines"] for _, y in line["points"])
    near = {"rel": 0.01, "abs": 0 if data["logarithmic"] else 0.005 * most}
    for line, drawn in zip(data["lines"], lines, strict=True):
        points = numbers(drawn["d"])
        assert [along(x) for x in points[::2]] == pytest.approx([x for x, _ in line["points"]], rel=0.01)
        assert [height(y) for y in points[1::2]] == pytest.approx([y for _, y in line["points"]], **near)
        assert drawn["stroke"] == line["colour"]
    wanted = [(line, point) for line in data["lines"] for point in line["marks"]]
    assert len(marks) == len(wanted) > 8
    for drawn, (line, (x, y)) in zip(marks, wanted, strict=True):
        found = numbers(drawn["transform"])
        assert (along(found[0]), height(found[1])) == (pytest.approx(x, rel=0.01), pytest.approx(y, **near))
        assert drawn["fill"] == ("none" if line["dash"] else line["colour"]), "hollow where the line has dashes"
    if state is LOSS:
        assert height(float(level[0]["y1"])) == pytest.approx(data["level"][0], **near)
        assert level[1]["text"] == data["level"][1]
        assert along(float(stages[0]["x1"])) == pytest.approx(0.7 * data["longest"], rel=0.01)
    else:
        assert level == [] and stages == [], "no logarithm of the floor"
    assert [one["text"] for one in names if one["text"]] == [line["name"] for line in data["lines"]]
    across = scale(rows, "x", logarithmic=False)
    found = [across(numbers(one["transform"])[0]) for one in shapes(rows, 2)]
    assert found == pytest.approx([value for run in dots["runs"] for value in run["values"]], abs=0.005)
    labels = rows.locator("g.axis.y .tick").all_text_contents()
    assert labels == dots["rows"]
    cells = view.locator("tbody tr").evaluate_all("rows => rows.map(row => [...row.children].map(c => c.textContent))")
    assert cells == mirror.data["tables"][0]["rows"]
