"""The routing view, read off the page: shades of the canvas, bars, frames, strips and curves are the numbers."""

import json
from dataclasses import asdict

import matplotlib
import pytest

from lmlab.widgets.routing import FREE, RoutingView
from lmlab.widgets.routing_panels import MARGINS, PAIRS, READERS, REPLAY, STEERED
from tests.browser.test_pictures import number, scale
from tests.train.test_loads import loaded

pytestmark = pytest.mark.browser

TEXT = "Mia gave the red box to Tom. Later Tom"
STATES = {
    "margins": {"model": "mini-gpt-oss", "text": TEXT, "layer": 1, "also": MARGINS},
    "groups": {"model": "mini-deepseek-v3", "example": "code", "layer": 2, "also": STEERED},
    "without its bias": {"model": "mini-deepseek-v3", "example": "sums", "bias": FREE, "also": STEERED},
    "readers": {"model": "mini-qwen3-moe", "text": "", "layer": 0, "also": READERS},
    "pairs": {"model": "mini-qwen3-moe", "layer": 3, "also": PAIRS},
    "dense": {"model": "mini-deepseek-v3", "text": TEXT, "layer": 0, "also": STEERED},
}
REPLAYED = {"model": "mini-gpt-oss", "layer": 1, "also": REPLAY, "moment": 50}
TRAININGS = {
    "mini-gpt-oss-balanced-0": [loaded(s, [1, 1], [1.2, 0.8]) for s in (20, 40)],
    "mini-gpt-oss-balanced-1": [loaded(s, [1, 1], [0.6, 1.4]) for s in (20, 40)],
    "mini-gpt-oss-unbalanced-0": [loaded(s, [1, 1], [2 - s / 40, s / 40]) for s in (20, 40)],
}
# a view needs of its model no more than this: it is drawn without JupyterLab
DRAW = """async ([text, traits]) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const model = { get: (name) => traits[name], set() {}, on() {}, save_changes() {} };
    const el = document.createElement("section");
    document.body.append(el);
    (await import(url)).default.render({ model, el });
    el.querySelectorAll("details").forEach((one) => { one.open = true; });
}"""
PIXELS = """(canvas) => { const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return { width: canvas.width, height: canvas.height, data: [...data] }; }"""
ATTRIBUTES = """all => all.map((one) => Object.fromEntries([...one.attributes].map((a) => [a.name, a.value])))"""


def attributes(view, group: str, shape: str = "rect") -> list[dict[str, str]]:
    return view.locator(f"g.{group} > {shape}").evaluate_all(ATTRIBUTES)


def floats(found: list[dict[str, str]], *names: str) -> list[list[float]]:
    return [[float(one[name]) for name in names] for one in found]


