"""The architecture view's picture, read off the page: nested boxes, areas that are parameters, and what keys do."""

import pytest

from lmlab.measure import architecture
from lmlab.widgets.architecture import DRAW, ArchitectureView
from tests.browser.lab import Page, server, write_notebook

pytestmark = pytest.mark.browser

OPEN = ["model", "repeat", "block", "block.self_attn", "block.mlp"]
BOXES = {"b": "qwen3-235b-a22b", "c": "deepseek-v3", "open": OPEN, "node": "deepseek-v3:block.self_attn.kv_b_proj"}
TOGETHER = {"draw": DRAW[1], "b": "mini-qwen3", "c": "deepseek-v3", "open": OPEN}
ALONE = {"draw": DRAW[2], "a": "mini-gpt-oss", "b": "deepseek-v3", "open": OPEN}
CELLS = [
    f"from lmlab.widgets.architecture import ArchitectureView\n\nArchitectureView(**{state})"
    for state in ({}, BOXES, TOGETHER, ALONE)
]
ITEMS = """(tree) => [...tree.querySelectorAll("[role=treeitem]")].map((item) => {
    const box = item.querySelector("rect.box"), active = item.querySelector("rect.active");
    const number = (one, name) => Number(one.getAttribute(name));
    return { id: item.id, label: item.getAttribute("aria-label"),
        selected: item.getAttribute("aria-selected") === "true",
        level: number(item, "aria-level"), open: item.getAttribute("aria-expanded"), active: number(active, "width"),
        dashed: box.getAttribute("stroke-dasharray") !== null, stroke: box.getAttribute("stroke"),
        title: item.querySelector(".title").textContent, number: item.querySelector(".number").textContent,
        ...Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, number(box, name)])) };
})"""


