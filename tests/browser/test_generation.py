"""The generation view by keyboard and mouse: it runs until it is stopped, takes a typed prompt, and any bar."""

import pytest

from lmlab.widgets.generation import GenerationView
from tests.browser.lab import Page, cell, server, write_notebook
from tests.browser.test_views import NOTEBOOK

pytestmark = pytest.mark.browser
PATH = "lmlab.widgets.generation.GenerationView"
FOCUS = "() => document.activeElement.dataset.button ?? document.activeElement.tagName"


@pytest.fixture(scope="module")
def address(tmp_path_factory, browser):
    root = tmp_path_factory.mktemp("lab")
    write_notebook(root / "view.ipynb", "above = 1", cell(PATH), "below = 1")
    with server(root) as found:
        yield found


@pytest.fixture
def opened(browser, address):
    with Page(browser, address, "view.ipynb", height=1200) as page:
        page.view()
        yield page
        assert not page.faults


def said(opened) -> str:
    return opened.view().locator(".summary").text_content()


def pieces(opened) -> list[str]:
    return opened.view().locator(".piece").all_text_contents()


def test_it_runs_until_it_is_stopped_and_then_to_the_end(opened):
    page, view, mirror = opened.page, opened.view(), GenerationView()
    start, run = len(pieces(opened)), view.locator("[data-button=run]")
    run.press("Enter")
    page.wait_for_function("(n) => document.querySelectorAll('.piece').length > n + 3", arg=start)
    assert run.text_content() == "Stop" and view.get_attribute("aria-busy") == "true"
    page.keyboard.press("Space")
    assert run.text_content() == "Run" and view.get_attribute("aria-busy") == "false"
    page.wait_for_timeout(500)  # a step on its way arrives
    stopped = len(pieces(opened))
    page.wait_for_timeout(500)
    assert len(pieces(opened)) == stopped, "it stands still"
    mirror.state = mirror.state | {"steps": stopped - start}
    assert said(opened) == mirror.summary
    run.press("Enter")
    page.wait_for_function("() => document.querySelector('[data-button=run]').textContent === 'Run'", timeout=60_000)
    while not mirror.data["ended"]:
        mirror.state = mirror.state | {"steps": mirror.state["steps"] + 1}
    assert said(opened) == mirror.summary and view.locator(".problem").text_content() == ""
    assert page.evaluate(FOCUS) == "run", "the focus stays"


def test_a_prompt_is_typed_and_enter_begins_with_it(opened):
    page, view, mirror = opened.page, opened.view(), GenerationView()
    area = view.locator("textarea")
    area.focus()
    notebook = page.evaluate(NOTEBOOK)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("Max and a dog")  # letters that JupyterLab would take for its own among them
    assert said(opened) == mirror.summary, "nothing begins while one types"
    page.keyboard.press("Enter")
    mirror.state = mirror.state | {"prompt": "Max and a dog"}
    opened.drawn(mirror.version)
    assert said(opened) == mirror.summary and page.evaluate(FOCUS) == "TEXTAREA"
    page.keyboard.type(", too")
    page.keyboard.press("Tab")  # leaving the field begins, too
    mirror.state = mirror.state | {"prompt": "Max and a dog, too"}
    opened.drawn(mirror.version)
    assert said(opened) == mirror.summary and page.evaluate(NOTEBOOK) == notebook
    assert "".join(pieces(opened)).endswith("too")


def test_what_is_typed_stays_while_it_runs(opened):
    page, view = opened.page, opened.view()
    view.locator("[data-button=run]").press("Enter")
    view.locator("textarea").focus()
    page.keyboard.press("End")
    page.keyboard.type(" And so")
    start = len(pieces(opened))
    page.wait_for_function("(n) => document.querySelectorAll('.piece').length > n + 1", arg=start)
    assert view.locator("textarea").input_value().count(" And so") == 1
    view.locator("[data-button=run]").click()


def test_a_bar_is_chosen_by_arrows_and_enter_and_by_a_click(opened):
    page, view, mirror = opened.page, opened.view(), GenerationView()
    bars = view.get_by_role("listbox")
    bars.focus()
    notebook = page.evaluate(NOTEBOOK)
    for key in ("End", "ArrowUp", "Home", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    marked = view.locator("[aria-selected=true]")
    third = mirror.data["bars"][2]
    assert marked.count() == 1 and marked.get_attribute("id") == bars.get_attribute("aria-activedescendant")
    assert marked.get_attribute("aria-label").startswith(f"{third['text']}: model ")
    page.keyboard.press("Enter")
    mirror.state = mirror.state | {"chosen": [len(mirror.data["pieces"]), third["token"]]}
    opened.drawn(mirror.version)
    assert said(opened) == mirror.summary and pieces(opened)[-1] == f"\u261e {third['text']}"
    fifth = mirror.data["bars"][4]
    bars.locator("[role=option]").nth(4).click()
    mirror.state = mirror.state | {"chosen": [len(mirror.data["pieces"]), fifth["token"]]}
    opened.drawn(mirror.version)
    assert said(opened) == mirror.summary and pieces(opened)[-1] == f"\u261e {fifth['text']}"
    assert page.evaluate(NOTEBOOK) == notebook


def test_many_presses_at_once_are_all_done(opened):
    mirror, start = GenerationView(), len(pieces(opened))
    button = opened.view().locator("[data-button=steps]")
    button.evaluate("(node) => { for (let i = 0; i < 7; i++) node.click(); }")
    opened.page.wait_for_function("(n) => document.querySelectorAll('.piece').length === n + 7", arg=start)
    mirror.state = mirror.state | {"steps": 7}
    assert said(opened) == mirror.summary
