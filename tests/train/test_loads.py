"""Recorded loads: which runs count, curves and ranks beside sums by hand; the experiment that makes them."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import pytest

import lmlab
from lmlab.train import experiments, loads
from lmlab.train.pretraining import Record, pretrain, read_records
from lmlab.train.recipe import Recipe
from tests.train.test_runs import record


def loaded(step: int, *layers: list[float], steps: int = 40) -> Record:
    return Record(**asdict(record(step, steps, load=max(map(max, layers)))) | {"loads": [*layers]})


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two seeds with balancing, one without, of mini-gpt-oss; another model's; and one without loads."""
    monkeypatch.setattr("lmlab.train.runs.data_path", lambda *parts: tmp_path.joinpath(*parts))
    folder = tmp_path / "runs" / "balancing"
    folder.mkdir(parents=True)
    made = {
        "mini-gpt-oss-unbalanced-0": [loaded(s, [1.0, 1.0], [2.0, 0.0]) for s in (4, 8)],
        "mini-gpt-oss-balanced-0": [loaded(s, [1.5, 0.5], [1.0, 1.0]) for s in (4, 8)],
        "mini-gpt-oss-balanced-1": [loaded(s, [0.7, 1.3], [1.0, 1.0]) for s in (4, 8)],
        "mini-qwen3-moe-balanced-0": [loaded(4, [1.9, 0.1])],
        "mini-deepseek-v3-balanced-0": [record(4, load=1.2)],
    }
    for name, records in made.items():
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in records)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return made


def test_runs_are_those_of_the_model_that_have_loads(runs):
    found = loads.balancing("mini-gpt-oss")
    assert [*found] == ["balanced", "unbalanced"] and [len(seeds) for seeds in found.values()] == [2, 1]
    assert found["balanced"][1] == runs["mini-gpt-oss-balanced-1"]
    assert [*loads.balancing("mini-qwen3-moe")] == ["balanced"]
    assert loads.balancing("mini-deepseek-v3") == {} == loads.balancing("mini-gpt"), "not every name that begins so"


def test_no_experiment_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr("lmlab.train.runs.data_path", lambda *parts: tmp_path.joinpath(*parts))
    assert loads.balancing("mini-gpt-oss") == {}


def test_the_curve_is_the_busiest_expert_of_one_layer_in_the_mean(runs):
    balanced = loads.balancing("mini-gpt-oss")["balanced"]
    assert loads.busiest(balanced[0], 0) == [(400, 1.5), (800, 1.5)]
    assert loads.mean_curve(balanced, 0) == [(400, pytest.approx(1.4)), (800, pytest.approx(1.4))]
    assert loads.mean_curve(balanced, 1) == [(400, 1), (800, 1)]
    many = [loaded(s, [s / 1000, 0]) for s in range(1, 401)]
    found = loads.busiest(many, 0)
    assert len(found) == 200 and found[0] == (200, pytest.approx(0.0015)) and found[-1][0] == 40_000


def test_ranks_are_sorted_seed_by_seed_over_the_last_twentieth(runs):
    balanced = loads.balancing("mini-gpt-oss")["balanced"]
    assert loads.ranked(balanced, 0, 800) == pytest.approx([1.4, 0.6]), "other experts are the busiest in other seeds"
    # of 40 steps a twentieth are 2
    one = [loaded(1, [9, 0, 0]), loaded(2, [1, 2, 0]), loaded(3, [2, 1, 0]), loaded(4, [0, 0, 3])]
    assert loads.ranked([one], 0, 300) == [1.5, 1.5, 0]
    assert loads.ranked([one], 0, 399) == [1.5, 1.5, 0] and loads.ranked([one], 0, 400) == [1.5, 1, 0.5]
    assert loads.ranked([one], 0, 1) == [9, 0, 0], "before the first record: the first"


def test_rows_are_the_layers_with_experts():
    config = lmlab.config("mini-deepseek-v3")
    assert [loads.row(config, layer) for layer in (1, 2, 3)] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"layer 0 has no experts; layers that have: \[1, 2, 3\]"):
        loads.row(config, 0)


def test_the_experiment_changes_nothing_but_the_balancing():
    recipe = Recipe(tokens=10**5, seed=2)
    arms = experiments.arms("balancing", recipe, Path("unused"))
    assert [*arms] == [f"{name}-{way}" for name in loads.SPARSE for way in ("balanced", "unbalanced")]
    assert loads.SPARSE == ("mini-gpt-oss", "mini-qwen3-moe", "mini-deepseek-v3")
    for name in loads.SPARSE:
        (one, its, mixture), (other, free, same) = (arms[f"{name}-{way}"] for way in ("balanced", "unbalanced"))
        assert one == other == name and mixture == same == "general" and its == recipe
        changed = {f.name for f in fields(Recipe) if getattr(its, f.name) != getattr(free, f.name)}
        assert changed == {"router_aux_loss_coef", "bias_rate"}
        assert free.router_aux_loss_coef == free.bias_rate == 0


@pytest.mark.parametrize("name", loads.SPARSE)
def test_each_record_holds_the_loads_of_its_step(name, tmp_path):
    recipe = Recipe(tokens=2 * 4 * 64, batch_size=4, length=64)
    config, tokenizer = lmlab.config(name), lmlab.tokenizer(name)
    every = [*pretrain(lmlab.build(config), tokenizer, recipe, evaluate_on=0)]
    layers = sum(hasattr(block.mlp, "router") for block in (*config.blocks, *config.mtp))
    for one in every:
        assert [len(layer) for layer in one.loads] == [8] * layers
        assert [sum(layer) for layer in one.loads] == pytest.approx([8] * layers, abs=0.01)
        assert one.load == pytest.approx(max(map(max, one.loads)), abs=1e-3)
    path = tmp_path / "run.jsonl"
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in every), encoding="utf-8")
    assert read_records(path) == every
