"""The training view says what the records say, computed here anew; training in its thread can be stopped, waited for,
and its errors are seen."""

import itertools
import random
import threading

import pytest

from lmlab.train.bench import default_tokenizer
from lmlab.train.pretraining import Record
from lmlab.train.runs import corpus_floors, recorded
from lmlab.widgets.bench import BenchView
from lmlab.widgets.curves import DISTANCE, FIELDS
from lmlab.widgets.training import TrainingView

RUNS = {f"{arm}, seed {seed}": records for (arm, seed), records in recorded("miniatures").items()}
FLOORS = {"all": 0.4, "story": 0.2}


def record(step, steps=10, loss=None, distance=None):
    return Record(step, steps, 100 * step, loss or 8 - 0.5 * step, None, 0.01, 1.0, 1000.0, None, distance)


def records(steps=10, until=None, every=5):
    """A run that measures held-out texts now and then."""
    for step in range(1, (until or steps) + 1):
        measured = {"story": 5 / step, "all": 10 / step} if step % every == 0 or step == steps else None
        yield record(step, steps, distance=measured)


def last_distance(run, moment):
    measured = [one.distance for one in run if one.distance and 100 * one.step <= moment * one.steps]
    return measured[-1] if measured else {}


def same(points, wanted) -> None:
    assert [x for x, _ in points] == [x for x, _ in wanted]
    assert [y for _, y in points] == pytest.approx([y for _, y in wanted])


def check(view, floors) -> None:
    state, data = view.state, view.data
    texts, field = state["texts"], FIELDS.get(state["show"], ("", ""))[0]
    lines = {line["name"]: line for line in data["chart"]["lines"]}
    assert [*lines] == [*RUNS]
    for name, run in RUNS.items():
        above = [(one.tokens, one.distance[texts]) for one in run if one.distance]
        line = lines[name]
        if state["show"] == DISTANCE:
            assert line["points"] == line["marks"] == [(x, y) for x, y in above if y > 0]
        elif field == "loss" and texts != "all":
            same(line["points"], [(x, floors[texts] + y) for x, y in above])
        else:
            values = [getattr(one, field) for one in run if getattr(one, field) is not None]
            assert bool(values) == bool(line["points"])
            if values:  # means of neighbours
                assert (
                    min(values) <= min(y for _, y in line["points"]) <= max(y for _, y in line["points"]) <= max(values)
                )
                whole = sum(values) / len(values)
                assert sum(y for _, y in line["points"]) / len(line["points"]) == pytest.approx(whole, rel=0.05)
        same(
            line["marks"], [(x, floors[texts] + y) for x, y in above] if field == "loss" else above if not field else []
        )
    level = data["chart"]["level"]
    wanted = {"loss": floors[texts], DISTANCE: 0, "expert load": 1}.get(state["show"])
    if state["axis"] == "logarithmic" and wanted == 0:
        wanted = None
    assert (level and level[0]) == wanted
    moments(view, floors)


