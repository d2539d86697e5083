"""The kit and the views in Python: a move changes data and words together; a refusal leaves the view usable."""

import random
import re
from itertools import pairwise

import pytest

from lmlab.measure.rope import hands
from lmlab.parts.rope import RoPEConfig
from lmlab.widgets.kit import FOLDER, View, control, joined
from lmlab.widgets.rope import STARTS, RoPEView


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


def test_every_control_can_say_every_state():
    view = RoPEView()
    for start in STARTS:
        view.state = view.state | {"start": start}
        for spec in view.controls:
            assert view.state[spec["name"]] in spec["values"], f"{start}: {spec['name']}"
            assert len(spec["values"]) == len(spec["labels"])
    assert sum(not spec["more"] for spec in view.controls) <= 4


def test_choosing_a_start_moves_the_controls_and_moving_one_keeps_the_others():
    view = RoPEView()
    view.state = view.state | {"start": "Qwen3, long stage: ABF"}
    assert (view.state["method"], view.state["theta"], view.state["trained"]) == ("ABF", 10_000, 4096)
    view.state = view.state | {"factor": 64}
    assert view.state["method"] == "ABF" and view.state["factor"] == 64


def expected(state):
    from lmlab.widgets.rope import _scaling

    plain = RoPEConfig(rope_theta=float(state["theta"]))
    rope = RoPEConfig(rope_theta=float(state["theta"]), scaling=_scaling(state))
    return hands(rope, state["dim"], state["length"], trained=plain, trained_length=state["trained"])


def test_after_every_seeded_move_the_view_says_what_measure_says():
    rng, view, summaries = random.Random(0), RoPEView(), []
    for _ in range(200):
        spec = rng.choice(view.controls)
        view.state = view.state | {spec["name"]: rng.choice(spec["values"])}
        summaries.append(view.summary)
        if view.problem:
            assert view.state["beta_slow"] >= view.state["beta_fast"] and "beta_slow" in view.problem
            continue
        table = expected(view.state)
        assert view.data["wavelength"] == table.wavelength.tolist() and view.data["unseen"] == table.unseen.tolist()
        numbers = [int(n.replace(",", "")) for n in re.findall(r"(\d[\d,]*) (?:hands|finish|reach)", view.summary)]
        assert numbers == [len(table), int((table.trained_turns >= 1).sum()), int(table.unseen.sum())]
    assert sum(a != b for a, b in pairwise(summaries)) > 80, "the words follow the moves"
