"""Each change of the bench makes a valid model, is the one thing that it says, and is offered where it applies."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.families import MINIATURES
from lmlab.measure import memory, sizes
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mla import MLAConfig
from lmlab.parts.moe import MoEConfig
from lmlab.train.changes import Change, apply, changes

ALL = [(model, name) for model in MINIATURES for name in changes(lmlab.config(model))]


@pytest.mark.parametrize(("model", "name"), ALL)
def test_each_changes_something_and_the_model_reads(model, name):
    before = lmlab.config(model)
    change = changes(before)[name]
    after = apply(before, change)
    assert change.says.endswith(".") and after.name == f"{model}, {name}"
    assert (replace(after, name=model) == before) == bool(change.other_seed)
    logits = lmlab.build(after)(torch.arange(40)[None])  # past the windows
    assert logits.shape == (1, 40, before.vocab_size) and logits.isfinite().all()


def changed(model, name):
    before = lmlab.config(model)
    return before, apply(before, changes(before)[name])


def attentions(config):
    return [block.attention for block in config.blocks]


def experts(config):
    return [block.mlp for block in config.blocks if isinstance(block.mlp, MoEConfig)]


def test_each_is_what_its_name_says():
    _, mla = changed("mini-gpt-oss", "MLA in place of GQA")
    assert all(isinstance(one, MLAConfig) for one in attentions(mla))
    _, gqa = changed("mini-deepseek-v3", "GQA in place of MLA")
    assert all(isinstance(one, GQAConfig) for one in attentions(gqa))
    before, one = changed("mini-qwen3", "one key/value head")
    assert {attention.num_key_value_heads for attention in attentions(one)} == {1}
    heads = attentions(before)[0].num_key_value_heads
    assert memory.cache_bytes(before, 256) == heads * memory.cache_bytes(one, 256)
    _, mha = changed("mini-qwen3", "MHA in place of GQA")
    assert all(one.num_key_value_heads == one.num_attention_heads for one in attentions(mha))
    assert not any(one.qk_norm for one in attentions(changed("mini-qwen3", "no QK-Norm")[1]))
    assert all(one.qk_norm for one in attentions(changed("mini-gpt-oss", "QK-Norm")[1]))
    assert not any(one.sliding_window for one in attentions(changed("mini-gpt-oss", "no window")[1]))
    assert sum(bool(one.sliding_window) for one in attentions(changed("mini-qwen3", "windows")[1])) == 2
    assert not any(one.sinks for one in attentions(changed("mini-gpt-oss", "no sinks")[1]))
    assert all(one.sinks for one in attentions(changed("mini-qwen3", "sinks")[1]))
    assert changed("mini-deepseek-v3", "no multi-token prediction")[1].mtp == ()


def test_experts_come_and_go_at_the_same_arithmetic_or_the_same_size():
    before, dense = changed("mini-qwen3-moe", "dense in place of experts")
    assert experts(before) and not experts(dense) and sizes.total(dense) < sizes.total(before)
    routers = sum(before.hidden_size * one.router.num_experts for one in experts(before))
    assert sizes.active(before) - sizes.active(dense) == routers
    before, sparse = changed("mini-qwen3", "experts in place of the dense MLP")
    routers = sum(sparse.hidden_size * one.router.num_experts for one in experts(sparse))
    assert sizes.total(sparse) - sizes.total(before) == routers and sizes.active(sparse) < sizes.active(before)


def test_routers_are_exchanged_for_the_other_families():
    names = {model: {name for name in changes(lmlab.config(model)) if name.endswith("router")} for model in MINIATURES}
    assert names == {
        "mini-gpt-oss": {"Qwen3's router", "DeepSeek's router"},
        "mini-qwen3": set(),
        "mini-qwen3-moe": {"GPT-OSS's router", "DeepSeek's router"},
        "mini-deepseek-v3": {"GPT-OSS's router", "Qwen3's router"},
    }
    for name in names["mini-gpt-oss"]:
        before, after = changed("mini-gpt-oss", name)
        for old, new in zip(experts(before), experts(after), strict=True):
            assert type(old.router) is not type(new.router)
            assert replace(new, router=old.router) == old, "nothing else"


def test_what_makes_no_model_or_no_change_is_refused_with_the_reason():
    config = lmlab.config("mini-qwen3")
    with pytest.raises(ValueError, match="'same' changes nothing in mini-qwen3"):
        apply(config, Change("same", "", lambda old: old))
    three = Change("three", "", lambda old: old.with_parts(attention=lambda one: replace(one, num_key_value_heads=3)))
    with pytest.raises(ValueError, match="'three' makes no valid model of mini-qwen3: .*3"):
        apply(config, three)