@pytest.fixture(scope="module")
def views(tmp_path_factory, browser):
    """Each state's view beside the state's name, all on one page."""
    folder = tmp_path_factory.mktemp("recorded") / "runs" / "balancing"
    folder.mkdir(parents=True)
    for name, records in TRAININGS.items():
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in records)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    page, faults = browser.new_page(viewport={"width": 1280, "height": 800}), []
    page.set_default_timeout(120_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith("blob:") else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmlab.train.runs.data_path", lambda *parts: folder.parent.parent.joinpath(*parts))
        shown = {name: RoutingView(**state) for name, state in (STATES | {"replay": REPLAYED}).items()}
    for view in shown.values():
        traits = ("controls", "state", "data", "summary", "problem", "version")
        page.evaluate(DRAW, [view._esm, {name: getattr(view, name) for name in traits}])
    sections = page.locator("section")
    yield {name: (sections.nth(i), view) for i, (name, view) in enumerate(shown.items())}
    assert not faults
    page.close()


def shades(canvas, cells: list[list[float]], most: float) -> None:
    """A pixel for each cell, of the red and green that cividis has for it (d3's comes near to matplotlib's)."""
    found = canvas.evaluate(PIXELS)
    assert (found["height"], found["width"]) == (len(cells), len(cells[0]))
    colours = matplotlib.colormaps["cividis"]
    for i, value in enumerate(value for row in cells for value in row):
        wanted = [255 * part for part in colours(min(value / most, 1.0))[:2]]
        assert found["data"][4 * i : 4 * i + 2] == pytest.approx(wanted, abs=12), (i, value)


@pytest.mark.parametrize("name", STATES)
def test_the_heatmap(views, name):
    view, data = views[name][0], views[name][1].data
    main = view.locator("svg").first
    tokens = view.locator("g.tokens > text")
    assert tokens.all_text_contents() == [t if len(t) <= 11 else f"{t[:10]}\u2026" for t in data["tokens"]]
    assert view.locator("g.columns title").all_text_contents() == data["titles"]
    band = view.locator("g.band > text").all_text_contents()
    assert len(band) == (2 if data["shared"] or name == "dense" else 0)
    if name == "dense":
        assert not view.locator("canvas").count() and band == ["the MLP", "reads every token"]
        return
    canvas = view.locator("canvas").first
    shades(canvas, data["cells"], data["scale"])
    box, frame = canvas.bounding_box(), main.bounding_box()
    many, experts = len(data["tokens"]), len(data["rows"])
    wide, tall = box["width"] / many, box["height"] / experts
    left, top = box["x"] - frame["x"], box["y"] - frame["y"]
    for n, (x, width) in enumerate(floats(attributes(view, "columns"), "x", "width")):
        assert (x, width) == pytest.approx((left + n * wide, wide), abs=1), "the SVG lies over the canvas"
    even = float(attributes(view, "even", "line")[0]["x1"])
    bars = floats(attributes(view, "load"), "x", "width", "y", "height")
    assert [width / (even - x) for x, width, *_ in bars] == pytest.approx(data["load"], rel=0.01, abs=0.01)
    middles = [y + height / 2 for *_, y, height in bars]
    assert middles == pytest.approx([top + (e + 0.5) * tall for e in range(experts)], abs=1), "beside its row"
    assert view.locator("g.numbers").first.locator("text").all_text_contents() == [f"{v:.2f}" for v in data["load"]]
    moved = [
        [round((x - left) / wide), round((y - top) / tall)] for x, y in floats(attributes(view, "moved"), "x", "y")
    ]
    assert moved == data["moved"]
    out = [[round((x - left) / wide), round((y - top) / tall)] for x, y in floats(attributes(view, "out"), "x", "y")]
    size = experts // (data["groups"] or experts)
    wanted = [[n, g * size] for g, row in enumerate(data["out"]) for n, away in enumerate(row) if away]
    assert out == wanted and (name != "groups" or out)
    rows = "rows => rows.map(row => [...row.children].map(c => c.textContent))"
    assert view.locator("tbody tr").evaluate_all(rows) == data["table"]["rows"]


def test_margins_stand_below_their_columns(views):
    view, data = views["margins"][0], views["margins"][1].data["strip"]
    height = scale(view.locator("g.strip"), "y", logarithmic=False)
    bars, columns = (
        floats(attributes(view, "strip"), "y", "x", "width"),
        floats(attributes(view, "columns"), "x", "width"),
    )
    assert [height(y) for y, *_ in bars] == pytest.approx(data["values"], rel=0.02, abs=0.02)
    assert [x + w / 2 for _, x, w in bars] == pytest.approx([x + w / 2 for x, w in columns], abs=1)
    assert view.locator("g.strip > text.title").text_content() == data["title"]


@pytest.mark.parametrize("name", ["readers", "pairs"])
def test_grids_are_shades_and_numbers(views, name):
    view, grids = views[name][0], views[name][1].data["grids"]
    canvases, pictures = view.locator("canvas"), view.locator("svg")
    assert canvases.count() == len(grids) + 1
    for i, grid in enumerate(grids, 1):
        shades(canvases.nth(i), grid["cells"], grid["scale"])
        said = [text for row in grid["texts"] for text in row]
        assert pictures.nth(i).locator("g.numbers > text").all_text_contents() == said
        assert pictures.nth(i).locator("g.rows > text").all_text_contents() == grid["rows"]


def test_a_training_is_replayed(views):
    view, _ = views["replay"]
    assert "After 2,000 tokens of training the busiest expert of layer 1 reads balanced 1.30 times" in (
        view.locator(".summary").text_content()
    )
    svg = view.locator("svg").last
    height = scale(svg.locator("g.curves"), "y", logarithmic=False)
    along = scale(svg.locator("g.curves"), "x", logarithmic=False)
    points = [[float(v) for v in one["d"][1:].replace("L", ",").split(",")] for one in attributes(svg, "means", "path")]
    found = [[(along(x), height(y)) for x, y in zip(one[::2], one[1::2], strict=True)] for one in points]
    wanted = [[(2000, 1.3), (4000, 1.3)], [(2000, 1.5), (4000, 1.0)]]
    for mine, its in zip(found, wanted, strict=True):
        assert [v for point in mine for v in point] == pytest.approx([v for point in its for v in point], rel=0.01)
    assert along(float(attributes(svg, "at", "line")[0]["x1"])) == pytest.approx(2000, rel=0.01)
    bars, even = floats(attributes(svg, "bars"), "y", "height"), float(attributes(svg, "bars", "line")[0]["y1"])
    foot = bars[0][0] + bars[0][1]
    assert [tall / (foot - even) for _, tall in bars] == pytest.approx([1.3, 0.7, 1.5, 0.5], rel=0.01)
    names = [number(text) for text in svg.locator("g.axis.x").last.locator("text").all_text_contents() if text]
    assert names == [1, 2] and svg.locator("g.names > text").all_text_contents() == ["balanced", "unbalanced"]
