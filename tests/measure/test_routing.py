"""Weights, load, margins, groups, bias and pairs of experts beside loops over tokens, and beside the model itself."""

import math

import pytest
import torch

from lmlab.interventions import intervene
from lmlab.measure import routing
from lmlab.parts.router import Routing
from lmlab.trace import Trace
from tests.small import random_model

NAMES = ["mini-gpt-oss", "mini-qwen3-moe", "mini-deepseek-v3", "deepseek-v3", "deepseek-v2-lite"]
IDS = torch.randint(0, 97, (29,), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NAMES)
def model(request):
    return random_model(request.param)


@pytest.fixture
def deep():
    """DeepSeek-V3's router with 16 experts in 4 groups, and a bias that moves choices."""
    model, order = random_model("deepseek-v3"), torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for moe in routing.mixtures(model).values():
        moe.router.e_score_correction_bias.copy_(torch.linspace(-0.1, 0.1, 16)[order])
    return model


def each(model):
    """(router, Routing) of each layer with experts."""
    found = routing.read(model, IDS)
    return [(model.layers[layer].mlp.router, one) for layer, one in found.layers.items()]


@torch.no_grad()
def test_a_reading_is_what_the_trace_recorded(model):
    found = routing.read(model, IDS)
    with Trace(model) as trace:
        model(IDS[None])
    sparse = [i for i, block in enumerate(model.layers) if hasattr(block.mlp, "router")]
    assert [*found.layers] == sparse and (model.config.mtp == () or len(model.layers) not in found.layers)
    for layer, one in found.layers.items():
        assert all(torch.equal(mine, its) for mine, its in zip(one, trace.routing(layer), strict=True))


@torch.no_grad()
def test_the_weights_are_those_that_the_experts_are_added_with(model):
    seen = {}
    hooks = [
        moe.experts.register_forward_hook(lambda module, inputs, output, i=i: seen.update({i: (inputs, output)}))
        for i, moe in routing.mixtures(model).items()
    ]
    found = routing.read(model, IDS)
    [hook.remove() for hook in hooks]
    for layer, one in found.layers.items():
        (x, *_), output = seen[layer]
        weights, experts = routing.by_expert(one), model.layers[layer].mlp.experts
        every = torch.tensor([[e] for e in range(weights.shape[1])])  # (E, 1)
        by_hand = torch.zeros_like(output)
        for e in every:
            alone = experts(x, e.expand(len(x), 1), torch.ones(len(x), 1))  # (N, C): expert e reads everything
            by_hand += weights[:, e] * alone
        torch.testing.assert_close(by_hand, output, atol=1e-4, rtol=1e-4)
        assert torch.equal(routing.chosen(one), weights != 0)


def test_load_and_imbalance_count_choices(model):
    for _, one in each(model):
        tokens, experts = one.scores.shape
        taken = one.indices.shape[1]
        times = [sum(e in row for row in one.indices.tolist()) for e in range(experts)]
        wanted = [n * experts / (tokens * taken) for n in times]
        assert routing.load(one).tolist() == pytest.approx(wanted)
        assert routing.imbalance(one) == pytest.approx(max(wanted))
        assert float(routing.load(one).mean()) == pytest.approx(1)


def test_a_margin_is_what_the_last_chosen_has_more_than_the_best_other(model):
    for router, one in each(model):
        kind = type(router).__name__
        for token, margin in enumerate(routing.margins(router, one).tolist()):
            mine, values = one.indices[token].tolist(), one.scores[token].tolist()
            if kind == "TopKSoftmaxRouter":
                values = one.logits[token].tolist()
            if kind == "SigmoidGroupRouter":
                values = biased_in_the_best_groups(router, one, token)
            others = [value for e, value in enumerate(values) if e not in mine]
            assert margin == pytest.approx(min(values[e] for e in mine) - max(others), abs=1e-6) and margin >= 0


