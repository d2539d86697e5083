"""The cost view's pictures, read off the page: places of marks and curves, lengths of bars."""

import pytest

from lmlab.widgets.cost import CostView
from tests.browser.lab import Page, server, write_notebook
from tests.browser.test_pictures import numbers, scale, shapes

pytestmark = pytest.mark.browser

SEVERAL = {"batch": 32, "context": 32_768}
TIGHT = {
    "models": ["gpt-oss-20b", "qwen3-8b", "qwen3-32b"],
    "device": "1 x RTX 4090, 26 GB",
    "weights": "fp8",
    "batch": 1,
}
STATES = [SEVERAL, TIGHT]
NEAR = {"rel": 0.02}


@pytest.fixture(scope="module")
def views(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("cost")
    cells = [f"from lmlab.widgets.cost import CostView\n\nCostView(**{state})" for state in STATES]
    write_notebook(root / "cost.ipynb", *cells)
    with server(root) as address, Page(browser, address, "cost.ipynb", height=4000) as opened:
        found = [opened.view(i) for i in range(len(STATES))]
        opened.unfold()
        yield found
        assert not opened.faults


@pytest.mark.parametrize("which", range(len(STATES)), ids=["several", "tight"])
def test_the_roofline(views, which):
    view, data = views[which], CostView(**STATES[which]).data
    svg = view.locator("svg").nth(0)
    along, height = scale(svg, "x", logarithmic=True), scale(svg, "y", logarithmic=True)
    roof, ridges, trails, _, points, writes, reads, names = (shapes(svg, i) for i in range(8))

    def read(d):
        found = numbers(d)
        return [(along(x), height(y)) for x, y in zip(found[::2], found[1::2], strict=True)]

    slope, *flats = [read(one["d"]) for one in roof if "d" in one]
    assert [y / x for x, y in slope] == pytest.approx([data["bandwidth"]] * 2, **NEAR)
    assert slope[1] == pytest.approx((data["roofs"][-1]["ridge"], data["roofs"][-1]["peak"]), **NEAR)
    assert [flat[0] for flat in flats] == [pytest.approx((one["ridge"], one["peak"]), **NEAR) for one in data["roofs"]]
    assert [along(float(one["x1"])) for one in ridges if "x1" in one] == pytest.approx(
        [one["ridge"] for one in data["roofs"]], **NEAR
    )
    wanted = [point for row in data["rows"] for point in (row["write"], row["read"])]
    placed = [numbers(one["transform"]) for one in points]
    assert [(along(x), height(y)) for x, y in placed] == [pytest.approx(tuple(point), **NEAR) for point in wanted]
    hollow = [one["fill"].startswith("var") for one in points]
    assert hollow == [not row["fits"] for row in data["rows"] for _ in range(2)], "hollow where it does not fit"
    for row, trail in zip(data["rows"], trails, strict=True):
        (dx, dy), found = numbers(trail["transform"]), numbers(trail["d"])
        assert dx == dy > 0, "beside the roof, not on it"
        assert (along(found[-2]), height(found[-1])) == pytest.approx(tuple(row["trail"][-1]), **NEAR)
    order = [str(row["number"]) for row in data["rows"]]
    assert [one["text"] for one in writes] == [one["text"] for one in reads] == order
    labels = [one["text"] for one in names if one["text"]]
    assert labels[: len(order)] == [row["label"] + ("" if row["fits"] else ", does not fit") for row in data["rows"]]


@pytest.mark.parametrize("which", range(len(STATES)), ids=["several", "tight"])
def test_bars_of_memory_and_of_speed(views, which):
    view, data = views[which], CostView(**STATES[which]).data
    svg, rows = view.locator("svg").nth(1), data["rows"]
    limit = float(svg.locator("xpath=./*[local-name()='g'][3]/*[local-name()='line']").get_attribute("x1"))
    per_gb = (limit - 190) / data["memory"]

    def widths(name):
        return [
            float(one)
            for one in svg.locator(f"rect.{name}").evaluate_all("all => all.map(r => r.getAttribute('width'))")
        ]

    assert widths("weights") == pytest.approx([row["weights"] * per_gb for row in rows], rel=0.01)
    assert widths("cache") == pytest.approx([row["cache"] * per_gb for row in rows], rel=0.01)
    free = [max(data["memory"] - row["weights"] - row["cache"], 0) * per_gb for row in rows]
    assert widths("free") == pytest.approx(free, rel=0.01, abs=0.01)
    most = max(row["speed"] for row in rows)
    assert widths("speed") == pytest.approx([170 * row["speed"] / most for row in rows], rel=0.01)
    assert svg.locator("text.says").all_text_contents() == [row["says"] for row in rows]
    assert svg.locator("text").last.text_content() == f"the device holds {round(data['memory']):,} GB"


@pytest.mark.parametrize("which", range(len(STATES)), ids=["several", "tight"])
def test_curves_and_tables(views, which):
    view, data = views[which], CostView(**STATES[which]).data
    for i, curves in enumerate(data["lines"]):
        svg = view.locator("svg").nth(2 + i)
        along, height = scale(svg, "x", logarithmic=True, kilo=1024), scale(svg, "y", curves["logarithmic"])
        mark, lines, names = (shapes(svg, group) for group in range(3))
        assert along(float(mark[0]["x1"])) == pytest.approx(curves["at"], **NEAR)
        for line, drawn in zip(curves["lines"], lines, strict=True):
            found = numbers(drawn["d"])
            assert [along(x) for x in found[::2]] == pytest.approx(curves["x"], **NEAR)
            assert [height(y) for y in found[1::2]] == pytest.approx(line["values"], rel=0.02, abs=0.2)
        assert [one["text"] for one in names if one["text"]] == [line["label"] for line in curves["lines"]]
    for i, table in enumerate([*data["tables"], data["experts"]]):
        read = "rows => rows.map(row => [...row.children].map(c => c.textContent))"
        assert view.locator("table").nth(i).locator("tbody tr").evaluate_all(read) == table["rows"]
        assert view.locator("strong").all_text_contents().count(table["title"]) == 1