@pytest.fixture(scope="module")
def views(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("architecture")
    write_notebook(root / "architecture.ipynb", *CELLS)
    with server(root) as address, Page(browser, address, "architecture.ipynb", height=4000) as opened:
        yield [opened.view(i) for i in range(len(CELLS))], opened
        assert not opened.faults


def read(view, mirror):
    """[(node of the data, what is drawn of it)], in order."""
    seen = next(spec for spec in mirror.controls if spec["name"] == "node")["values"]
    every = {node["id"]: node for column in mirror.data["columns"] for node in column["nodes"]}
    items = view.locator("[role=tree]").evaluate(ITEMS)
    assert len(items) == len(seen)
    for item, one in zip(items, seen, strict=True):
        assert item["label"].startswith(every[one]["title"]) and item["level"] == every[one]["depth"] + 1
        assert item["selected"] == (one == mirror.state["node"])
    return [(every[one], item) for item, one in zip(items, seen, strict=True)]


def test_boxes_lie_within_their_parents_and_say_what_they_hold(views):
    mirror = ArchitectureView(**BOXES)
    placed, found = {}, read(views[0][1], mirror)
    for node, item in found:
        name = node["id"].partition(":")[0]
        assert item["number"] == node["number"]
        sign = {"only": "+ ", "other": "\u2260 ", "same": ""}[node["mark"]]
        assert item["title"].startswith(sign) and node["title"].startswith(
            item["title"].lstrip("+\u2260\u25b8\u25be ")[:8]
        )
        assert item["dashed"] == (node["mark"] == "only") and (item["stroke"] == "#D55E00") == (node["mark"] != "same")
        if node["parent"]:
            outer = placed[name, node["parent"]]
            assert outer["x"] < item["x"] and item["x"] + item["width"] < outer["x"] + outer["width"]
            assert outer["y"] < item["y"] and item["y"] + item["height"] < outer["y"] + outer["height"]
        for key, other in placed.items():
            if key[0] == name and not node["path"].startswith(key[1]) and other["level"] == item["level"]:
                assert other["y"] + other["height"] <= item["y"], "no two overlap"
        placed[name, node["path"]] = item
    assert {node["mark"] for node, _ in found} == {"only", "other"}
    rows = (
        views[0][1].locator("tbody tr").evaluate_all("rows => rows.map(r => [...r.children].map(c => c.textContent))")
    )
    chosen = next(node for node, item in found if item["selected"])
    assert {row[0].lstrip("\u2260 "): row[3] for row in rows} == dict(map(tuple, chosen["cells"]))
    assert all(row[1:3] == ["-", "-"] for row in rows), "the others have no such part"


@pytest.mark.parametrize(("which", "state"), [(2, TOGETHER), (3, ALONE)], ids=["together", "alone"])
def test_areas_are_parameters(views, which, state):
    mirror = ArchitectureView(**state)
    whole = {column["name"]: column["parameters"] for column in mirror.data["columns"]}
    tables = {name: architecture.table(architecture.tree(config_of(name))) for name in whole}
    found = read(views[0][which], mirror)
    squares = {node["id"].partition(":")[0]: item for node, item in found if not node["parent"]}
    for square in squares.values():
        assert square["width"] == pytest.approx(square["height"])
    most = max(whole, key=whole.get)
    for name, square in squares.items():
        ratio = whole[name] / whole[most] if state["draw"] == DRAW[1] else 1
        assert square["width"] / squares[most]["width"] == pytest.approx(ratio**0.5, rel=1e-4)
    for node, item in found:
        name, _, path = node["id"].partition(":")
        row, square = tables[name].loc[path], squares[name]
        area = square["width"] * square["height"]
        assert item["width"] * item["height"] / area == pytest.approx(
            row["parameters"] / whole[name], rel=1e-4, abs=1e-12
        )
        if item["active"]:
            assert item["active"] / item["width"] == pytest.approx(row["active"] / row["parameters"], rel=1e-4)
    tiny = [name for name, square in squares.items() if square["width"] < 8]
    assert views[0][which].locator("[role=tree] circle").count() == len(tiny) == (state["draw"] == DRAW[1])


def config_of(name):
    from lmlab.families import config

    return config(name)


def test_keys_and_clicks_open_close_and_choose_before_python_answers(views):
    view = views[0][0]
    press = """(tree, key) => {
        tree.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const items = [...tree.querySelectorAll("[role=treeitem]")], view = tree.closest(".lmlab");
        const at = items.find((one) => one.getAttribute("aria-selected") === "true");
        const title = at.querySelector(".title").textContent.replace(/^[^a-z0-9]+/, "");
        return [at.id === tree.getAttribute("aria-activedescendant"), title, items.length,
            view.querySelector(".summary").textContent, view.querySelector("pre").textContent];
    }"""
    tree, mirror = view.locator("[role=tree]"), ArchitectureView()
    before = len(mirror.controls[4]["values"])
    said = []
    steps = [
        ("Enter", "experts", 4),
        ("ArrowRight", "gate_up_proj", 4),
        ("ArrowDown", "down_proj", 4),
        ("ArrowLeft", "experts", 4),
    ]
    steps += [("ArrowLeft", "experts", 0), ("ArrowUp", "router", 0), ("Home", "gpt-oss-120b", 0), ("End", "lm_head", 0)]
    for key, title, more in steps:
        is_marked, shown, count, words, code = tree.evaluate(press, key)
        assert is_marked and shown.startswith(title) and count == before + more, key
        said.append((words, code))
    assert len({words for words, _ in said}) == 6 and len({code for _, code in said}) == 6
    view.locator("[role=treeitem]", has_text="self_attn").last.click()
    assert "self_attn" in view.locator(".summary").text_content()
    assert "class GroupedQueryAttention" in view.locator("pre").text_content()
    facts = view.locator("li").all_text_contents()
    assert any(one.startswith("num_key_value_heads: 8 (openai/gpt-oss gpt_oss/torch/model.py") for one in facts)
    view.locator("[role=treeitem]", has_text="self_attn").last.click()
    assert view.locator("[role=treeitem]", has_text="q_proj").count() == 1


def test_a_narrow_page_scrolls_within_and_loses_nothing(views):
    found, opened = views
    opened.page.set_viewport_size({"width": 480, "height": 900})
    for view in found:
        wide, shown = view.evaluate("(node) => [node.scrollWidth, node.clientWidth]")
        assert wide <= shown + 1, "the pictures scroll, the view does not"
        assert view.locator("select:visible").count() == 4
        assert view.locator(".scroll").first.evaluate("(node) => node.scrollWidth > node.clientWidth")
