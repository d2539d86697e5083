"""config.json in and out: whole vendor files, transformers' own classes, and every fault named."""

import json
import warnings
from dataclasses import replace

import pytest
from transformers import AutoConfig

import lmlab
from lmlab.families import CARDS, PRESETS, from_hf, to_hf
from lmlab.parts.dual_chunk import DualChunkConfig
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.moe import MoEConfig
from lmlab.parts.rope import NTK, PositionInterpolation, RoPEConfig, YaRN
from tests import hf

FAMILIES = ["gpt-oss-20b", "qwen3-8b", "qwen3-30b-a3b", "deepseek-v3", "deepseek-v2-lite"]
# what the released files hold beside the fields that shape the model
INERT = {
    "_name_or_path": "somewhere",
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "bos_token_id": 0,
    "eos_token_id": [1, 2],
    "pad_token_id": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "is_encoder_decoder": False,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "problem_type": None,
    "chunk_size_feed_forward": 0,
    "pretraining_tp": 1,
    "attention_dropout": 0.0,
    "quantization_config": {"quant_method": "fp8", "type": "whatever the vendor likes"},
}
OWN_INERT = {
    "gpt-oss-20b": {"initial_context_length": 4096, "experts_per_token": 4, "output_router_logits": False},
    "qwen3-8b": {"max_window_layers": 36},
    "qwen3-30b-a3b": {"max_window_layers": 48, "router_aux_loss_coef": 0.001, "output_router_logits": False},
    "deepseek-v3": {"aux_loss_alpha": 0.001, "seq_aux": True, "ep_size": 1},
    "deepseek-v2-lite": {"aux_loss_alpha": 0.001, "seq_aux": True, "ep_size": 1},
}


@pytest.mark.parametrize("name", PRESETS)
def test_there_and_back(name):
    config = lmlab.config(name)
    fields = to_hf(config)
    assert fields["model_type"] == PRESETS[name]["model_type"]
    assert json.loads(json.dumps(fields)) == fields
    again = from_hf(fields)
    assert again == config and to_hf(again) == fields
    assert config.name == name and config.max_position_embeddings == PRESETS[name]["max_position_embeddings"]


@pytest.mark.parametrize("name", PRESETS)
def test_transformers_reads_the_same_in_what_is_written(name):
    config = lmlab.config(name)
    theirs = AutoConfig.for_model(**to_hf(config))
    assert from_hf(json.loads(theirs.to_json_string(use_diff=False))) == config
    assert from_hf(theirs.to_dict()) == config


@pytest.mark.parametrize("name", FAMILIES)
def test_a_vendors_file_is_taken_whole_and_written_back(name):
    fields = PRESETS[name] | INERT | OWN_INERT[name]
    config = from_hf(fields)
    assert config == lmlab.config(name)
    written = to_hf(config)
    for key in fields.keys() - {"rope_scaling"}:
        assert written[key] == fields[key], key
    assert config.inert.keys() >= INERT.keys()
    mine, theirs = ({k: v for k, v in (f["rope_scaling"] or {}).items() if "type" not in k} for f in (written, fields))
    assert mine.items() >= theirs.items()


@pytest.mark.parametrize("name", hf.TINY)
def test_what_transformers_writes_is_read_without_a_warning(name):
    _, theirs = hf.TINY[name]
    for fields in (theirs.to_dict(), json.loads(theirs.to_json_string(use_diff=False))):
        config = from_hf(fields)
        assert to_hf(config)["model_type"] == theirs.model_type
        assert from_hf(to_hf(config)) == config