def biased_in_the_best_groups(router, one, token) -> list[float]:
    """Scores with the bias, -inf outside of the groups whose two best have the largest sum."""
    values = (one.scores[token] + router.e_score_correction_bias).tolist()
    size = len(values) // router.config.n_group
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    ranked = sorted(range(len(groups)), key=lambda g: -sum(sorted(groups[g])[-2:]))
    best = ranked[: router.config.topk_group]
    return [value if e // size in best else -math.inf for e, value in enumerate(values)]


def test_a_margin_is_the_push_that_changes_the_choice():
    model = random_model("mini-gpt-oss")
    router, one = each(model)[0]
    margins, by = routing.margins(router, one), one.logits
    rival = by.masked_fill(routing.chosen(one), -math.inf).argmax(1)  # (N,)
    for push, same in ((0.999, True), (1.001, False)):
        pushed = by.scatter_add(1, rival[:, None], (push * margins)[:, None])
        unchanged = [{*row} == {*new} for row, new in zip(one.indices.tolist(), top(pushed), strict=True)]
        assert all(unchanged) == same and any(unchanged) == same


def top(by: torch.Tensor, k: int = 2) -> list[list[int]]:
    return by.topk(k, dim=-1).indices.tolist()


def test_nobody_left_to_lose_is_an_infinite_margin():
    model = random_model("mini-qwen3-moe")
    with intervene(model, top_k=8):
        ((router, one), *_) = each(model)
        assert routing.margins(router, one).tolist() == [math.inf] * len(IDS)
        assert routing.load(one).tolist() == [1.0] * 8


def test_kept_groups_are_those_with_candidates(deep):
    for router, one in each(deep):
        kept = routing.kept_groups(router, one)
        assert kept.shape == (len(IDS), 4) and kept.sum(1).tolist() == [2] * len(IDS)
        for token in range(len(IDS)):
            values = biased_in_the_best_groups(router, one, token)
            assert kept[token].tolist() == [values[4 * g] > -math.inf for g in range(4)]
            assert all(kept[token, e // 4] for e in one.indices[token].tolist())


@torch.no_grad()
def test_without_bias_is_the_router_with_its_bias_at_zero(deep):
    inputs, changed = {}, 0
    hooks = [
        moe.router.register_forward_pre_hook(lambda module, given, i=i: inputs.update({i: given[0]}))
        for i, moe in routing.mixtures(deep).items()
    ]
    found = routing.read(deep, IDS)
    [hook.remove() for hook in hooks]
    biases = {layer: deep.layers[layer].mlp.router.e_score_correction_bias.clone() for layer in found.layers}
    for layer, one in found.layers.items():
        router = deep.layers[layer].mlp.router
        free = routing.without_bias(router, one)
        assert torch.equal(router.e_score_correction_bias, biases[layer]), "the model is as it was"
        router.e_score_correction_bias.zero_()
        again = router(inputs[layer])
        router.e_score_correction_bias.copy_(biases[layer])
        assert all(torch.equal(mine, its) for mine, its in zip(free, again, strict=True))
        differs = routing.differs(one, free)
        pairs = zip(one.indices.tolist(), free.indices.tolist(), strict=True)
        assert differs.tolist() == [{*a} != {*b} for a, b in pairs]
        changed += int(differs.sum())
        same = ~differs
        torch.testing.assert_close(routing.by_expert(one)[same], routing.by_expert(free)[same])
    assert 0 < changed < 2 * len(IDS), "the bias moves some choices, and no weight of those that stay"


@torch.no_grad()
def test_the_chosen_and_the_shared_experts_are_the_whole_part(deep):
    seen = {}
    hooks = []
    for i, moe in routing.mixtures(deep).items():
        for name, module in (("chosen", moe.experts), ("shared", moe.shared_experts)):
            hooks.append(module.register_forward_hook(lambda m, x, out, key=(i, name): seen.update({key: out})))
    with Trace(deep):
        deep(IDS[None])
    [hook.remove() for hook in hooks]
    found = routing.read(deep, IDS)
    assert [*found.added] == [*found.layers]
    for layer, lengths in found.added.items():
        wanted = torch.stack([seen[layer, name].norm(dim=-1) for name in ("chosen", "shared")])
        torch.testing.assert_close(lengths, wanted, atol=1e-4, rtol=1e-4)
    assert not routing.read(random_model("mini-gpt-oss"), IDS).added, "there is none"


def test_pairs_are_counted(model):
    for _, one in each(model):
        counted, shares = routing.coactivation(one), routing.together(one)
        rows = [{*row} for row in one.indices.tolist()]
        for i in range(one.scores.shape[1]):
            reads = [row for row in rows if i in row]
            wanted = [sum(j in row for row in reads) for j in range(one.scores.shape[1])]
            assert counted[i].tolist() == wanted
            assert shares[i].tolist() == pytest.approx([n / max(len(reads), 1) for n in wanted])


def test_an_expert_that_reads_nothing_has_no_partners():
    scores = torch.tensor([[0.7, 0.2, 0.1]] * 4)
    one = Routing(scores.log(), scores, scores[:, :2], torch.tensor([[0, 1]] * 4))
    assert routing.together(one).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert routing.load(one).tolist() == [1.5, 1.5, 0]


def test_what_cannot_be_read_or_asked_is_refused():
    with pytest.raises(ValueError, match="mini-qwen3 has no layer with experts"):
        routing.read(random_model("mini-qwen3"), IDS)
    model = random_model("mini-gpt-oss")
    with pytest.raises(ValueError, match=r"shape \(1, 29\): the ids of one text"):
        routing.read(model, IDS[None])
    with pytest.raises(ValueError, match="from 0 to 1024; the embedding has rows 0 to 1023"):
        routing.read(model, [0, 1024])
    router, one = each(model)[0]
    for ask in (routing.kept_groups, routing.without_bias):
        with pytest.raises(ValueError, match="TopKSoftmaxRouter has no"):
            ask(router, one)
