"""Records as tables and curves: what is averaged, what is left out, and floors beside the documents' own nats."""

import itertools
import json
from dataclasses import asdict

import pytest

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import train
from lmlab.train import runs
from lmlab.train.data import held_out
from lmlab.train.pretraining import Record
from lmlab.train.recipe import Recipe

TOKENIZER = train((document.text for document in itertools.islice(documents("general", 0), 500)), 512)


def record(step, steps=40, loss=None, distance=None, load=None):
    return Record(
        step=step,
        steps=steps,
        tokens=100 * step,
        loss=step if loss is None else loss,
        mtp=None,
        learning_rate=0.1,
        gradient_norm=1.0,
        tokens_per_second=5.0,
        load=load,
        distance=distance,
    )


def test_the_floor_is_nats_over_tokens_of_the_documents_themselves():
    found = runs.floors(held_out("general", TOKENIZER, 30, 256))
    kept = [(d, len(TOKENIZER.encode(d.text)) + 1) for d in itertools.islice(documents("general", -1), 200)]
    kept = [(document, tokens) for document, tokens in kept if tokens <= 256][:30]
    for domain in {document.domain for document, _ in kept}:
        of = [(document, tokens) for document, tokens in kept if document.domain == domain]
        wanted = -sum(document.logprob for document, _ in of) / sum(tokens for _, tokens in of)
        assert found[domain] == pytest.approx(wanted, rel=1e-5)
    assert found["all"] == pytest.approx(-sum(d.logprob for d, _ in kept) / sum(n for _, n in kept), rel=1e-5)
    assert runs.corpus_floors(TOKENIZER, number=30) == found


def test_the_phases_are_where_the_rate_turns():
    recipe = Recipe(tokens=100 * 32, batch_size=4, length=8, warmup_ratio=0.1, decay_ratio=0.3)
    found = {name: tokens // 32 for name, tokens in runs.phases(recipe).items()}
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert found["stable"] == rates.index(1.0) and found["decay"] == len(rates) - rates[::-1].index(1.0)


def test_recent_is_the_last_twentieth_of_the_steps_however_many_records_there_are():
    every = [record(step) for step in range(1, 41)]
    assert runs.recent(every, "loss") == 39.5  # steps 39 and 40 of 40
    assert runs.recent(every[:10], "loss") == 9.5
    assert runs.recent(every[3::4], "loss") == 40, "thinned records cover the same steps"
    assert runs.recent(every, "load") is None and runs.recent([], "loss") is None


@pytest.mark.parametrize(("thin", "wanted"), [(1, [(800, 4.5), (1600, 12.5)]), (4, [(800, 6.0), (1600, 14.0)])])
def test_a_curve_has_means_of_neighbouring_steps(thin, wanted):
    every = [record(step) for step in range(1, 41)][thin - 1 :: thin]
    found = runs.curve(every, "loss", points=5)
    assert found[:2] == wanted and len(found) == 5
    assert runs.curve(every, "load") == [] and runs.curve([], "loss") == []


def test_a_curve_keeps_few_points_as_they_are():
    every = [record(step) for step in (1, 2, 3)]
    assert runs.curve(every, "loss") == [(100, 1), (200, 2), (300, 3)]
    assert runs.distances([record(1), record(2, distance={"all": 0.5})]) == [(200, 0.5)]
    assert runs.distances([record(2, distance={"all": 0.5})], "story") == []


def test_runs_take_turns_and_are_closed_when_one_leaves():
    closed = []

    def run(name, steps):
        try:
            yield from map(record, range(1, steps + 1))
        finally:
            closed.append(name)

    found = [(name, one.step) for name, one in runs.in_turn({"a": run("a", 3), "b": run("b", 1)})]
    assert found == [("a", 1), ("b", 1), ("a", 2), ("a", 3)]
    closed.clear()
    both = {"a": run("a", 3), "b": run("b", 3)}  # held here, so that nothing else closes them
    turns = runs.in_turn(both)
    next(turns), next(turns)
    turns.close()
    assert closed == ["a", "b"]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()

    def find(*parts):
        path = tmp_path.joinpath(*parts)
        if not path.exists():
            raise FileNotFoundError(path)
        return path

    monkeypatch.setattr(runs, "data_path", find)

    def write(experiment, name, records):
        folder = tmp_path / "runs" / experiment
        folder.mkdir(exist_ok=True)
        (folder / name).write_text("".join(json.dumps(asdict(one)) + "\n" for one in records))

    return write


def test_recorded_runs_come_back_by_arm_and_seed(recorded):
    assert runs.experiments() == []
    for seed, end in ((0, 0.3), (1, 0.4)):
        many = [record(20), record(40, distance={"story": end + 1, "all": end})]
        recorded("orders", f"one-mixture-{seed}.jsonl", many)
    recorded("orders", "three-stages-0.jsonl", [record(40, distance={"all": 0.1})])
    assert runs.experiments() == ["orders"]
    assert [*runs.recorded("orders")] == [("one-mixture", 0), ("one-mixture", 1), ("three-stages", 0)]
    table = runs.runs_table("orders")
    assert len(table) == 5 and set(table.experiment) == {"orders"}
    last = runs.ends(table)
    assert last.groupby("arm").distance_all.mean().to_dict() == pytest.approx(
        {"one-mixture": 0.35, "three-stages": 0.1}
    )
    assert set(last.tokens) == {4000} and last.distance_story.max() == 1.4


def test_what_is_missing_or_misnamed_is_said(recorded):
    with pytest.raises(FileNotFoundError):
        runs.recorded("none")
    recorded("odd", "noseed.jsonl", [record(1)])
    with pytest.raises(ValueError, match="noseed.jsonl should be called <arm>-<seed>.jsonl"):
        runs.recorded("odd")


def test_the_shipped_records_are_whole():
    """Each run ends measured, at its last step, over the same tokens as the others of its experiment."""
    assert "miniatures" in runs.experiments()
    for experiment in runs.experiments():
        for (arm, seed), records in runs.recorded(experiment).items():
            assert records[-1].step == records[-1].steps and records[-1].distance, f"{experiment}/{arm}-{seed}"
        assert runs.ends(runs.runs_table(experiment)).tokens.nunique() == 1
