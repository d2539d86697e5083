"""Views in a real JupyterLab, by keyboard: after each key the words say what measure says, and nothing else happens."""

import random

import pytest

from lmlab.widgets.rope import RoPEView
from tests.browser.lab import Page, chromium, server, write_notebook

pytestmark = pytest.mark.browser
MOVES = 30


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("lab")
    write_notebook(root / "rope.ipynb", "from lmlab.widgets.rope import RoPEView\n\nview = RoPEView()\nview")
    with server(root) as found:
        yield found


def test_the_rope_view_follows_the_keyboard_and_says_what_measure_says(browser, address):
    opened = Page(browser, address, "rope.ipynb")
    page = opened.page
    view = page.locator(".lmlab")
    view.locator(".summary").wait_for()
    page.get_by_text("More", exact=True).click()
    cells = page.locator(".jp-Cell").count()
    rng, mirror, changed = random.Random(0), RoPEView(), 0
    assert view.locator(".summary").inner_text() == mirror.summary
    for _ in range(MOVES):
        spec = rng.choice(mirror.controls)
        control = view.locator(f"[data-control={spec['name']}]")
        control.focus()
        key = rng.choice(["ArrowRight", "ArrowLeft"] if spec["kind"] == "slider" else ["ArrowDown", "ArrowUp"])
        at = spec["values"].index(mirror.state[spec["name"]])
        to = min(max(at + (1 if key in ("ArrowRight", "ArrowDown") else -1), 0), len(spec["values"]) - 1)
        before = mirror.summary, mirror.problem
        mirror.state = mirror.state | {spec["name"]: spec["values"][to]}
        page.keyboard.press(key)
        page.wait_for_function(
            "([words, problem]) => document.querySelector('.lmlab .summary').textContent === words"
            " && document.querySelector('.lmlab .problem').textContent === problem",
            arg=[mirror.summary, mirror.problem],
        )
        changed += before != (mirror.summary, mirror.problem)
        assert page.evaluate("() => document.activeElement.dataset.control") == spec["name"], "the focus stays"
    assert changed > MOVES / 3
    page.keyboard.press("a")  # JupyterLab would insert a cell above
    page.keyboard.press("m")  # and make it Markdown
    assert page.locator(".jp-Cell").count() == cells
    assert view.locator("svg").count() == 2 and view.locator("svg path").count() > 100
    assert not opened.faults
