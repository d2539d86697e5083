"""One compiled step serves a whole text, and the next; it is made anew only for what would make it wrong."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import lmlab
from lmlab import compiling
from lmlab.families import MINIATURES
from lmlab.sampling import Greedy, Sampler
from tests import hf
from tests.test_generation import prompt, tokens


@pytest.fixture
def graphs(monkeypatch) -> list:
    """Every graph that is traced from here on: whole, of fixed shapes, and run as it is, without the C++ compiler."""
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "_backend", backend)
    return traced


def miniature(name: str = "mini-gpt-oss", layers: int | None = None) -> lmlab.model.LanguageModel:
    config = lmlab.config(name)
    model = lmlab.build(replace(config, blocks=config.blocks[:layers])).eval()
    hf.randomise(model)
    return model


@pytest.mark.parametrize("name", MINIATURES)
def test_one_graph_writes_every_token_of_every_text(name, graphs):
    model = miniature(name)
    for length, count in ((3, 50), (30, 9), (1, 64)):  # the window is 32; all fit into the least capacity
        plain = tokens(lmlab.generate(model, prompt(length, 0), max_new_tokens=count))
        assert tokens(lmlab.generate(model, prompt(length, 0), max_new_tokens=count, compile=True)) == plain
        assert len(graphs) == 1


@pytest.mark.parametrize("name", MINIATURES)
def test_rows_of_unequal_length(name, graphs):
    model, prompts = miniature(name), [prompt(3, 2), prompt(37, 3), prompt(12, 4)]
    for chunk in (None, 5):
        options = {"max_new_tokens": 12, "prefill_chunk_size": chunk}
        plain = tokens(lmlab.generate(model, prompts, **options))
        assert tokens(lmlab.generate(model, prompts, compile=True, **options)) == plain
    assert len(graphs) == 1


def test_speculation_takes_two_graphs(graphs):
    model = miniature("mini-deepseek-v3", layers=2)
    with torch.no_grad():  # logits that differ little: drafts are kept now and then
        model.lm_head.weight.mul_(0.2)
    for sampler in (Greedy(), Sampler(top_k=9)):
        texts = []
        for compile in (False, True):
            options = {"sampler": sampler, "generator": torch.Generator().manual_seed(0), "compile": compile}
            steps = list(lmlab.generate(model, prompt(5, 0), max_new_tokens=57, speculative=True, **options))
            texts.append([(int(step.token), step.draft and step.draft.accepted) for step in steps])
        assert texts[0] == texts[1]
    assert {kept for _, kept in texts[0]} == {None, True, False}
    assert len(graphs) == 2


def test_weights_may_change_and_are_read_anew(graphs):
    model, ids = miniature(layers=2), prompt(9, 0)
    first = tokens(lmlab.generate(model, ids, max_new_tokens=9, compile=True))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.flip(0))
    again = tokens(lmlab.generate(model, ids, max_new_tokens=9, compile=True))
    assert again == tokens(lmlab.generate(model, ids, max_new_tokens=9)) != first
    assert len(graphs) == 1
    model.bfloat16()  # another type of number is another graph
    assert next(lmlab.generate(model, ids, max_new_tokens=1)).logits.dtype == torch.bfloat16
    assert len(tokens(lmlab.generate(model, ids, max_new_tokens=9, compile=True))[0]) == 9
    assert len(graphs) == 2


CHANGES = {
    "window": {"window": 5},
    "top_k": {"top_k": 4},
    "router_temperature": {"router_temperature": 9.0},
    "rope": {"rope": lambda rope: replace(rope, rope_theta=7.0)},
    "remove_sinks": {"remove_sinks": True},
    "ban_expert": {"ban_expert": [(0, 1), (1, 2), (0, 5)]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_part_is_felt_and_then_forgotten(change, graphs):
    model, ids = miniature(layers=2), prompt(20, 0)

    def written(compile: bool):
        return [step.logits for step in lmlab.generate(model, ids, max_new_tokens=9, compile=compile)]

    before = written(compile=True)
    with lmlab.intervene(model, **CHANGES[change]):
        changed, plain = written(compile=True), written(compile=False)
    after = written(compile=True)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(changed, plain, strict=True))
    assert not torch.allclose(before[-1], changed[-1], atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(graphs) == 2


def test_texts_written_in_turns_do_not_mix(graphs):
    model, other = miniature(layers=2), miniature(layers=1)
    ids = [prompt(9, 0), prompt(40, 1), prompt(9, 2), prompt(9, 3)]
    calls = [
        (model, ids[0], {}),
        (model, ids[1], {}),  # a greater capacity
        (other, ids[2], {}),
        (model, [ids[3], ids[0]], {}),  # two rows
    ]
    expected = [tokens(lmlab.generate(m, i, max_new_tokens=30, **o)) for m, i, o in calls]
    turns = zip(*[lmlab.generate(m, i, max_new_tokens=30, compile=True, **o) for m, i, o in calls], strict=True)
    assert [tokens(steps) for steps in zip(*turns, strict=True)] == expected
    assert len(graphs) == 4


@pytest.mark.parametrize("what", [{"ablate_head": (1, 2)}, {"ablate_expert": (0, 3)}])
def test_hooks_are_refused_before_the_first_step(what, graphs):
    model = miniature(layers=2)
    with lmlab.intervene(model, **what), pytest.raises(ValueError, match="hook.*compile=False"):
        lmlab.generate(model, [1, 2], max_new_tokens=2, compile=True)
    with pytest.raises(ValueError, match="hook.*compile=False"), lmlab.Trace(model):
        lmlab.generate(model, [1, 2], max_new_tokens=2, compile=True)
    with pytest.raises(ValueError, match="compiled already"):
        lmlab.generate(torch.compile(model), [1, 2], max_new_tokens=2, compile=True)
    assert len(list(lmlab.generate(model, [1, 2], max_new_tokens=2, compile=True))) == 2


def test_a_model_is_freed_with_its_graphs(graphs):
    model = miniature(layers=1)
    list(lmlab.generate(model, [1, 2], max_new_tokens=3, compile=True))
    weights, kept = weakref.ref(model.embed_tokens.weight), len(compiling._made)
    del model, graphs[:]
    torch.compiler.reset()
    gc.collect()
    assert weights() is None and len(compiling._made) < kept


def test_the_first_call_says_why_it_takes_long(graphs, capsys):
    model = miniature(layers=1)
    for _ in range(2):
        list(lmlab.generate(model, [1, 2], max_new_tokens=3, compile=True))
    assert capsys.readouterr().err.count("compiling mini-gpt-oss, once: 20 to 50 s") >= 1
    list(lmlab.generate(model, [1, 2], max_new_tokens=3, compile=True))
    assert not capsys.readouterr().err


def test_a_failing_compiler_is_named(monkeypatch):
    def backend(graph, inputs):
        raise OSError("no g++")

    monkeypatch.setattr(compiling, "_backend", backend)
    steps = lmlab.generate(miniature(layers=1), [1, 2], max_new_tokens=3, compile=True)
    next(steps)
    with pytest.raises(RuntimeError, match="C\\+\\+ compiler.*compile=False"):
        next(steps)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_products_written_as_sums(rows, bias):
    x, weight, b = torch.randn(1, rows, 7), torch.randn(5, 7), torch.randn(5) if bias else None
    torch.testing.assert_close(compiling.linear_as_sums(x, weight, b), F.linear(x, weight, b))


@pytest.mark.parametrize("name", ["mini-gpt-oss", "mini-deepseek-v3"])
def test_by_the_real_compiler(name):
    """Two layers are enough to meet window, sinks, experts, latents, and the module's two tokens."""
    model, ids = miniature(name, layers=2), prompt(20, 0)
    plain = tokens(lmlab.generate(model, ids, max_new_tokens=40))
    speculative = {"speculative": bool(model.mtp)}
    assert tokens(lmlab.generate(model, ids, max_new_tokens=40, compile=True, **speculative)) == plain
