"""Every preset as a model small enough for a test: full-scale ones shrunk, each quirk kept, random weights."""

import torch

import lmlab
from lmlab.families import PRESETS, from_hf
from lmlab.model import LanguageModel
from tests import hf

# RoPE, norms, routers and whatever else is not named here stay as they are
SMALL = {
    "vocab_size": 97,
    "hidden_size": 36,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "intermediate_size": 52,
    "moe_intermediate_size": 20,
    "num_local_experts": 10,
    "num_experts": 10,
    "n_routed_experts": 16,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "q_lora_rank": 14,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "sliding_window": 11,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


def random_model(name: str, dtype=torch.float32) -> LanguageModel:
    """A preset's model, the full-scale ones shrunk to SMALL, with weights that are degenerate in nothing."""
    fields = PRESETS[name]
    if not name.startswith("mini"):
        fields = fields | {key: SMALL[key] for key in SMALL.keys() & fields.keys() if fields[key] is not None}
    model = lmlab.build(from_hf(fields, name), dtype=dtype).eval()
    hf.randomise(model)
    return model