@pytest.mark.parametrize("name", FAMILIES)
def test_the_old_and_the_new_spelling_of_rope(name):
    fields = dict(PRESETS[name])
    theta, scaling = fields.pop("rope_theta"), fields.pop("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    scaling = {k: v for k, v in scaling.items() if k not in ("type", "rope_type")}
    for both in (
        {"rope_parameters": {"rope_type": kind, "rope_theta": theta} | scaling},
        {"rope_theta": theta, "rope_scaling": {"type": kind} | scaling},
        {"rope_theta": theta, "rope_scaling": {"type": kind, "rope_type": kind} | scaling},
    ):
        assert from_hf(fields | both) == lmlab.config(name)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_missing_field_is_named(name):
    required = CARDS[PRESETS[name]["model_type"]].required
    for key in required:
        fields = {k: v for k, v in PRESETS[name].items() if k != key}
        with pytest.raises(ValueError, match=rf"missing {key}"):
            from_hf(fields)
    with pytest.raises(ValueError, match="missing .*, .*, "):
        from_hf({"model_type": PRESETS[name]["model_type"]})


def test_a_misspelt_required_field_is_named_with_what_was_meant():
    fields = dict(PRESETS["deepseek-v3"])
    fields["kv_lora_rnk"] = fields.pop("kv_lora_rank")
    with pytest.raises(ValueError, match=r"missing kv_lora_rank \(kv_lora_rnk looks like kv_lora_rank misspelt\)"):
        from_hf(fields)


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [
        ("qwen3-8b", "atention_bias", "attention_bias"),
        ("gpt-oss-20b", "swiglu_limits", "swiglu_limit"),
        ("deepseek-v3", "routed_scaling_facto", "routed_scaling_factor"),
        ("qwen3-30b-a3b", "norm_topk_prop", "norm_topk_prob"),
    ],
)
def test_a_misspelt_optional_field_is_a_warning_with_the_nearest(name, wrong, meant):
    with pytest.warns(UserWarning, match=rf"unknown field {wrong} is kept but changes nothing; did you mean {meant}\?"):
        config = from_hf(PRESETS[name] | {wrong: 17})
    assert config.inert[wrong] == 17
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert to_hf(config)[wrong] == 17
    assert not heard, "warned once, on the way in"
    with pytest.warns(UserWarning, match="unknown field zzzzzz is kept but changes nothing$"):
        from_hf(PRESETS[name] | {"zzzzzz": 1})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt-oss-20b", {"hidden_act": "gelu"}, "hidden_act='gelu' is not supported, only 'silu' is"),
        ("qwen3-8b", {"attention_dropout": 0.1}, "attention_dropout=0.1 is not supported, only 0.0 or None is"),
        ("qwen3-30b-a3b", {"use_sliding_window": True}, "use_sliding_window=True is not supported"),
        ("deepseek-v3", {"scoring_func": "softmax"}, "scoring_func='softmax' is not supported, only 'sigmoid' is"),
        ("deepseek-v3", {"topk_method": "greedy"}, "topk_method='greedy' is not supported"),
        ("deepseek-v2-lite", {"topk_method": "noaux_tc"}, "topk_method='noaux_tc' is not supported"),
        ("deepseek-v2-lite", {"topk_method": "group_limited_greedy", "n_group": None}, "missing n_group"),
        ("deepseek-v3", {"moe_layer_freq": 2}, "moe_layer_freq=2 is not supported"),
        ("deepseek-v2-lite", {"norm_topk_prob": True}, "norm_topk_prob=True is not supported"),
        ("gpt-oss-20b", {"layer_types": ["full_attention"] * 3}, "3 entries for num_hidden_layers=24"),
        ("qwen3-8b", {"layer_types": ["full_attention"] * 37}, "37 entries for num_hidden_layers=36"),
        ("gpt-oss-20b", {"layer_types": ["full_attention"] * 23 + ["slidng"]}, r"layer_types\[23\] is 'slidng'"),
        ("gpt-oss-20b", {"sliding_window": None}, "no sliding_window is in use"),
        ("gpt-oss-20b", {"sliding_window": 0}, "sliding_window=0 must be a whole number, 1 or more"),
        ("qwen3-8b", {"layer_types": ["sliding_attention"] * 36}, "no sliding_window is in use"),
        ("qwen3-8b", {"hidden_size": 4096.0}, "hidden_size=4096.0 must be a whole number, 1 or more"),
        ("qwen3-8b", {"hidden_size": "4096"}, "hidden_size='4096' must be"),
        ("qwen3-8b", {"hidden_size": None}, "missing hidden_size"),
        ("qwen3-8b", {"num_key_value_heads": 0}, "num_key_value_heads=0 must be a whole number, 1 or more"),
        ("qwen3-8b", {"num_hidden_layers": -1}, "num_hidden_layers=-1 must be"),
        ("qwen3-8b", {"num_key_value_heads": 7}, "num_attention_heads=32 must be a multiple of num_key_value_heads=7"),
        ("deepseek-v3", {"num_experts_per_tok": 257}, "num_experts_per_tok=257 must lie from 1 to num_experts=256"),
        ("deepseek-v3", {"qk_rope_head_dim": 63}, "qk_rope_head_dim=63 must be even"),
        ("qwen3-30b-a3b", {"num_experts": None}, "missing num_experts"),
        ("deepseek-v3", {"n_group": None}, "missing n_group"),
        ("qwen3-8b", {"rope_scaling": {"rope_type": "longrope"}}, "type 'longrope' is not supported"),
        ("qwen3-8b", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "type 'dynamic' is not supported"),
        ("qwen3-8b", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "missing original_max_position_embeddings"),
        ("qwen3-8b", {"rope_scaling": {"type": "yarn"}}, "missing factor, original_max_position_embeddings"),
        ("qwen3-8b", {"rope_scaling": {"type": "linear"}}, "type linear: missing factor"),
        ("qwen3-8b", {"model_type": "llama"}, "model_type 'llama' is not one of gpt_oss, qwen3, qwen3_moe"),
        ("qwen3-8b", {"model_type": None}, "model_type None is not one of"),
    ],
)
def test_what_cannot_be_is_named(name, changes, message):
    with pytest.raises(ValueError, match=message):
        from_hf(PRESETS[name] | changes)


