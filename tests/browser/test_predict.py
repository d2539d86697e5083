"""A prediction in a real JupyterLab, by keyboard: nothing is revealed before a guess is noted, and the guess stays."""

import json

import pytest

from lmlab.course import catalogue
from tests.browser.lab import Page, server, write_notebook

pytestmark = pytest.mark.browser
ASKED = catalogue.prediction("05.0")


@pytest.fixture
def place(tmp_path, monkeypatch, browser):
    monkeypatch.setenv("LMLAB_PROGRESS", str(tmp_path / "progress.json"))
    write_notebook(tmp_path / "predict.ipynb", "from lmlab.course import predict\n\npredict('05.0')")
    with server(tmp_path) as address:
        yield address, tmp_path / "progress.json"


def test_a_guess_is_noted_before_the_answer_is_shown(browser, place):
    from axe_playwright_python.sync_playwright import Axe

    address, record = place
    with Page(browser, address, "predict.ipynb") as opened:
        page, view = opened.page, opened.view()
        said = view.locator(".summary")
        button = view.get_by_role("button", name="Note my guess")
        assert ASKED.answer() not in view.text_content() and not record.exists()
        button.press("Enter")  # nothing is chosen yet: the question gets the focus
        assert page.evaluate("() => document.activeElement.type") == "radio"
        assert "Choose an answer" in said.text_content()
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")
        second = [*ASKED.choices][1]
        assert view.get_by_label(second).is_checked()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        opened.drawn(2)
        assert ASKED.choices[second] in said.text_content() and ASKED.answer() in said.text_content()
        assert view.get_by_label(second).is_disabled()
        assert page.evaluate("() => document.activeElement.textContent") == "Noted", "the focus stays in the view"
        page.keyboard.press("Space")
        assert json.loads(record.read_text())["predictions"]["05.0"]["guess"] == second
        assert view.get_attribute("data-version") == "2"
        page.add_style_tag(content="body { height: 100vh; }")
        for theme in ("JupyterLab Light", "JupyterLab Dark"):
            opened.dress(theme)
            found = Axe().run(page, context=".lmlab", options={}).response["violations"]
            assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
        assert not opened.faults
