"""The attention view, read off the page as a reader does: a cell's colour by the legend, a head's number, an edge."""

import numpy as np
import pytest

from lmlab.widgets.attention import AttentionView
from tests.browser.lab import Page, server, write_notebook
from tests.browser.test_pictures import numbers

pytestmark = pytest.mark.browser

WINDOW = {"model": "mini-gpt-oss", "head": 2, "token": 40, "statistic": "sink"}  # layer 0 slides
CONTENT = {
    "model": "mini-deepseek-v3",
    "head": 11,
    "show_mla": "content",
    "text": "Mia gave the red box to Tom.",
    "token": 4,
}
LINES = {"model": "mini-gpt-oss", "form": "lines", "head": 9, "token": 20, "statistic": "beyond", "window": 16}
STATES = (WINDOW, CONTENT, LINES)
CELLS = [f"from lmlab.widgets.attention import AttentionView\n\nAttentionView(**{state})" for state in STATES]
# red, green, blue and alpha at places of the canvas, given in the pixels of the page
PIXELS = """(canvas, places) => places.map(([x, y]) => {
    const scale = canvas.width / canvas.clientWidth;
    return [...canvas.getContext("2d").getImageData(Math.floor(x * scale), Math.floor(y * scale), 1, 1).data];
})"""


@pytest.fixture(scope="module")
def views(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("attention")
    write_notebook(root / "attention.ipynb", *CELLS)
    with server(root) as address, Page(browser, address, "attention.ipynb", height=3000) as opened:
        found = [opened.view(i) for i in range(len(CELLS))]
        for view in found:
            view.locator("[role=option]").first.wait_for()  # a view that is there, but has no data yet, has none
        yield found, opened
        assert not opened.faults


def triangle(sent: bytes, head: int, length: int) -> np.ndarray:
    grid = np.full((length, length), np.nan)
    grid[np.tril_indices(length)] = np.frombuffer(sent, "<f4").reshape(-1, length * (length + 1) // 2)[head]
    return grid


def legend(view) -> np.ndarray:
    """The colours of the scale, from its low to its high end. (steps, 3)"""
    fills = view.locator("g.legend > rect").evaluate_all("all => all.map(a => a.getAttribute('fill'))")
    return np.array([numbers(fill) for fill in fills])


def shares(view, places: list) -> tuple[np.ndarray, np.ndarray]:
    """How far along the legend the colour at each place lies, 0 to 1; and which places are painted in full."""
    found, scale = np.array(view.locator("canvas").evaluate(PIXELS, places)), legend(view)
    nearest = np.abs(found[:, None, :3] - scale).sum(-1)
    assert nearest.min(-1)[found[:, 3] == 255].max() < 30, "every colour is one of the legend's"
    return nearest.argmin(-1) / (len(scale) - 1), found[:, 3] == 255


def geometry(view, t: int) -> tuple[float, float, float]:
    """Left and upper edge of the map and the side of a cell, by the frame around the chosen row."""
    _, top, right, height = numbers(view.locator("g.chosen > path").get_attribute("d"))[:4]
    cell = height - 2
    return right - 1 - (t + 1) * cell, top + 1.5 - t * cell, cell


@pytest.mark.parametrize(("which", "state"), [(0, WINDOW), (1, CONTENT)], ids=["weights", "content"])
def test_the_map(views, which, state):
    view, mirror = views[0][which], AttentionView(**state)
    data, (layer, head), length = mirror.data, divmod(mirror.state["head"], 8), len(mirror.data["tokens"])
    left, top, cell = geometry(view, mirror.state["token"])
    places = [(i, j) for i in range(length) for j in range(length)]
    middle = [[left + (j + 0.5) * cell, top + (i + 0.5) * cell] for i, j in places]
    along, painted = shares(view, middle)
    window = data["windows"][layer] or length
    assert [bool(one) for one in painted] == [j <= i < j + window for i, j in places]
    if data["map"] is None:
        wanted = np.sqrt(triangle(data["weights"], mirror.state["head"], length))
    else:
        low, high = data["map"]["low"][layer][head], data["map"]["high"][layer][head]
        wanted = (triangle(data["map"]["values"], mirror.state["head"], length) - low) / (high - low)
        ends = view.locator("g.legend > text").all_text_contents()
        assert ends[:3] == [f"layer {layer}, head {head}: {data['map']['label']}", f"{low:.2f}", f"{high:.2f}"]
    assert along[painted] == pytest.approx(
        [wanted[place] for place, yes in zip(places, painted, strict=True) if yes], abs=0.03
    )
    rows = view.locator("g.rows > text").all_text_contents()
    assert any(data["tokens"][mirror.state["token"]].startswith(one.rstrip("\u2026")) for one in rows)


def test_the_sink_has_a_column_and_the_window_an_edge(views):
    view, mirror = views[0][0], AttentionView(**WINDOW)
    length, token = len(mirror.data["tokens"]), mirror.state["token"]
    left, top, cell = geometry(view, token)
    column = numbers(view.locator("g.edges > text", has_text="sink").get_attribute("transform"))[0]
    along, painted = shares(view, [[column, top + (i + 0.5) * cell] for i in range(length)])
    wanted = np.frombuffer(mirror.data["sinks"], "<f4").reshape(-1, length)[mirror.state["head"]]
    assert painted.all() and column < left
    assert along == pytest.approx(np.sqrt(wanted), abs=0.03)
    edge = numbers(view.locator("g.edges > path").get_attribute("d"))
    corners = [(left, top + 32 * cell), *((left + k * cell, top + (32 + k) * cell) for k in range(1, length - 32 + 1))]
    assert edge == pytest.approx([at for corner in corners for at in corner], abs=0.01)
    assert view.locator("g.legend > text").last.text_content() == "window of 32 ends"


@pytest.mark.parametrize(("which", "state"), [*enumerate(STATES)], ids=["sink", "distance", "beyond"])
def test_every_head_has_its_number_and_the_text_its_shades(views, which, state):
    view, mirror = views[0][which], AttentionView(**state)
    data, name = mirror.data, mirror.state["statistic"]
    values = data["beyond"][str(mirror.state["window"])] if name == "beyond" else data["statistics"][name]
    form = "{:.1f}" if name == "distance" else "{:.0%}"
    options = view.locator("[data-control=head] > [role=option]")
    shown, wanted = options.all_text_contents(), [form.format(value) for row in values for value in row]
    differ = [pair for pair in zip(shown, wanted, strict=True) if pair[0] != pair[1]]
    assert len(differ) <= 1, "a half may be rounded the other way"
    groups = view.locator("span", has_text="key/value head").or_(view.locator("span", has_text="one latent"))
    assert groups.all_text_contents() == [group["label"] for group in data["groups"]]
    tokens, t = view.locator("[data-control=token] > [role=option]"), mirror.state["token"]
    assert tokens.all_text_contents() == data["tokens"]
    row = triangle(data["weights"], mirror.state["head"], len(data["tokens"]))[t]
    told = tokens.evaluate_all("all => all.map(a => a.title)")
    for j, (piece, label) in enumerate(zip(data["tokens"], told, strict=True)):
        assert label.startswith(piece) and ("%" in label.removeprefix(piece)) == (j <= t)
        if j <= t:
            assert numbers(label.removeprefix(piece))[-1] == pytest.approx(100 * row[j], abs=0.051)
    for name, index in (("head", mirror.state["head"]), ("token", t)):
        box = view.locator(f"[data-control={name}]")
        chosen = box.locator("[aria-selected=true]")
        assert box.locator("[role=option]").nth(index).get_attribute("id") == chosen.get_attribute("id")
        assert box.get_attribute("aria-activedescendant") == chosen.get_attribute("id")


def test_lines_lead_from_the_chosen_token_to_the_key_it_looks_at_most(views):
    view, mirror = views[0][2], AttentionView(**LINES)
    t, data = mirror.state["token"], mirror.data
    row = triangle(data["weights"], mirror.state["head"], len(data["tokens"]))[t]
    best = int(np.nanargmax(row))
    names = view.locator("g.keys > text")
    x, y = numbers(names.nth(best).get_attribute("transform"))[:2]
    red, green, blue, alpha = view.locator("canvas").evaluate(PIXELS, [[x - 10, y - 4]])[0]
    assert alpha > 60 and red > green > blue, "orange ends at its name"
    assert names.all_text_contents()[best].startswith(data["tokens"][best][:10])


def test_another_head_and_row_are_drawn_before_python_answers(views):
    now = """(node) => {
        const view = node.closest(".lmlab"), title = () => view.querySelector("g.legend > text").textContent;
        return ["ArrowDown", "ArrowRight", "Home", "ArrowUp", "End", "ArrowLeft"].map((key) => {
            node.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            return title();
        });
    }"""
    view = views[0][1]
    said = [text.split(":")[0] for text in view.locator("[data-control=head]").evaluate(now)]
    places = [(2, 3), (2, 4), (0, 0), (0, 0), (3, 7), (3, 6)]
    assert said == [f"layer {layer}, head {head}" for layer, head in places]
    view.locator("[data-control=head] > [role=option]").nth(11).click()
    view.locator("[data-control=token] > [role=option]").nth(4).click()
    summary = AttentionView(**CONTENT).summary
    view.locator(".summary", has_text=summary).wait_for()


def test_a_click_on_the_map_chooses_its_row_and_the_pointer_tells_a_cell(views):
    view, mirror = views[0][1], AttentionView(**CONTENT)
    left, top, cell = geometry(view, 4)
    svg = view.locator("svg")
    svg.click(position={"x": left + 1.5 * cell, "y": top + 6.5 * cell})
    assert view.locator("[data-control=token] > [role=option]").nth(6).get_attribute("aria-selected") == "true"
    value = triangle(mirror.data["map"]["values"], mirror.state["head"], len(mirror.data["tokens"]))[6, 1]
    told = view.locator("p[aria-hidden=true]").text_content()
    assert told.endswith(f": {value:.2f}") and mirror.data["tokens"][6] in told
    view.locator("[data-control=token] > [role=option]").nth(4).click()


def test_a_narrow_page_scrolls_within_and_loses_nothing(views):
    found, opened = views
    opened.page.set_viewport_size({"width": 480, "height": 900})
    for view in found:
        wide, shown = view.evaluate("(node) => [node.scrollWidth, node.clientWidth]")
        assert wide <= shown + 1, "the map scrolls, the view does not"
        assert view.locator(".scroll").evaluate("(node) => node.scrollWidth > node.clientWidth")
    opened.page.set_viewport_size({"width": 1280, "height": 3000})
