"""DeepSeek-V2-Lite (16B), one more point of latent attention: no latent for the queries, a softmax router without
groups.

Source: arXiv:2405.04434; deepseek-ai/DeepSeek-V3 `inference/configs/config_16B.json`; config.json of
deepseek-ai/DeepSeek-V2-Lite.
"""

from lmlab.configuration import ModelConfig
from lmlab.families.card import Card, Fields
from lmlab.families.deepseek_v3 import ATTENTION, DERIVED, INERT, OPTIONAL, REQUIRED, YARN, fields_of, model_of
from lmlab.parts.router import SoftmaxGroupRouterConfig


def read(fields: Fields) -> ModelConfig:
    grouped = fields["topk_method"] == "group_limited_greedy"
    if grouped and not (fields["n_group"] and fields["topk_group"]):
        raise ValueError("deepseek_v2 config: missing n_group or topk_group, which group_limited_greedy needs")
    router = SoftmaxGroupRouterConfig(
        num_experts=fields["n_routed_experts"],
        num_experts_per_tok=fields["num_experts_per_tok"],
        n_group=fields["n_group"] if grouped else None,
        topk_group=fields["topk_group"] if grouped else None,
        routed_scaling_factor=fields["routed_scaling_factor"],
    )
    return model_of(fields, router)


def write(config: ModelConfig) -> Fields:
    fields = fields_of(config)
    method = "greedy" if fields["n_group"] is None else "group_limited_greedy"
    # the released file says 1 and 1 where there are no groups; both mean the same
    groups = {key: fields[key] or 1 for key in ("n_group", "topk_group")}
    return (
        fields
        | groups
        | {
            "norm_topk_prob": False,
            "scoring_func": "softmax",
            "topk_method": method,
            "moe_layer_freq": 1,
        }
    )


DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "vocab_size": 102400,
    "hidden_size": 2048,
    "num_hidden_layers": 27,
    "first_k_dense_replace": 1,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    **ATTENTION,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "topk_method": "greedy",
    "norm_topk_prob": False,
    "moe_layer_freq": 1,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_theta": 10000,
    "rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
    "max_position_embeddings": 163840,
    "initializer_range": 0.02,
}

CARD = Card(
    model_type="deepseek_v2",
    architecture="DeepseekV2ForCausalLM",
    required=REQUIRED,
    optional=OPTIONAL | {"topk_method": "greedy"},
    fixed={
        "topk_method": ("greedy", "group_limited_greedy"),
        "scoring_func": ("softmax",),
        "norm_topk_prob": (False, None),
        "moe_layer_freq": (1,),
        "mlp_bias": (False,),
    },
    inert=INERT,
    derived=DERIVED,
    presets={"deepseek-v2-lite": DEEPSEEK_V2_LITE},
    read=read,
    write=write,
)
