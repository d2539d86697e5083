"""Qwen3, dense (0.6B to 32B) and mixture of experts (30B-A3B, 235B-A22B): QK-Norm, no biases, no sliding window.

Source: arXiv:2505.09388, section 2 and tables 1 and 2; the released config.json files, as transcribed with their
addresses in Lightning-AI/litgpt `litgpt/config.py`.
"""

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.families.card import Card, Fields, read_rope, read_windows, write_dense_width, write_rope
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.moe import MoEConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.router import SoftmaxTopKRouterConfig


def _attention(fields: Fields, sliding_window: int | None) -> GQAConfig:
    return GQAConfig(
        num_attention_heads=fields["num_attention_heads"],
        num_key_value_heads=fields["num_key_value_heads"],
        head_dim=fields["head_dim"],
        rope=read_rope(fields, default_theta=10000.0),
        sliding_window=sliding_window,
        attention_bias=fields["attention_bias"],
        qk_norm=RMSNormConfig(eps=fields["rms_norm_eps"]),
    )


def _model(fields: Fields, blocks: tuple[BlockConfig, ...]) -> ModelConfig:
    return ModelConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        blocks=blocks,
        norm=RMSNormConfig(eps=fields["rms_norm_eps"]),
        tie_word_embeddings=fields["tie_word_embeddings"],
        max_position_embeddings=fields["max_position_embeddings"],
        initializer_range=fields["initializer_range"],
    )


def read_dense(fields: Fields) -> ModelConfig:
    window = fields["sliding_window"] if fields["use_sliding_window"] else None
    default = [
        "sliding_attention" if window is not None and i >= fields["max_window_layers"] else "full_attention"
        for i in range(fields["num_hidden_layers"])
    ]
    windows = read_windows(fields, window, default)
    mlp, norm = MLPConfig(intermediate_size=fields["intermediate_size"]), RMSNormConfig(eps=fields["rms_norm_eps"])
    return _model(fields, tuple(BlockConfig(attention=_attention(fields, w), mlp=mlp, norm=norm) for w in windows))


def read_moe(fields: Fields) -> ModelConfig:
    norm, attention = RMSNormConfig(eps=fields["rms_norm_eps"]), _attention(fields, None)
    num_experts = fields["num_experts"] or fields["num_local_experts"]  # transformers 5 writes the second name
    if not num_experts:
        raise ValueError("qwen3_moe config: missing num_experts")
    router = SoftmaxTopKRouterConfig(
        num_experts=num_experts,
        num_experts_per_tok=fields["num_experts_per_tok"],
        norm_topk_prob=fields["norm_topk_prob"],
    )
    sparse = MoEConfig(router=router, moe_intermediate_size=fields["moe_intermediate_size"])
    dense = MLPConfig(intermediate_size=fields["intermediate_size"])

    def mlp(i: int) -> MoEConfig | MLPConfig:
        is_sparse = i not in fields["mlp_only_layers"] and (i + 1) % fields["decoder_sparse_step"] == 0
        return sparse if is_sparse else dense

    layers = range(fields["num_hidden_layers"])
    return _model(fields, tuple(BlockConfig(attention=attention, mlp=mlp(i), norm=norm) for i in layers))


def _write(config: ModelConfig) -> Fields:
    attention = config.blocks[0].attention
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": attention.num_attention_heads,
        "num_key_value_heads": attention.num_key_value_heads,
        "head_dim": attention.head_dim,
        "attention_bias": attention.attention_bias,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": config.initializer_range,
        **write_rope(attention.rope),
    }


def write_dense(config: ModelConfig) -> Fields:
    windows = [block.attention.sliding_window for block in config.blocks]
    window = next((w for w in windows if w is not None), None)
    fields = {
        "intermediate_size": config.blocks[0].mlp.intermediate_size,
        "use_sliding_window": window is not None,
        "sliding_window": window,
    }
    if window is not None:
        fields["layer_types"] = ["full_attention" if w is None else "sliding_attention" for w in windows]
    return _write(config) | fields


