"""Configurations as values: JSON and back, parts exchanged, and what differs between two models."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

import lmlab
from lmlab.configuration import BlockConfig, ModelConfig, as_gqa, as_mla, diff, flatten, from_dict, summary, to_dict
from lmlab.families import PRESETS
from lmlab.parts.dual_chunk import DualChunkConfig
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mlp import ClampedSwiGLU, MLPConfig
from lmlab.parts.rope import ABF, NTK, PositionInterpolation, RoPEConfig

OSS, QWEN, V3 = (lmlab.config(name) for name in ("gpt-oss-20b", "qwen3-8b", "deepseek-v3"))
HYBRID = ModelConfig(
    name="hybrid",
    vocab_size=97,
    hidden_size=36,
    max_position_embeddings=64,
    mtp=(OSS.blocks[0],),
    inert={"type": "not ours", "list": [1, {"type": "nor this"}]},
    blocks=(
        *(OSS.blocks[0], QWEN.blocks[0], V3.blocks[0], V3.blocks[-1], lmlab.config("deepseek-v2-lite").blocks[-1]),
        replace(
            QWEN.blocks[0], attention=DualChunkConfig(**vars(QWEN.blocks[0].attention), chunk_size=9, local_size=2)
        ),
        *(
            replace(
                QWEN.blocks[0],
                attention=replace(QWEN.blocks[0].attention, rope=RoPEConfig(rope_theta=100.0, scaling=scaling)),
                mlp=MLPConfig(intermediate_size=5, activation=ClampedSwiGLU(swiglu_limit=2.0)),
            )
            for scaling in (PositionInterpolation(factor=2.0), NTK(factor=3.0), ABF(rope_theta=4.0))
        ),
    ),
)


@pytest.mark.parametrize("config", [*map(lmlab.config, PRESETS), HYBRID], ids=lambda config: config.name)
def test_json_and_back(config):
    written = json.loads(json.dumps(to_dict(config)))
    again = from_dict(written)
    assert again == config
    assert again.name == config.name and again.inert == config.inert
    assert hash(again.blocks[0]) == hash(config.blocks[0])


def test_a_part_that_lmlab_has_not():
    written = to_dict(QWEN)
    written["blocks"][0]["attention"]["type"] = "LinearAttentionConfig"
    with pytest.raises(ValueError, match="unknown part 'LinearAttentionConfig': one of ModelConfig, BlockConfig"):
        from_dict(written)


def test_equality_is_of_what_is_built():
    assert replace(QWEN, name="other", inert={"bos_token_id": 7}) == QWEN
    assert replace(QWEN, tie_word_embeddings=True) != QWEN
    assert replace(QWEN, blocks=QWEN.blocks[1:]) != QWEN
    with pytest.raises(FrozenInstanceError):
        QWEN.hidden_size = 7


def test_a_model_has_a_block():
    with pytest.raises(ValueError, match="blocks is empty"):
        ModelConfig(vocab_size=7, hidden_size=8, blocks=(), max_position_embeddings=9)
    assert QWEN.num_hidden_layers == 36


def test_with_parts_changes_every_block_and_mtp():
    other = MLPConfig(intermediate_size=7)
    changed = V3.with_parts(mlp=other, attention=lambda a: replace(a, kv_lora_rank=3))
    for block in (*changed.blocks, *changed.mtp):
        assert block.mlp == other and block.attention.kv_lora_rank == 3
    assert changed.blocks[0].norm == V3.blocks[0].norm and len(changed.mtp) == 1
    assert V3.blocks[0].attention.kv_lora_rank == 512
    assert (
        OSS.with_parts(attention=lambda a: replace(a, sliding_window=None)).blocks[0].attention.sliding_window is None
    )


def test_flatten():
    block = BlockConfig(
        attention=GQAConfig(
            num_attention_heads=6, num_key_value_heads=3, head_dim=8, rope=RoPEConfig(rope_theta=100.0)
        ),
        mlp=MLPConfig(intermediate_size=5),
    )
    flat = flatten(block)
    assert flat["attention"] == "GQA" and flat["attention.head_dim"] == 8
    assert flat["attention.rope"] == "RoPE" and flat["attention.rope.rope_theta"] == 100.0
    assert flat["attention.rope.scaling"] is None and flat["mlp.activation"] == "SwiGLU"


def test_summary_folds_equal_layers():
    oss, dense, v3 = summary(OSS), summary(QWEN), summary(V3)
    assert oss["num_hidden_layers"] == 24 and oss["mtp"] == 0 and v3["mtp"] == 1
    assert oss["attention.sliding_window"] == "128 (12 of 24 layers), None (12 of 24 layers)"
    assert oss["attention.sinks"] is True and oss["hidden_size"] == 2880
    assert dense["attention.sliding_window"] is None and dense["attention.qk_norm"] == "RMSNorm"
    assert v3["mlp"] == "MLP (3 of 61 layers), MoE (58 of 61 layers)"
    assert v3["mlp.intermediate_size"] == 18432, "the layers that have such a field agree on it"
    assert v3["mlp.router"] == "SigmoidGroupRouter" and v3["attention.rope.scaling.mscale"] == 1.0
    assert not any(key.startswith(("blocks", "inert")) or key == "name" for key in oss)


@pytest.mark.parametrize(("a", "b"), [(OSS, QWEN), (QWEN, V3), (OSS, V3)], ids=lambda c: c.name)
def test_diff_shows_what_differs_and_only_that(a, b):
    table, left, right = diff(a, b), summary(a), summary(b)
    assert list(table.columns) == [a.name, b.name] and table.index.name == "field" and table.index.is_unique
    for field in {*left, *right}:
        values = left.get(field, ""), right.get(field, "")
        assert (field in table.index) == (values[0] != values[1]), field
        if field in table.index:
            assert tuple(table.loc[field]) == values
    back = diff(b, a)
    assert back.loc[table.index, a.name].tolist() == table[a.name].tolist()


def test_diff_of_the_families_says_the_known_things():
    table = diff(OSS, V3)
    assert tuple(table.loc["attention"]) == ("GQA", "MLA")
    assert tuple(table.loc["attention.sinks"]) == (True, "")
    assert tuple(table.loc["attention.kv_lora_rank"]) == ("", 512)
    assert tuple(table.loc["mlp.router"]) == ("TopKSoftmaxRouter", "SigmoidGroupRouter")
    assert tuple(diff(OSS, QWEN).loc["norm.weight_in_float32"]) == (True, False)


def test_diff_of_a_model_with_itself_and_with_its_namesake():
    assert diff(QWEN, QWEN).empty
    changed = replace(QWEN, tie_word_embeddings=True)
    table = diff(QWEN, changed)
    assert list(table.columns) == ["qwen3-8b (a)", "qwen3-8b (b)"] and list(table.index) == ["tie_word_embeddings"]
    assert list(diff(replace(QWEN, name=""), replace(changed, name="")).columns) == ["a", "b"]


def test_as_gqa_by_hand():
    gqa = as_gqa(V3, 8, 128)
    first, second = gqa.blocks[0].attention, gqa.blocks[1].attention
    assert (first.head_dim, first.num_attention_heads, first.num_key_value_heads) == (128, 128, 8)
    assert (first.sliding_window, second.sliding_window) == (128, None) and gqa.mtp[0].attention.sliding_window is None
    assert as_gqa(OSS, 4).blocks[0].attention.sliding_window is None
    for heads in (0, -8, 3):
        with pytest.raises(ValueError, match="num_key_value_heads"):
            as_gqa(QWEN, heads)


def test_as_mla_by_hand():
    mla = as_mla(OSS, 256, 32).blocks[0].attention
    assert (mla.kv_lora_rank, mla.qk_nope_head_dim, mla.qk_rope_head_dim, mla.v_head_dim) == (256, 64, 32, 64)
    assert mla.num_attention_heads == 64 and mla.attention_bias and mla.q_lora_rank is None
    assert as_mla(V3, 256, 32).blocks[0].attention.q_lora_rank == 1536
    for rank, width in ((0, 32), (256, 0), (-1, 32)):
        with pytest.raises(ValueError, match="must be 1 or more"):
            as_mla(V3, rank, width)
