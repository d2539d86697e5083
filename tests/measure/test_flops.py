"""FLOPs by formula against PyTorch's own counter, and against sums written out by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lmlab
from lmlab.measure import flops


def counted(model, tokens: int, context: int = 0) -> int:
    """What the counter sees on the meta device. It counts whole rectangles: no causality."""
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    cache = model.make_cache(1, context + tokens) if context else None
    with FlopCounterMode(display=False) as counter:
        model(ids, cache)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["qwen3-0.6b", "qwen3-32b"])
@pytest.mark.parametrize("context", [0, 1, 500, 100_000])
def test_one_token_of_a_dense_model_is_what_the_counter_counts(name, context):
    model = lmlab.build(lmlab.config(name), device="meta")
    assert flops.total(model.config, 1, context) == counted(model, 1, context)


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-v2-lite", "qwen3-30b-a3b", "mini-deepseek-v3"])
def test_one_token_of_a_sparse_model_is_what_the_counter_counts(name):
    model = lmlab.build(lmlab.config(name), device="meta")
    assert flops.total(model.config, 1, 700) == counted(model, 1, 700)


def test_several_tokens_cost_the_matrices_several_times():
    config = lmlab.config("gpt-oss-120b")
    one, many = flops.flops(config, 1)["flops"], flops.flops(config, 7)["flops"]
    for component in ("projections", "router", "experts", "head"):
        assert many[component] == 7 * one[component]


def test_experts_count_the_chosen_ones_only():
    table = flops.flops(lmlab.config("gpt-oss-120b"), 1)["flops"]
    assert table["experts"] == 2 * 36 * 4 * 3 * 2880 * 2880
    shared = flops.flops(lmlab.config("deepseek-v3"), 1)["flops"]
    assert shared["shared experts"] == 2 * 58 * 3 * 7168 * 2048


@pytest.mark.parametrize("window", [None, 1, 3, 5, 50])
@pytest.mark.parametrize("context", [0, 2, 4, 20])
@pytest.mark.parametrize("tokens", [1, 2, 6])
def test_visible_pairs_are_counted_one_by_one(tokens, context, window):
    seen = sum(min(context + i + 1, window or 10**9) for i in range(tokens))
    assert flops.visible_pairs(tokens, context, window) == seen


def test_visible_pairs_are_those_of_the_mask():
    from lmlab.parts.masks import attention_mask

    mask = attention_mask(torch.arange(9, 16), torch.arange(16), window=4)
    assert int(mask.sum()) == flops.visible_pairs(7, 9, 4)


def test_absorbing_pays_for_one_token_and_not_for_a_prefill():
    config = lmlab.config("deepseek-v3")
    decode = {form: flops.total(config, 1, 4096, absorbed=form) for form in (True, False)}
    prefill = {form: flops.total(config, 4096, 0, absorbed=form) for form in (True, False)}
    assert decode[True] < decode[False] / 20
    assert prefill[False] < prefill[True]
    assert flops.total(config, 1, 4096) == decode[True] and flops.total(config, 4096) == prefill[False]
    # per head and key: 2 * 512 + 64 against 128 + 64 + 128
    scores = {form: flops.flops(config, 4096, 0, absorbed=form).loc["scores", "flops"] for form in (True, False)}
    assert scores[True] / scores[False] == (2 * 512 + 64) / (192 + 128)


def test_the_models_own_choice_of_form_is_the_cheaper_one():
    config = lmlab.config("deepseek-v3")
    limit = config.blocks[0].attention.absorbed_up_to
    assert limit == 170
    # the rule compares the work per cached key: it is exact for a long cache
    for tokens in (limit, limit + 1):
        forms = {form: flops.total(config, tokens, 10**7, absorbed=form) for form in (True, False)}
        assert (forms[True] < forms[False]) == (tokens <= limit)