def test_an_unknown_field_of_yarn_is_a_warning():
    scaling = {"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64, "beta_fats": 3}
    with pytest.warns(UserWarning, match="rope_scaling: unknown field beta_fats"):
        from_hf(PRESETS["qwen3-8b"] | {"rope_scaling": scaling})


@pytest.mark.parametrize("name", FAMILIES)
def test_null_means_the_default(name):
    card = CARDS[PRESETS[name]["model_type"]]
    fields = {k: v for k, v in PRESETS[name].items() if k in card.required or k not in card.optional}
    if name == "qwen3-30b-a3b":
        fields |= {"num_experts": 128}
    expected = from_hf(fields)
    assert from_hf(dict.fromkeys(card.optional) | fields) == expected


def test_what_each_family_reads():
    oss, dense, moe, v3, lite = map(lmlab.config, FAMILIES)
    assert [b.attention.sliding_window for b in oss.blocks] == [128, None] * 12
    assert all(b.attention.sinks and b.attention.attention_bias for b in oss.blocks)
    assert oss.blocks[0].norm.weight_in_float32 and not dense.blocks[0].norm.weight_in_float32
    assert oss.blocks[0].mlp.moe_intermediate_size == 2880 and oss.blocks[0].mlp.bias
    assert dense.blocks[0].attention.qk_norm is not None and not dense.blocks[0].attention.attention_bias
    assert all(isinstance(b.mlp, MLPConfig) for b in dense.blocks)
    assert all(isinstance(b.mlp, MoEConfig) and b.mlp.router.norm_topk_prob for b in moe.blocks)
    assert [isinstance(b.mlp, MLPConfig) for b in v3.blocks] == [True] * 3 + [False] * 58
    assert [isinstance(b.mlp, MLPConfig) for b in lite.blocks] == [True] + [False] * 26
    assert len(v3.mtp) == 1 and v3.mtp[0] == v3.blocks[-1] and not lite.mtp
    assert v3.blocks[0].attention.rope.interleaved and not oss.blocks[0].attention.rope.interleaved
    assert v3.blocks[3].mlp.num_shared_experts == 1 and lite.blocks[3].mlp.num_shared_experts == 2
    assert lite.blocks[0].attention.q_lora_rank is None and v3.blocks[0].attention.q_lora_rank == 1536
    assert lite.blocks[1].mlp.router.n_group is None


def test_qwen3_moe_layers_that_stay_dense():
    fields = PRESETS["qwen3-30b-a3b"] | {"mlp_only_layers": [3], "decoder_sparse_step": 2}
    sparse = [isinstance(block.mlp, MoEConfig) for block in from_hf(fields).blocks]
    assert sparse == [i % 2 == 1 and i != 3 for i in range(48)]
    assert from_hf(to_hf(from_hf(fields))) == from_hf(fields)


@pytest.mark.parametrize("name", hf.TINY)
def test_a_changed_model_is_not_contradicted_by_what_its_file_once_said(name):
    """transformers writes many fields that follow from others; kept, they would be those of the old model."""
    _, theirs = hf.TINY[name]
    config = from_hf(json.loads(theirs.to_json_string(use_diff=False)))
    shorter = replace(config, blocks=config.blocks[:2], mtp=())
    if name.startswith("deepseek"):
        shorter = shorter.with_parts(attention=lambda a: replace(a, qk_rope_head_dim=4))
    if name.startswith("deepseek") and not any(isinstance(block.mlp, MoEConfig) for block in shorter.blocks):
        shorter = replace(shorter, blocks=(shorter.blocks[0], replace(shorter.blocks[0], mlp=config.blocks[-1].mlp)))
    if name.startswith("qwen3-moe"):
        fewer = replace(config.blocks[0].mlp, router=replace(config.blocks[0].mlp.router, num_experts=7))
        shorter = replace(shorter, blocks=(replace(shorter.blocks[0], mlp=fewer), shorter.blocks[1]))
        if isinstance(shorter.blocks[1].mlp, MoEConfig):
            shorter = shorter.with_parts(mlp=fewer)
    fields = to_hf(shorter)
    assert fields["model_type"] == config.model_type
    again = AutoConfig.for_model(**fields)
    assert from_hf(again.to_dict()) == from_hf(fields) == shorter
    if name.startswith("deepseek"):
        assert again.head_dim == 4


def dual_chunk(attention):
    return DualChunkConfig(**vars(attention), chunk_size=16, local_size=4)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("qwen3-8b", {"attention": dual_chunk}),
        ("gpt-oss-20b", {"mlp": MLPConfig(intermediate_size=7)}),
        ("gpt-oss-20b", {"attention": lambda a: replace(a, sinks=False)}),
        ("deepseek-v3", {"attention": lmlab.config("qwen3-8b").blocks[0].attention}),
        ("qwen3-30b-a3b", {"mlp": lambda m: replace(m, num_shared_experts=1)}),
        ("qwen3-8b", {"attention": lambda a: replace(a, rope=replace(a.rope, scaling=NTK(factor=2.0)))}),
    ],
)
def test_what_no_class_of_transformers_has_is_written_as_lmlabs_own(name, parts):
    config = lmlab.config(name).with_parts(**parts)
    with pytest.raises(ValueError, match="cannot express this configuration|no name for NTK"):
        CARDS[config.model_type].to_hf(config)
    fields = json.loads(json.dumps(to_hf(config)))
    assert fields["model_type"] == "lmlab"
    assert from_hf(fields) == config and from_hf(fields).name == name


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, blocks=c.blocks[::-1]),  # windows first on the odd layers
        lambda c: replace(c, tie_word_embeddings=True),
        lambda c: c.with_parts(attention=lambda a: replace(a, sliding_window=a.sliding_window and 5)),
        lambda c: c.with_parts(attention=lambda a: replace(a, sliding_window=None)),
        lambda c: c.with_parts(attention=lambda a: replace(a, rope=RoPEConfig(rope_theta=7.0))),
        lambda c: c.with_parts(
            attention=lambda a: replace(a, rope=RoPEConfig(rope_theta=7.0, scaling=PositionInterpolation(factor=3.0)))
        ),
    ],
)
def test_what_the_family_can_express_stays_in_its_file(change):
    config = change(lmlab.config("gpt-oss-20b"))
    fields = to_hf(config)
    assert fields["model_type"] == "gpt_oss"
    assert from_hf(fields) == config
    assert from_hf(AutoConfig.for_model(**fields).to_dict()) == config


def test_another_familys_card_refuses():
    with pytest.raises(ValueError, match="qwen3 cannot express this configuration"):
        CARDS["qwen3"].to_hf(lmlab.config("deepseek-v3"))
    assert isinstance(lmlab.config("deepseek-v3").blocks[0].attention.rope.scaling, YaRN)


def test_config_takes_a_name_a_path_a_folder_or_the_fields(tmp_path):
    expected = lmlab.config("gpt-oss-20b")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRESETS["gpt-oss-20b"]))
    for source in (path, str(path), tmp_path, str(tmp_path), PRESETS["gpt-oss-20b"]):
        assert lmlab.config(source) == expected
    assert lmlab.config(path).name == tmp_path.name
    with pytest.raises(ValueError, match=r"no preset is called 'gpt-os-20b'.*presets: gpt-oss-20b, "):
        lmlab.config("gpt-os-20b")
    with pytest.raises(FileNotFoundError):
        lmlab.config(tmp_path / "other.json")
    path.write_text("{")
    with pytest.raises(ValueError, match="config.json is not JSON"):
        lmlab.config(path)
