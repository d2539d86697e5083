"""What stands behind a part of a model: where its code is written, and the vendor's facts with their sources."""

import inspect
from functools import cache

from lmlab import facts
from lmlab.measure.anatomy import Node
from lmlab.measure.architecture import role
from lmlab.model import LanguageModel
from lmlab.paths import where

FIRST_LINES = 12
_EXPERTS = "num_local_experts num_experts n_routed_experts num_experts_per_tok"
_WIDTH = "moe_intermediate_size"
# the last name of a part -> the fields of facts.csv that it follows from
FIELDS = {
    "model": "total_parameters total_parameters_published active_parameters active_parameters_published "
    "num_hidden_layers hidden_size max_position_embeddings context_length_published quantization_config.quant_method",
    "embed_tokens": "vocab_size tokenizer_vocabulary hidden_size tie_word_embeddings",
    "repeat": "num_hidden_layers layer_types sliding_window sliding_window_pattern",
    "block": "num_hidden_layers first_k_dense_replace decoder_sparse_step hidden_size",
    "self_attn": "num_attention_heads num_key_value_heads head_dim sliding_window q_lora_rank kv_lora_rank "
    "qk_nope_head_dim qk_rope_head_dim v_head_dim cache_values_per_token_and_layer",
    "q_proj": "hidden_size num_attention_heads head_dim qk_nope_head_dim qk_rope_head_dim attention_bias",
    "k_proj": "hidden_size num_key_value_heads head_dim attention_bias",
    "v_proj": "hidden_size num_key_value_heads head_dim attention_bias",
    "o_proj": "num_attention_heads head_dim v_head_dim hidden_size attention_bias",
    "q_a_proj": "hidden_size q_lora_rank",
    "q_a_layernorm": "q_lora_rank",
    "q_b_proj": "q_lora_rank num_attention_heads qk_nope_head_dim qk_rope_head_dim",
    "kv_a_proj_with_mqa": "hidden_size kv_lora_rank qk_rope_head_dim cache_values_per_token_and_layer",
    "kv_a_layernorm": "kv_lora_rank",
    "kv_b_proj": "kv_lora_rank num_attention_heads qk_nope_head_dim v_head_dim",
    "q_norm": "head_dim rms_norm_eps",
    "k_norm": "head_dim rms_norm_eps",
    "rope": "rope_theta rope_scaling rope_scaling.type rope_scaling.rope_type rope_scaling.factor "
    "rope_scaling.original_max_position_embeddings rope_scaling.truncate rope_scaling.mscale_all_dim "
    "yarn.factor_recommended",
    "core": "softmax_scale sliding_window yarn.logit_factor",
    "sinks": "attention_sinks num_attention_heads",
    "mlp": f"{_EXPERTS} n_shared_experts num_shared_experts {_WIDTH} intermediate_size first_k_dense_replace",
    "router": f"{_EXPERTS} scoring_func topk_method n_group topk_group norm_topk_prob routed_scaling_factor routing "
    "balancing balancing.bias_update_speed balancing.sequence_wise_alpha",
    "experts": f"{_EXPERTS} {_WIDTH} swiglu_limit swiglu_alpha swiglu experts expert_parameters",
    "e_score_correction_bias": "n_routed_experts topk_method router_bias_buffers",
    "shared_experts": f"n_shared_experts {_WIDTH}",
    "lm_head": "vocab_size hidden_size tie_word_embeddings",
    "mtp": "num_nextn_predict_layers mtp_parameters mtp.depth mtp.acceptance",
    "eh_proj": "mtp_projection_and_norms_parameters",
}
_NORM = "rms_norm_eps hidden_size norm_placement"
_FAMILIES = {"gpt-oss": "gpt-oss", "qwen3": "qwen3", "deepseek": "deepseek-v3"}  # facts of all sizes stand here


def vendor_facts(model: str, path: str) -> list[dict[str, str]]:
    """The rows of facts.csv behind a part of a released model: field, value, unit, source, locator, status; none for a
    model that no vendor released."""
    own = _facts(model)
    if not own:
        return []
    family = next((name for start, name in _FAMILIES.items() if model.startswith(start)), model)
    names = role(path).split(".")
    is_norm = "norm" in names[-1] and names[-1] not in FIELDS
    wanted = (_NORM if is_norm else next((FIELDS[name] for name in reversed(names) if name in FIELDS), "")).split()
    if "experts" in names and _WIDTH not in own:
        wanted.append("intermediate_size")  # GPT-OSS's own name for the width of an expert
    both = _facts(family) | own
    return [both[field] for field in dict.fromkeys(wanted) if field in both]


@cache
def _facts(model: str) -> dict[str, dict[str, str]]:
    return {row["field"]: row for row in facts.table(model).to_dict("records")}


def source(node: Node, parent: Node | None) -> tuple[str, str]:
    """(place, first lines) of the code of a part: its class; or, of a tensor or one of PyTorch's modules, the lines
    that make it in its parent's class."""
    if node.thing is not None and node.thing.__module__.startswith("lmlab."):
        lines, _ = _lines(node.thing)
        return where(node.thing), "".join(lines[:FIRST_LINES]).rstrip()
    name = {"repeat": "layers"}.get(role(node.path), node.path.rpartition(".")[2])
    return _made(parent.thing if parent and parent.thing else LanguageModel, name)


@cache
def _lines(thing: type) -> tuple[list[str], int]:
    return inspect.getsourcelines(thing)


@cache
def _made(thing: type, name: str) -> tuple[str, str]:
    """Where a class, or one that it inherits from, makes what it calls `name`."""
    for owner in (one for one in thing.__mro__ if one.__module__.startswith("lmlab.")):
        lines, first = _lines(owner)
        for i, line in enumerate(lines):
            if f"self.{name} =" in line or f'register_buffer("{name}"' in line:
                file = where(owner).partition(",")[0]
                whole = line.count("(") == line.count(")")
                return f"{file}, line {first + i}", "".join(lines[i : i + 1 if whole else i + 4]).rstrip()
    raise ValueError(f"{thing.__name__} makes no {name}")
