"""Small random transformers models that are degenerate in nothing: norms are not 1, biases and sinks not 0.

Every dimension is a different number, so that no transposition can hide.
"""

import json
import logging

import torch
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from lmlab.checkpoints import layouts
from lmlab.configuration import ModelConfig
from lmlab.families import from_hf
from lmlab.model import LanguageModel, build

logging.getLogger("transformers").setLevel(logging.ERROR)

VOCABULARY = 97
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 36,
    "num_attention_heads": 6,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
GQA = COMMON | {"num_key_value_heads": 3, "head_dim": 8, "num_hidden_layers": 3}
DEEPSEEK = COMMON | {
    "num_key_value_heads": 6,
    "num_hidden_layers": 4,
    "intermediate_size": 52,
    "moe_intermediate_size": 20,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 16,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 16}
SIGMOID = {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 2, "q_lora_rank": 14, "num_mtp_layers": 0}


def rope(theta: float, **scaling) -> dict:
    return {"rope_parameters": {"rope_theta": theta, "rope_type": "default"} | scaling}


V2_YARN = rope(100.0, mscale=0.707, mscale_all_dim=0.707, **YARN)


def _deepseek_v2(topk_method: str, **fields) -> tuple[type[PreTrainedModel], DeepseekV2Config]:
    grouped = topk_method == "group_limited_greedy"
    groups = {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 0} if grouped else {"first_k_dense_replace": 1}
    return DeepseekV2ForCausalLM, DeepseekV2Config(**DEEPSEEK, **groups, topk_method=topk_method, **fields)


# tiny constants: short texts run past the window of 11 and far past YaRN's original length of 16
TINY = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**GQA, intermediate_size=52, **rope(100.0, **YARN))),
    "qwen3-tied": (
        Qwen3ForCausalLM,
        Qwen3Config(**GQA, intermediate_size=52, tie_word_embeddings=True, attention_bias=True, **rope(1e6)),
    ),
    "qwen3-sliding": (
        Qwen3ForCausalLM,
        Qwen3Config(
            **GQA, intermediate_size=52, use_sliding_window=True, sliding_window=7, max_window_layers=1, **rope(1e4)
        ),
    ),
    "qwen3-moe": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(
            **GQA,
            intermediate_size=52,
            moe_intermediate_size=20,
            num_experts=10,
            num_experts_per_tok=4,
            norm_topk_prob=True,
            mlp_only_layers=[1],
            **rope(1e6, rope_type="linear", factor=3.0),
        ),
    ),
    "qwen3-moe-unnormalised": (
        Qwen3MoeForCausalLM,
        Qwen3MoeConfig(
            **GQA, intermediate_size=52, moe_intermediate_size=20, num_experts=10, num_experts_per_tok=4, **rope(100.0)
        ),
    ),
    "gpt-oss": (
        GptOssForCausalLM,
        GptOssConfig(
            **GQA,
            intermediate_size=20,
            num_local_experts=10,
            num_experts_per_tok=4,
            sliding_window=11,
            swiglu_limit=0.7,  # low, so that the clamp is felt
            **rope(100.0, truncate=False, **YARN),
        ),
    ),
    "deepseek-v3": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config(**DEEPSEEK, **SIGMOID, **rope(100.0, mscale=1.0, mscale_all_dim=1.0, **YARN)),
    ),
    "deepseek-v3-half-split": (
        DeepseekV3ForCausalLM,
        DeepseekV3Config(
            **DEEPSEEK, **(SIGMOID | {"q_lora_rank": None}), attention_bias=True, rope_interleave=False, **rope(1e4)
        ),
    ),
    "deepseek-v2": _deepseek_v2("greedy", q_lora_rank=None, **V2_YARN),
    "deepseek-v2-query-latent": _deepseek_v2("greedy", q_lora_rank=14, **rope(1e4)),
    "deepseek-v2-groups": _deepseek_v2("group_limited_greedy", q_lora_rank=14, routed_scaling_factor=16.0, **rope(1e4)),
    "deepseek-v2-groups-direct": _deepseek_v2("group_limited_greedy", q_lora_rank=None, **V2_YARN),
}


def random_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A model of TINY in eval mode, its weights replaced by random ones of a size that keeps activations near 1."""
    model_class, config = TINY[name]
    model = model_class(config).eval()
    model.set_attn_implementation("eager")
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    corrections = [(name, buffer) for name, buffer in model.named_buffers() if "correction" in name]
    for name, tensor in [*model.named_parameters(), *corrections]:
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            tensor.copy_(1 + 0.3 * noise)
        elif "correction" in name:
            tensor.copy_(0.3 * noise - 0.4)  # mostly negative: scores with it are negative too
        elif tensor.ndim == 1 or "bias" in name:
            tensor.copy_(0.3 * noise)
        else:
            tensor.copy_(1.2 * noise / tensor.shape[-1] ** 0.5)


def ids(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    # without the mask, generate and forward would take ids that equal the padding id for padding
    return model(tokens, attention_mask=torch.ones_like(tokens)).logits


def config_of(theirs: PreTrainedModel) -> ModelConfig:
    """What lmlab reads in the config.json that transformers would write, every default spelt out."""
    return from_hf(json.loads(theirs.config.to_json_string(use_diff=False)))


def convert(theirs: PreTrainedModel, *mtp_layers: torch.nn.Module) -> LanguageModel:
    """lmlab's model with the same weights, found by the mapping that checkpoints are read by.

    `mtp_layers`: MtpLayers of transformers, which live beside its models and not in them.
    """
    config, state = config_of(theirs), theirs.state_dict()
    for k, layer in enumerate(mtp_layers):
        for name, tensor in layer.state_dict().items():
            name = name.removeprefix("mtp_block.").replace("post_norm.", "shared_head.norm.")
            state[f"model.layers.{config.num_hidden_layers + k}.{name}"] = tensor
    ours = build(config, dtype=theirs.dtype).eval()
    converted = {}
    for name, tensor in ours.state_dict().items():
        choices = layouts(name, config, config.model_type)
        layout = next(choice for choice in choices if state.keys() >= choice.files(tuple(tensor.shape)).keys())
        converted[name] = layout.read(state.__getitem__, tuple(tensor.shape), tensor.dtype)
    ours.load_state_dict(converted)
    return ours
