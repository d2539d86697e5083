"""The kit and the views in Python: a move changes data and words together; a refusal leaves the view usable."""

import re

import pytest

from lmlab.widgets.kit import FOLDER, View, control, joined


class Doubler(View):
    _esm = "export default { render() {} }"

    def __init__(self, **state):
        self.set_trait("controls", [control("x", "x", [1, 2, 3])])
        self.set_trait("state", {"x": 1})
        super().__init__(**state)

    def compute(self, state):
        if state["x"] == 3:
            raise ValueError("x=3 is refused: choose 1 or 2")
        return {"twice": 2 * state["x"]}, f"twice is {2 * state['x']}"


def test_a_move_changes_data_words_and_version_together():
    view = Doubler(x=2)
    assert (view.data, view.summary, view.version) == ({"twice": 4}, "twice is 4", 1)
    sent = []
    view.observe(lambda change: sent.append((view.data["twice"], view.summary)), "version")
    view.state = {"x": 1}
    assert sent == [(2, "twice is 2")] and view.version == 2


def test_a_refusal_is_shown_and_the_view_goes_on():
    view = Doubler()
    view.state = {"x": 3}
    assert view.problem == "x=3 is refused: choose 1 or 2" and view.data == {"twice": 2}
    view.state = {"x": 2}
    assert view.problem == "" and view.summary == "twice is 4"


def test_unknown_controls_are_named():
    with pytest.raises(ValueError, match="no control is called y; there are x"):
        Doubler(y=1)


def test_the_kit_is_small_and_one_constant():
    kit = (FOLDER / "kit.js").read_text(encoding="utf-8")
    assert len(kit.encode()) <= 60 * 1024
    assert re.match(r'(?:"use strict";)?var kit=\(\(\)=>\{', kit)
    assert joined("rope.js").startswith(kit) and "export default" in joined("rope.js")


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.js")))
def test_nothing_is_fetched(file):
    text = (FOLDER / file).read_text(encoding="utf-8")
    assert not re.search(r"\bimport\b|\bfetch\(|XMLHttpRequest", text)
    assert set(re.findall(r"https?://[^\"'\s]+", text)) <= {
        "http://www.w3.org/1999/xhtml",
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/2000/xmlns/",
        "http://www.w3.org/XML/1998/namespace",
    }, "only the names of XML namespaces, which nobody fetches"


class Chain(View):
    """A choice that stands for a number, as a starting point does."""

    _esm = "export default { render() {} }"

    def __init__(self, **state):
        self.set_trait("controls", [control("start", "s", ["one", "two"]), control("n", "n", [1, 2, 5])])
        self.set_trait("state", {"start": "one", "n": 1})
        super().__init__(**state)

    def settle(self, old, new):
        return new | {"n": {"one": 1, "two": 2}[new["start"]]} if new["start"] != old.get("start") else new

    def compute(self, state):
        return {"n": state["n"]}, f"n is {state['n']}"


def test_a_choice_given_by_keyword_moves_what_it_stands_for_and_other_keywords_win():
    assert Chain(start="two").state == {"start": "two", "n": 2} and Chain(start="two").summary == "n is 2"
    assert Chain(start="two", n=5).data == {"n": 5}


def test_values_that_no_control_has_are_refused():
    with pytest.raises(ValueError, match="n=3 is not one of 1, 2, 5"):
        Chain(n=3)


def test_a_view_without_a_kernel_shows_its_words():
    assert repr(Chain(n=5)) == "n is 5"
