"""DeepSeek-V3 and V3.1 (671B): latent attention, shared experts, sigmoid routing in groups, multi-token prediction.

Source: arXiv:2412.19437; deepseek-ai/DeepSeek-V3 `inference/model.py` and `inference/configs/*.json`; config.json of
deepseek-ai/DeepSeek-V3. V3.1 is the same network with FP8 scales in UE8M0 (`config_v3.1.json`).
"""

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.families.card import Card, Fields, read_rope, write_dense_width, write_rope
from lmlab.parts.mla import MLAConfig
from lmlab.parts.mlp import MLPConfig
from lmlab.parts.moe import MoEConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.router import SigmoidGroupRouterConfig, SoftmaxGroupRouterConfig

RouterConfig = SigmoidGroupRouterConfig | SoftmaxGroupRouterConfig


def model_of(fields: Fields, router: RouterConfig, mtp_layers: int = 0) -> ModelConfig:
    norm = RMSNormConfig(eps=fields["rms_norm_eps"])
    attention = MLAConfig(
        num_attention_heads=fields["num_attention_heads"],
        q_lora_rank=fields["q_lora_rank"] or None,  # the vendor writes 0 for none
        kv_lora_rank=fields["kv_lora_rank"],
        qk_nope_head_dim=fields["qk_nope_head_dim"],
        qk_rope_head_dim=fields["qk_rope_head_dim"],
        v_head_dim=fields["v_head_dim"],
        rope=read_rope(fields, default_theta=10000.0, interleaved=fields["rope_interleave"]),
        attention_bias=fields["attention_bias"],
    )
    sparse = MoEConfig(
        router=router,
        moe_intermediate_size=fields["moe_intermediate_size"],
        num_shared_experts=fields["n_shared_experts"],
    )
    dense = MLPConfig(intermediate_size=fields["intermediate_size"])

    def block(i: int) -> BlockConfig:
        mlp = dense if i < fields["first_k_dense_replace"] else sparse
        return BlockConfig(attention=attention, mlp=mlp, norm=norm)

    layers = fields["num_hidden_layers"]
    return ModelConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=fields["hidden_size"],
        blocks=tuple(block(i) for i in range(layers)),
        norm=norm,
        tie_word_embeddings=fields["tie_word_embeddings"],
        mtp=tuple(block(i) for i in range(layers, layers + mtp_layers)),
        max_position_embeddings=fields["max_position_embeddings"],
        initializer_range=fields["initializer_range"],
    )


def read(fields: Fields) -> ModelConfig:
    router = SigmoidGroupRouterConfig(
        num_experts=fields["n_routed_experts"],
        num_experts_per_tok=fields["num_experts_per_tok"],
        n_group=fields["n_group"],
        topk_group=fields["topk_group"],
        norm_topk_prob=fields["norm_topk_prob"],
        routed_scaling_factor=fields["routed_scaling_factor"],
    )
    nextn = fields["num_nextn_predict_layers"]
    # transformers 5 writes a second name for the same number
    return model_of(fields, router, mtp_layers=nextn if fields["num_mtp_layers"] is None else fields["num_mtp_layers"])


def fields_of(config: ModelConfig) -> Fields:
    attention = config.blocks[0].attention
    dense = sum(isinstance(block.mlp, MLPConfig) for block in config.blocks)
    sparse = next(block.mlp for block in (*config.blocks, *config.mtp) if isinstance(block.mlp, MoEConfig))
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "first_k_dense_replace": dense,
        **write_dense_width(config),
        "num_attention_heads": attention.num_attention_heads,
        "num_key_value_heads": attention.num_attention_heads,  # in this family's file: one per query head, expanded
        "q_lora_rank": attention.q_lora_rank,
        "kv_lora_rank": attention.kv_lora_rank,
        "qk_nope_head_dim": attention.qk_nope_head_dim,
        "qk_rope_head_dim": attention.qk_rope_head_dim,
        "v_head_dim": attention.v_head_dim,
        "attention_bias": attention.attention_bias,
        "n_routed_experts": sparse.num_experts,
        "n_shared_experts": sparse.num_shared_experts,
        "num_experts_per_tok": sparse.num_experts_per_tok,
        "moe_intermediate_size": sparse.moe_intermediate_size,
        "n_group": sparse.router.n_group,
        "topk_group": sparse.router.topk_group,
        "routed_scaling_factor": sparse.router.routed_scaling_factor,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm.eps,
        "tie_word_embeddings": config.tie_word_embeddings,
        "max_position_embeddings": config.max_position_embeddings,
        "initializer_range": config.initializer_range,
        **write_rope(attention.rope),
    }


def write(config: ModelConfig) -> Fields:
    fields = fields_of(config)
    router = next(block.mlp.router for block in (*config.blocks, *config.mtp) if isinstance(block.mlp, MoEConfig))
    return fields | {
        "norm_topk_prob": router.norm_topk_prob,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "moe_layer_freq": 1,
        "num_nextn_predict_layers": len(config.mtp),
        "rope_interleave": config.blocks[0].attention.rope.interleaved,
    }


YARN = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 4096}
ATTENTION = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}

DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "vocab_size": 129280,
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    **ATTENTION,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "num_nextn_predict_layers": 1,
    "moe_layer_freq": 1,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_theta": 10000,
    "rope_scaling": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0},
    "max_position_embeddings": 163840,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "quantization_config": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
    },
}
MINIATURE = {
    "model_type": "deepseek_v3",
    "vocab_size": 1024,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "first_k_dense_replace": 1,
    "intermediate_size": 384,
    "moe_intermediate_size": 128,
    "num_attention_heads": 8,
    "q_lora_rank": 96,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "num_nextn_predict_layers": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "max_position_embeddings": 256,
}

REQUIRED = tuple(
    """
    vocab_size hidden_size num_hidden_layers first_k_dense_replace intermediate_size moe_intermediate_size
    num_attention_heads q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim n_routed_experts
    n_shared_experts num_experts_per_tok rms_norm_eps max_position_embeddings
    """.split()
)
OPTIONAL = {
    "attention_bias": False,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "rope_interleave": True,
    "routed_scaling_factor": 1.0,
    "n_group": None,
    "topk_group": None,
}
INERT = ("num_key_value_heads", "aux_loss_alpha", "seq_aux", "ep_size")
DERIVED = ("head_dim", "qk_head_dim", "mlp_layer_types")

CARD = Card(
    model_type="deepseek_v3",
    architecture="DeepseekV3ForCausalLM",
    required=(*REQUIRED, "n_group", "topk_group"),
    optional=OPTIONAL
    | {"routed_scaling_factor": 2.5, "norm_topk_prob": True, "num_nextn_predict_layers": 0, "num_mtp_layers": None},
    fixed={"scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",), "moe_layer_freq": (1,)},
    inert=INERT,
    derived=(*DERIVED, "num_mtp_layers"),
    # V3.1 has other weights, scales and chat format, and the same configuration
    presets={"deepseek-v3": DEEPSEEK_V3, "deepseek-v3.1": DEEPSEEK_V3, "mini-deepseek-v3": MINIATURE},
    read=read,
    write=write,
)