def write_moe(config: ModelConfig) -> Fields:
    blocks = config.blocks
    sparse = next(block.mlp for block in blocks if isinstance(block.mlp, MoEConfig))
    dense = [i for i, block in enumerate(blocks) if isinstance(block.mlp, MLPConfig)]
    return _write(config) | {
        **write_dense_width(config),
        "num_experts": sparse.num_experts,
        "num_experts_per_tok": sparse.num_experts_per_tok,
        "moe_intermediate_size": sparse.moe_intermediate_size,
        "norm_topk_prob": sparse.router.norm_topk_prob,
        "decoder_sparse_step": 1,
        "mlp_only_layers": dense,
        "use_sliding_window": False,
    }


def _full_scale(model_type: str, **sizes) -> Fields:
    return {
        "architectures": ["Qwen3ForCausalLM" if model_type == "qwen3" else "Qwen3MoeForCausalLM"],
        "model_type": model_type,
        "vocab_size": 151936,
        "head_dim": 128,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000,
        "rope_scaling": None,
        "sliding_window": None,
        "use_sliding_window": False,
        "max_window_layers": sizes["num_hidden_layers"],
        "max_position_embeddings": 40960,
        "initializer_range": 0.02,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
    } | sizes


def _dense(layers: int, hidden: int, intermediate: int, heads: int, tie: bool) -> Fields:
    return _full_scale(
        "qwen3",
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=8,
        tie_word_embeddings=tie,
    )


def _moe(layers: int, hidden: int, heads: int, moe_intermediate: int, intermediate: int) -> Fields:
    return _full_scale(
        "qwen3_moe",
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_attention_heads=heads,
        num_key_value_heads=4,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=moe_intermediate,
        norm_topk_prob=True,  # the transformers class says False unless told
        decoder_sparse_step=1,
        mlp_only_layers=[],
        router_aux_loss_coef=0.001,
        tie_word_embeddings=False,
    )


_MINIATURE = {
    "num_hidden_layers": 4,
    "vocab_size": 1024,
    "hidden_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "max_position_embeddings": 256,
}
MINIATURE = _MINIATURE | {"model_type": "qwen3", "intermediate_size": 1024, "tie_word_embeddings": True}
MINIATURE_MOE = _MINIATURE | {
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 128,
    "intermediate_size": 384,
    "norm_topk_prob": True,
}

_REQUIRED = tuple(
    """
    vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads rms_norm_eps
    max_position_embeddings intermediate_size
    """.split()
)
_OPTIONAL = {"head_dim": 128, "attention_bias": False, "tie_word_embeddings": False, "initializer_range": 0.02}
# a dense model's file names the window even where none is used
_WINDOW = {"use_sliding_window": False, "sliding_window": None, "max_window_layers": 28, "layer_types": None}
_EXPERTS = {
    "num_experts": None,
    "num_local_experts": None,
    "norm_topk_prob": False,
    "decoder_sparse_step": 1,
    "mlp_only_layers": (),
}

CARD = Card(
    model_type="qwen3",
    architecture="Qwen3ForCausalLM",
    required=_REQUIRED,
    optional=_OPTIONAL | _WINDOW,
    derived=("layer_types",),
    presets={
        "qwen3-0.6b": _dense(28, 1024, 3072, 16, tie=True),
        "qwen3-1.7b": _dense(28, 2048, 6144, 16, tie=True),
        "qwen3-4b": _dense(36, 2560, 9728, 32, tie=True),
        "qwen3-8b": _dense(36, 4096, 12288, 32, tie=False),
        "qwen3-14b": _dense(40, 5120, 17408, 40, tie=False),
        "qwen3-32b": _dense(64, 5120, 25600, 64, tie=False),
        "mini-qwen3": MINIATURE,
    },
    read=read_dense,
    write=write_dense,
)
CARD_MOE = Card(
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    required=(*_REQUIRED, "num_experts_per_tok", "moe_intermediate_size"),
    optional=_OPTIONAL | _EXPERTS,
    fixed={"use_sliding_window": (False,)},
    inert=("sliding_window", "max_window_layers"),
    derived=("layer_types", "num_local_experts"),
    presets={
        "qwen3-30b-a3b": _moe(48, 2048, 32, 768, 6144),
        "qwen3-235b-a22b": _moe(94, 4096, 64, 1536, 12288),
        "mini-qwen3-moe": MINIATURE_MOE,
    },
    read=read_moe,
    write=write_moe,
)