def moments(view, floors) -> None:
    """Marks by domain, the table and the words are of the chosen moment."""
    state, (table,) = view.state, view.data["tables"]
    above = {name: last_distance(run, state["moment"]) for name, run in RUNS.items()}
    found = {
        run["name"]: dict(zip(dots["rows"], run["values"], strict=True))
        for dots in view.data["dots"]
        for run in dots["runs"]
    }
    assert found == {name: values for name, values in above.items() if values}
    for (name, run), row in zip(RUNS.items(), table["rows"], strict=True):
        seen = [one for one in run if 100 * one.step <= state["moment"] * one.steps]
        late = [one.loss for one in seen if one.step > seen[-1].step - seen[-1].steps // 20]
        cells = dict(zip(table["columns"], row, strict=True))
        assert (cells["Run"], cells["Tokens"]) == (name, f"{seen[-1].tokens:,}")
        assert float(cells["Loss"]) == pytest.approx(sum(late) / len(late), abs=6e-4)
        for domain, value in above[name].items():
            assert float(cells[f"Above floor: {domain}"]) == pytest.approx(value, abs=6e-4)
        said = f"{name} after {seen[-1].tokens:,} tokens: loss {cells['Loss']} nats per token"
        assert said in view.summary
        if above[name]:
            assert (
                f"{above[name][state['texts']]:.3f} above their floor"
                in view.summary.split(said)[1].split(" after ")[0]
            )
    assert view.summary.endswith(f"is {floors[state['texts']]:.3f}.")


def test_after_every_seeded_move_the_view_says_what_the_records_say():
    view, rng, said, refused = TrainingView(), random.Random(0), set(), 0
    floors = corpus_floors(default_tokenizer())
    assert view.button() is None and view.data["progress"] is None, "nothing to stop"
    for _ in range(80):
        spec = rng.choice(view.controls)
        view.state = view.state | {spec["name"]: rng.choice(spec["values"])}
        if view.problem:
            refused += 1
            assert "no run has measured it" in view.problem
            continue
        check(view, floors)
        said.add(view.summary)
    assert len(said) > 20 and refused < 20


def test_every_control_can_say_every_state():
    for view in (TrainingView(), BenchView()):
        always = [spec for spec in view.controls if not spec["more"] and not spec.get("when")]
        assert len(always) <= 4
        for spec in view.controls:
            assert view.state[spec["name"]] in spec["values"] and len(spec["values"]) == len(spec["labels"])


def test_a_training_is_drawn_to_its_end():
    view = TrainingView(records(), FLOORS, stages={"decay": 600}).wait()
    assert not view.running and [one.step for one in view.runs["the model"]] == [*range(1, 11)]
    assert view.data["chart"]["stages"] == [[600, "decay"]]
    assert view.data["progress"]["share"] == 1 and view.data["button"] == {"label": "Training has ended", "on": False}
    assert view.summary == (
        "the model after 1,000 tokens: loss 3.000 nats per token, held-out texts 1.000 above their floor (story 0.50). "
        "The floor is 0.400."
    )


class Gate:
    """Records that come when they are let through."""

    def __init__(self, steps=10):
        self.steps, self.open, self.given, self.closed = steps, threading.Semaphore(0), 0, threading.Event()

    def __iter__(self):
        try:
            for one in records(self.steps):
                assert self.open.acquire(timeout=60)
                self.given += 1
                yield one
        finally:
            self.closed.set()

    def let(self, number):
        for _ in range(number):
            self.open.release()


@pytest.mark.parametrize("how", ["method", "button"])
def test_it_stops_after_the_step_at_hand(how):
    gate = Gate()
    view = TrainingView(iter(gate), FLOORS)
    gate.let(5)
    while len(view.runs.get("the model", ())) < 5 or "step 5 of 10" not in view.data["progress"]["text"]:
        threading.Event().wait(0.01)
    assert view.data["button"] == {"label": "Stop training", "on": True} and view.summary.startswith(
        "Training. the model"
    )
    if how == "button":
        view.pressed += 1
    else:
        view.stop()
    assert view.data["button"] == {"label": "Stopping ...", "on": False}
    gate.let(10)
    view.wait()
    assert gate.given == 6 and gate.closed.is_set(), "the step at hand, and no more"
    assert len(view.runs["the model"]) == 6 and not view.running
    assert view.summary.startswith("Training was stopped by hand. the model after 600 tokens")
    assert view.data["progress"] == {"share": 0.6, "text": "step 6 of 10"}


def test_controls_move_while_it_trains():
    gate = Gate()
    view = TrainingView(iter(gate), FLOORS, show=DISTANCE)
    assert view.problem == "", "nothing is measured yet, and that is no fault"
    gate.let(5)
    while not view.data["chart"]["lines"] or not view.data["chart"]["lines"][0]["marks"]:
        threading.Event().wait(0.01)
    view.state = view.state | {"texts": "story"}
    assert view.data["chart"]["lines"][0]["points"] == [(500, 1.0)] and view.data["chart"]["longest"] == 1000
    gate.let(5)
    view.wait()
    assert view.data["chart"]["lines"][0]["points"] == [(500, 1.0), (1000, 0.5)]


def test_what_training_raises_is_said_and_raised():
    def broken():
        yield from records(until=3)
        raise OSError("no space left")

    view = TrainingView(broken(), FLOORS)
    with pytest.raises(OSError, match="no space left"):
        view.wait()
    assert view.problem == "Training has ended with OSError: no space left"
    assert len(view.runs["the model"]) == 3 and view.data["button"]["label"] == "Training has ended"


def test_several_runs_and_pairs_are_drawn_beside_each_other():
    by_name = TrainingView({"one": records(), "other": records(6)}, FLOORS).wait()
    pairs = TrainingView(itertools.chain((("one", r) for r in records()), (("other", r) for r in records(6)))).wait()
    given = TrainingView({"one": [*records()], "other": [*records(6)]}, FLOORS)
    mixed = TrainingView({"one": [*records()], "other": records(6)}, FLOORS).wait()  # a live one beside a recorded one
    for view in (by_name, pairs, given, mixed):
        assert {name: len(run) for name, run in view.runs.items()} == {"one": 10, "other": 6}
        one, other = view.data["chart"]["lines"]
        assert (one["colour"], one["dash"]) != (other["colour"], other["dash"]) and one["marker"] != other["marker"]
    assert given.work is None
