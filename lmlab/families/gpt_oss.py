"""GPT-OSS, 20B and 120B: alternating sliding windows, learned sinks, clamped SwiGLU, every layer a mixture of experts.

Source: openai/gpt-oss `gpt_oss/torch/model.py`; model card arXiv:2508.10925; config.json of openai/gpt-oss-20b and
-120b.
"""

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.families.card import Card, Fields, read_rope, read_windows, write_rope
from lmlab.families.layouts import gpt_oss_experts
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mlp import ClampedSwiGLU
from lmlab.parts.moe import MoEConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.router import TopKSoftmaxRouterConfig


def read(fields: Fields) -> ModelConfig:
    alternating = [("sliding_attention", "full_attention")[i % 2] for i in range(fields["num_hidden_layers"])]
    windows = read_windows(fields, fields["sliding_window"], alternating)
    norm = RMSNormConfig(eps=fields["rms_norm_eps"], weight_in_float32=True)
    rope = read_rope(fields, default_theta=150000.0)
    mlp = MoEConfig(
        router=TopKSoftmaxRouterConfig(
            num_experts=fields["num_local_experts"], num_experts_per_tok=fields["num_experts_per_tok"]
        ),
        moe_intermediate_size=fields["intermediate_size"],  # in this family's file: per expert
        activation=ClampedSwiGLU(swiglu_alpha=fields["swiglu_alpha"], swiglu_limit=fields["swiglu_limit"]),
        bias=True,
    )

    def block(window: int | None) -> BlockConfig:
        attention = GQAConfig(
            num_attention_heads=fields["num_attention_heads"],
            num_key_value_heads=fields["num_key_value_heads"],
            head_dim=fields["head_dim"],
            rope=rope,  # the same YaRN in sliding and in full layers
            sliding_window=window,
            attention_bias=fields["attention_bias"],
            sinks=True,
        )
        return BlockConfig(attention=attention, mlp=mlp, norm=norm)

    return ModelConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        blocks=tuple(map(block, windows)),
        norm=norm,
        tie_word_embeddings=fields["tie_word_embeddings"],
        max_position_embeddings=fields["max_position_embeddings"],
        initializer_range=fields["initializer_range"],
    )


def write(config: ModelConfig) -> Fields:
    attention, mlp = config.blocks[0].attention, config.blocks[0].mlp
    rope = write_rope(attention.rope)
    if rope["rope_scaling"] is None:  # transformers takes an absent scaling for this family's YaRN
        rope["rope_scaling"] = {"rope_type": "default"}
    windows = [block.attention.sliding_window for block in config.blocks]
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": next((window for window in windows if window is not None), None),
        "num_attention_heads": attention.num_attention_heads,
        "num_key_value_heads": attention.num_key_value_heads,
        "head_dim": attention.head_dim,
        "attention_bias": attention.attention_bias,
        "num_local_experts": mlp.num_experts,
        "num_experts_per_tok": mlp.num_experts_per_tok,
        "intermediate_size": mlp.moe_intermediate_size,
        "hidden_act": "silu",  # so the vendor's file says, though the activation is another
        "swiglu_alpha": mlp.activation.swiglu_alpha,
        "swiglu_limit": mlp.activation.swiglu_limit,
        "rms_norm_eps": config.norm.eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": config.initializer_range,
        **rope,
    }


def _full_scale(num_hidden_layers: int, num_local_experts: int) -> Fields:
    return {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "num_hidden_layers": num_hidden_layers,
        "num_local_experts": num_local_experts,
        "num_experts_per_tok": 4,
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "head_dim": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * (num_hidden_layers // 2),
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "swiglu_limit": 7.0,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "initial_context_length": 4096,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
        "router_aux_loss_coef": 0.9,
        "eos_token_id": 200002,
        "pad_token_id": 199999,
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
        },
    }


MINIATURE = {
    "model_type": "gpt_oss",
    "num_hidden_layers": 4,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 128,
    "head_dim": 32,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "sliding_window": 32,
    "rope_theta": 10000,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}

CARD = Card(
    model_type="gpt_oss",
    architecture="GptOssForCausalLM",
    required=tuple(
        """
        num_hidden_layers num_local_experts num_experts_per_tok vocab_size hidden_size intermediate_size head_dim
        num_attention_heads num_key_value_heads sliding_window rms_norm_eps max_position_embeddings
        """.split()
    ),
    optional={
        "layer_types": None,
        "attention_bias": True,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        "tie_word_embeddings": False,
        "initializer_range": 0.02,
    },
    inert=("initial_context_length", "experts_per_token"),
    presets={
        "gpt-oss-20b": _full_scale(24, 32),
        "gpt-oss-120b": _full_scale(36, 128),
        "mini-gpt-oss": MINIATURE,
    },
    read=read,
    write=write,
    router_name="router",
    experts=gpt_oss_experts,
)
