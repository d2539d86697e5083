"""Views in a real JupyterLab, by keyboard: after each key the words say what Python says, and nothing else happens."""

import base64
import json
import os
import random

import pytest

from tests.browser.lab import VIEWS, Page, cell, server, view_class, write_notebook
from tests.browser.moves import choose, in_sight

pytestmark = pytest.mark.browser
MOVES = int(os.environ.get("LMLAB_MOVES", 30))  # make fuzz: 200, with several seeds
SEED = int(os.environ.get("LMLAB_SEED", 0))

# the number of the selected cell, and the kind of each
NOTEBOOK = """() => {
    const { activeCellIndex, widgets } = window.jupyterapp.shell.currentWidget.content;
    return [activeCellIndex, ...widgets.map((cell) => cell.model.type)];
}"""
IN_SIGHT = """(node) => [...node.querySelectorAll("input, select, fieldset, [role=listbox][data-control], [role=tree]")]
    .filter((one) => one.checkVisibility()).map((one) => one.dataset.control)"""
# pictures without a mark beside their axes, and words that only a mistake writes
BLANK = """(node) => [...node.querySelectorAll("svg, canvas")].filter((picture) => {
    if (picture instanceof HTMLCanvasElement) {
        const { data } = picture.getContext("2d").getImageData(0, 0, picture.width, picture.height);
        return new Set(new Uint32Array(data.buffer)).size < 2;
    }
    const marks = [...picture.querySelectorAll("path, rect, circle, line")].filter((mark) => !mark.closest(".axis"));
    return /NaN|undefined|Infinity/.test(picture.textContent) || !marks.some((mark) => {
        const { width, height } = mark.getBoundingClientRect();
        return width + height > 0;
    });
}).map((picture) => picture.outerHTML)"""


# every mark and word of the pictures, tables and texts, in an order of its own: the page's depends on what came before
DRAWN = """(node) => [...node.querySelectorAll("svg *, canvas, th, td, .piece, [role=option]")]
    .filter((one) => !one.firstElementChild).map((one) => one.toDataURL?.() ?? one.outerHTML)
    .map((drawn) => drawn.replace(/lmlab-(fill|token|node)-\\d+/g, "$1")).sort().join("\\n")"""
ANEW = """async ([text, sent]) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const bytes = (text) => new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    const traits = JSON.parse(sent, (_, value) => (value?.base64 === undefined ? value : bytes(value.base64)));
    const model = { get: (name) => traits[name], set() {}, on() {}, save_changes() {} };
    const el = document.createElement("div");
    (await import(url)).default.render({ model, el });
    return (DRAWN)(el);
}""".replace("DRAWN", DRAWN)


def drawn_anew(page, mirror) -> str:
    """What a view that is opened in this state draws; a refusal keeps the data of before."""
    traits = {name: getattr(mirror, name) for name in ("controls", "state", "data", "summary", "problem", "version")}
    sent = json.dumps(traits, default=lambda found: {"base64": base64.b64encode(found).decode()})
    return page.evaluate(ANEW, [mirror._esm, sent])


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("lab")
    for view in VIEWS:
        write_notebook(root / f"{view}.ipynb", "above = 1", cell(view), "below = 1")
    with server(root) as found:
        yield found


@pytest.mark.parametrize("name", VIEWS)
def test_a_walk_by_keyboard_says_what_python_says(browser, address, name):
    rng, mirror, said = random.Random(SEED), view_class(name)(), set()
    with Page(browser, address, f"{name}.ipynb") as opened:
        page, view = opened.page, opened.view()
        opened.unfold()
        view.locator("[data-control]").first.focus()
        notebook = page.evaluate(NOTEBOOK)
        assert notebook == [1, "code", "code", "code"], "the focus selects the view's cell"
        assert view.locator("svg, canvas").count()
        for number in range(MOVES):
            move = choose(mirror, rng)
            mirror.state = move.state
            where = f"seed {SEED}, move {number}: {move.key} on {move.selector}, to {mirror.state}"
            control = view.locator(move.selector)
            control.focus()
            if move.text is not None:
                control.fill(move.text)
            page.keyboard.press(move.key)
            opened.drawn(mirror.version, where)
            words = [view.locator(f".{kind}").text_content() for kind in ("summary", "problem")]
            assert words == [mirror.summary, mirror.problem], where
            assert set(view.evaluate(IN_SIGHT)) == {spec["name"] for spec in in_sight(mirror)}, where
            assert control.evaluate("(node) => node === document.activeElement"), f"the focus stays: {where}"
            assert page.evaluate(NOTEBOOK) == notebook, where
            assert not view.evaluate(BLANK), where
            assert view.evaluate(DRAWN) == drawn_anew(page, mirror), f"the picture is that of before: {where}"
            said.add(tuple(words))
        assert len(said) > MOVES / 5, "the words follow the moves"
        press_what_jupyterlab_listens_for(page, view, notebook)
        assert view.get_attribute("data-version") == str(mirror.version), "letters move nothing"
        assert not opened.faults
        page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCell.node.focus()")
        page.keyboard.press("a")  # outside of the view the letters are live
        assert page.evaluate(NOTEBOOK) == [1, *["code"] * 4]


def press_what_jupyterlab_listens_for(page, view, notebook: list) -> None:
    """On all that takes the focus, its keys to insert, change, cut and delete a cell, and to go to another."""
    takers = "input:visible, select:visible, button:visible, summary:visible, [tabindex]:visible"
    for element in view.locator(takers).all():
        element.focus()
        starts = {text[0].lower() for text in element.locator("option").all_text_contents()}
        letters = [key for key in "amxdd" if key not in starts]  # a letter that starts a value chooses it
        arrows = [] if element.get_attribute("data-control") else ["ArrowDown", "ArrowUp"]
        for key in letters + arrows:
            page.keyboard.press(key)
            assert page.evaluate(NOTEBOOK) == notebook, f"{key} on {element.get_attribute('data-control')}"
        if element.get_attribute("type") == "text":
            written = element.input_value()
            assert "amxdd" in written, "letters are written where one writes"
            element.fill(written.replace("amxdd", ""))  # as it was: nothing is asked of Python


@pytest.mark.parametrize("name", VIEWS)
def test_axe_finds_no_serious_violation_in_light_or_dark(browser, address, name):
    from axe_playwright_python.sync_playwright import Axe

    with Page(browser, address, f"{name}.ipynb", height=2000) as opened:
        opened.view().locator(".problem").evaluate("(node) => { node.textContent = 'What was refused, and why'; }")
        opened.unfold()
        # JupyterLab's body has no height and hides what overflows: axe would take all text to be out of sight
        opened.page.add_style_tag(content="body { height: 100vh; }")
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            opened.dress(theme)
            found = Axe().run(opened.page, context=".lmlab", options={}).response
            contrast = [
                node["html"] for one in found["passes"] if one["id"] == "color-contrast" for node in one["nodes"]
            ]
            assert any('class="summary"' in html for html in contrast), f"{theme}: axe saw the words"
            told = [
                f"{one['id']}: {one['help']}\n{node['html']}\n{node['failureSummary']}"
                for one in found["violations"]
                if one["impact"] in ("serious", "critical")
                for node in one["nodes"]
            ]
            assert not told, "\n\n".join([f"{theme}:", *told])
        assert not opened.faults
