"""The bench trains both models on the same tokens from their own beginnings, and counts what is really there."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.measure import flops
from lmlab.train import bench as module
from lmlab.train.bench import Bench, beginning, short_recipe, sizes_beside
from lmlab.train.data import batches
from tests.small import random_model

TOKENS = 2048  # two steps


@pytest.fixture(scope="module")
def trained():
    bench = Bench("mini-qwen3", "one key/value head", tokens=TOKENS)
    return bench, bench.run()


def test_the_records_of_both(trained):
    bench, table = trained
    assert bench.names == ("mini-qwen3", "one key/value head")
    assert table.arm.tolist() == [bench.names[0]] * 2 + [bench.names[1]] * 2
    assert table.tokens.tolist() == [1024, 2048] * 2 and table.distance_all.notna().any()
    for name, config in zip(bench.names, (bench.before, bench.after), strict=True):
        assert bench.models[name].config == config
        assert table[table.arm == name].loss.iloc[0] == pytest.approx(torch.tensor(1024.0).log(), abs=1)


def test_both_read_the_same_tokens_and_only_the_seed_changes_them(monkeypatch):
    read, seeds = {}, []

    def noted(model, tokenizer, recipe, **options):
        seeds.append(recipe.seed)
        read[model.config.name] = [ids for ids, _ in batches(recipe, tokenizer)]
        yield from ()

    monkeypatch.setattr(module, "pretrain", noted)
    for change, same in (("one key/value head", True), ("nothing but the seed", False)):
        read.clear()
        bench = Bench("mini-qwen3", change, tokens=TOKENS)
        assert [*bench] == []
        one, other = read.values()
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) == same
        beginnings = [model.embed_tokens.weight for model in bench.models.values()]
        assert torch.equal(*beginnings) == same
    assert seeds == [0, 0, 0, 1], "the unchanged one keeps its seed"


def test_a_beginning_is_the_same_for_the_same_seed():
    config = lmlab.config("mini-qwen3")
    one, same, other = (beginning(config, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_both_write_and_what_they_write_ends_where_the_text_does(trained):
    bench, _ = trained
    texts = bench.write("Once there was", tokens=5)
    assert [*texts] == [*bench.names]
    assert all(len(bench.tokenizer.encode(text)) <= 6 and "<|endoftext|>" not in text for text in texts.values())


def test_sizes_are_those_of_models_that_were_built(trained):
    bench, _ = trained
    for name, model in bench.models.items():
        assert bench.sizes[name]["parameters"] == sum(one.numel() for one in model.parameters())
        cache = model.to(torch.bfloat16).make_cache(1, 256)
        assert bench.sizes[name]["cache bytes at 256 tokens"] == cache.nbytes
        assert bench.sizes[name]["FLOP for token 256"] == flops.total(model.config, 1, 255)
    assert bench.sizes.times["cache bytes at 256 tokens"] == 0.5
    three = {name: lmlab.config(name) for name in ("mini-qwen3", "mini-gpt-oss", "mini-qwen3-moe")}
    table = sizes_beside(three)
    assert (table.times == table["mini-qwen3-moe"] / table["mini-qwen3"]).all()


def test_the_difference_is_the_one_field(trained):
    bench, _ = trained
    assert bench.diff.index.tolist() == ["attention.num_key_value_heads"] and [*bench.diff.columns] == [*bench.names]


def test_a_change_of_ones_own_is_a_function():
    bench = Bench("mini-qwen3", lambda c: c.with_parts(mlp=lambda mlp: replace(mlp, intermediate_size=64)))
    assert bench.names[1] == "changed" and bench.after.blocks[0].mlp.intermediate_size == 64


def test_what_cannot_be_trained_here_is_refused():
    with pytest.raises(ValueError, match="mini-qwen3 has no change 'wings'; there are nothing but the seed, MLA"):
        Bench("mini-qwen3", "wings")
    with pytest.raises(ValueError, match="qwen3-0.6b has 596,049,920 parameters; the bench trains 20,000,000 at most"):
        Bench("qwen3-0.6b", "sinks")
    with pytest.raises(ValueError, match="the tokenizer has 1024 tokens, the model room for 97"):
        Bench(random_model("qwen3-8b").config, "sinks")


def test_short_runs_have_many_steps():
    assert short_recipe(65_536).steps == 64
