"""The facts have sources, and lmlab agrees with every one that it can compute."""

import pytest

import lmlab
from lmlab import facts
from lmlab.families import PRESETS, to_hf
from lmlab.measure import memory, sizes
from lmlab.parts.mla import MLAConfig

ALL = facts.table()
FULL_SCALE = [name for name in PRESETS if not name.startswith("mini-")]
UNITS = {
    *("", "parameters", "tokens", "layers", "pairs", "values", "bits/parameter", "GB", "GiB", "steps", "sequences"),
    *("H800 hours", "H100 hours", "USD", "nodes"),
}


def test_every_row_is_whole():
    assert list(ALL.columns) == ["model", "field", "value", "unit", "source", "locator", "status"]
    for column in ("model", "field", "value", "source", "locator"):
        assert (ALL[column].str.strip() != "").all()
    assert set(ALL["status"]) <= set(facts.STATUSES) and set(ALL["unit"]) <= UNITS
    assert not ALL.duplicated(["model", "field"]).any()
    assert not ALL.apply(lambda row: row.str.contains("UNVERIFIED|FACTS")).any(axis=None)


@pytest.mark.parametrize("name", FULL_SCALE)
def test_every_configuration_is_the_presets(name):
    config = lmlab.config(name)
    fields = to_hf(config)
    scaling = config.blocks[0].attention.rope.scaling
    compared = 0
    for field in facts.table(name)["field"]:
        wanted, (top, _, inner) = facts.value(name, field), field.partition(".")
        if top == "rope_scaling":
            got = (
                (fields["rope_scaling"] or {}).get("rope_type" if inner == "type" else inner) if inner else fields[top]
            )
        elif inner and top in fields:
            got = fields[top][inner]
        elif top in fields:
            got = fields[top]
        else:
            continue
        assert got == wanted, field
        compared += 1
    assert compared >= 20
    if scaling is not None:
        assert facts.value(name, "rope_scaling.truncate" if "gpt" in name else "rope_scaling.factor") is not None


@pytest.mark.parametrize("name", FULL_SCALE)
def test_computed_facts_are_what_lmlab_computes(name):
    config = lmlab.config(name)
    attention = config.blocks[0].attention
    dim = attention.qk_rope_head_dim if isinstance(attention, MLAConfig) else attention.head_dim
    known = set(facts.table(name)["field"])
    assert facts.value(name, "total_parameters") == sizes.total(config)
    embedding = config.vocab_size * config.hidden_size * (1 if config.tie_word_embeddings else 2)
    rope = attention.rope.scaling
    computed = {
        "active_parameters": lambda: sizes.active(config),
        "active_parameters_with_embedding": lambda: sizes.active(config, embedding=True),
        "mtp_parameters": lambda: sizes.count_mtp(config),
        "non_embedding_parameters": lambda: sizes.total(config) - embedding,
        "cache_values_per_token_and_layer": lambda: attention.cache_elements(1),
        "cache_values_per_token_and_layer_as_mha": lambda: (
            memory.cache_bytes_as_mha(config, 1) / 2 / len(config.blocks)
        ),
        "softmax_scale": lambda: lmlab.build(config, device="meta").layers[0].self_attn.core.scale,
        "yarn.mscale": lambda: rope.temperature(rope.mscale_all_dim),
        "checkpoint_size": lambda: memory.weight_bytes(config, "mxfp4") / memory.GIB,
    }
    for field, compute in computed.items():
        if field in known:
            assert compute() == pytest.approx(facts.value(name, field), rel=1e-4), field
    if rope is not None and "yarn.low" in known:
        bounds = [facts.value(name, "yarn.low"), facts.value(name, "yarn.high")]
        assert rope.bounds(attention.rope.rope_theta, dim) == pytest.approx(bounds, abs=1e-4)
    for field in known:
        if field.startswith("cache_bf16_at_"):
            length = int(field.removeprefix("cache_bf16_at_"))
            assert memory.cache_bytes(config, length) / memory.GB == pytest.approx(facts.value(name, field), abs=0.005)


def test_values_have_their_types():
    assert facts.value("gpt-oss-120b", "rope_scaling.truncate") is False
    assert facts.value("gpt-oss-120b", "num_local_experts") == 128
    assert facts.value("qwen3-8b", "rope_scaling") is None
    assert facts.value("deepseek-v3", "pretraining_tokens") == "14.8T"
    assert facts.value("gpt-oss-20b", "layer_types")[:2] == ["sliding_attention", "full_attention"]


def test_a_citation_is_a_line():
    expected = "DeepSeek-V3 Technical Report, arXiv:2412.19437, section 4.3"
    assert facts.citation("deepseek-v3", "context_extension.steps_per_phase") == expected


def test_what_is_not_there_names_what_is():
    with pytest.raises(ValueError, match="no facts about 'gpt-oss-210b'; near: gpt-oss-20b"):
        facts.value("gpt-oss-210b", "vocab_size")
    with pytest.raises(ValueError, match="no fact 'vocabsize' about qwen3-8b; near: vocab_size"):
        facts.value("qwen3-8b", "vocabsize")
    assert facts.table("nobody").empty
    assert set(facts.table(field="vocab_size")["model"]) == set(FULL_SCALE)
