"""The facts have sources, and lmlab agrees with every one that it can compute."""

import pytest

import lmlab
from lmlab import facts
from lmlab.families import PRESETS, to_hf
from lmlab.measure import memory, sizes
from lmlab.parts.mla import MLAConfig
from lmlab.parts.rope import YaRN

ALL = facts.table()
FULL_SCALE = [name for name in PRESETS if not name.startswith("mini-")]
UNITS = {
    *("", "parameters", "tokens", "layers", "pairs", "values", "bits/parameter", "GB", "GiB", "steps", "sequences"),
    *("H800 hours", "H100 hours", "USD", "nodes", "MiB", "TFLOPS", "TB/s"),
    *("cores", "channels", "MT/s", "GHz", "FLOP"),
}
CORE = """vocab_size hidden_size num_hidden_layers intermediate_size num_attention_heads num_experts_per_tok rope_theta
    rms_norm_eps total_parameters""".split()
GQA = ["num_key_value_heads", "head_dim", "max_position_embeddings", "tie_word_embeddings", "context_length_published"]
MLA = """q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim n_routed_experts n_shared_experts n_group
    topk_group routed_scaling_factor scoring_func norm_topk_prob first_k_dense_replace moe_intermediate_size
    rope_scaling.factor rope_scaling.mscale_all_dim softmax_scale active_parameters""".split()
FAMILY = {
    "gpt_oss": [*CORE, *GQA, "num_local_experts", "sliding_window", "layer_types", "swiglu_limit", "active_parameters"],
    "qwen3": [*(field for field in CORE if field != "num_experts_per_tok"), *GQA, "non_embedding_parameters"],
    "qwen3_moe": [*CORE, *GQA, "num_experts", "moe_intermediate_size", "norm_topk_prob", "active_parameters"],
    "deepseek_v3": [*CORE, *MLA, "num_nextn_predict_layers", "mtp_parameters", "max_position_embeddings"],
    "deepseek_v2": [*CORE, *MLA],
}


def test_every_row_is_whole():
    assert list(ALL.columns) == ["model", "field", "value", "unit", "source", "locator", "status"]
    for column in ("model", "field", "value", "source", "locator"):
        assert (ALL[column].str.strip() != "").all()
    assert set(ALL["status"]) <= set(facts.STATUSES) and set(ALL["unit"]) <= UNITS
    assert not ALL.duplicated(["model", "field"]).any()
    assert not ALL.apply(lambda row: row.str.contains("UNVERIFIED")).any(axis=None)


def test_the_common_errors_are_all_there():
    errors = ALL[ALL["field"].str.startswith("error_")]
    assert sorted(errors["field"]) == [f"error_{i:02d}" for i in range(1, 35)]
    assert errors["value"].str.contains("->").all() and (errors["unit"] == "").all()


def test_a_source_holds_the_field_it_is_cited_for():
    """litgpt has no such keys, DeepSeek's inference files no Hugging Face names: rows that cite them would mislead."""
    litgpt = ALL[ALL["source"].str.startswith("Lightning-AI/litgpt") & ~ALL["field"].str.startswith("error_")]
    absent = "norm_topk_prob|initializer_range|dropout|token_id|tie_word|sliding_window|hidden_act"
    assert len(litgpt) > 80 and not litgpt["field"].str.contains(absent).any()
    inference = ALL[ALL["source"].str.fullmatch(r"deepseek-ai/DeepSeek-V3 inference/configs/\S+\.json")]
    absent = "rope_theta|max_position|quantization_config|token_id|initializer_range|rms_norm_eps"
    assert len(inference) > 50 and not inference["field"].str.contains(absent).any()


@pytest.mark.parametrize("name", FULL_SCALE)
def test_every_preset_has_its_core_fields(name):
    core = FAMILY[PRESETS[name]["model_type"]]
    assert not set(core) - set(facts.table(name)["field"])
    assert all(facts.citation(name, field) for field in core)


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
    if "yarn.factor_recommended" in known:  # Qwen3's is off unless asked for
        original = facts.value(name, "yarn.original_max_position_embeddings")
        rope = YaRN(factor=facts.value(name, "yarn.factor_recommended"), original_max_position_embeddings=original)
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
        "yarn.attention_factor": lambda: rope.cos_sin_factor,
        "yarn.logit_factor": lambda: rope.cos_sin_factor**2,
        "softmax_scale_without_yarn": lambda: attention.qk_head_dim**-0.5,
        "mtp_block_parameters": lambda: sizes.count_block(config.mtp[0], config.hidden_size).total(),
        "expert_parameters": lambda: int(sizes.count(config)["total"]["experts"]),
        "checkpoint_size": lambda: memory.weight_bytes(config, "mxfp4") / memory.GIB,
    }
    for field, compute in computed.items():
        if field in known:
            text = facts.table(name, field)["value"].item()
            half = 0 if text.isdecimal() else 0.5 * 10.0 ** -len(text.partition(".")[2])  # of its last digit
            assert compute() == pytest.approx(float(text), rel=0, abs=half), field
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
