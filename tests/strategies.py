"""Random small configurations for property tests: parts of all families mixed in one model, sizes drawn apart."""

from hypothesis import strategies as st

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.parts.dual_chunk import DualChunkConfig
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mla import MLAConfig
from lmlab.parts.mlp import ClampedSwiGLU, MLPConfig, SwiGLU
from lmlab.parts.moe import MoEConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.rope import ABF, NTK, PositionInterpolation, RoPEConfig, YaRN
from lmlab.parts.router import (
    SigmoidGroupRouterConfig,
    SoftmaxGroupRouterConfig,
    SoftmaxTopKRouterConfig,
    TopKSoftmaxRouterConfig,
)

activations = st.sampled_from([SwiGLU(), ClampedSwiGLU(), ClampedSwiGLU(swiglu_limit=0.5)])
norms = st.builds(RMSNormConfig, eps=st.sampled_from([1e-6, 1e-5]), weight_in_float32=st.booleans())
evens = st.sampled_from([4, 6, 8])
factors = st.sampled_from([1.0, 2.0, 4.0])
temperatures = st.sampled_from([None, 0.707, 1.0])
ropes = st.builds(
    RoPEConfig,
    rope_theta=st.sampled_from([100.0, 1e4, 1e6]),
    interleaved=st.booleans(),
    scaling=st.none()
    | st.builds(PositionInterpolation, factor=factors)
    | st.builds(NTK, factor=factors)
    | st.builds(ABF, rope_theta=st.just(5e5))
    | st.builds(
        YaRN,
        factor=factors,
        original_max_position_embeddings=st.sampled_from([8, 16]),
        truncate=st.booleans(),
        mscale=temperatures,
        mscale_all_dim=temperatures,
    ),
)


@st.composite
def gqa_configs(draw) -> GQAConfig:
    kv_heads = draw(st.integers(1, 3))
    sizes = {
        "num_attention_heads": kv_heads * draw(st.integers(1, 3)),
        "num_key_value_heads": kv_heads,
        "head_dim": draw(evens),
        "rope": draw(ropes),
        "attention_bias": draw(st.booleans()),
        "qk_norm": draw(st.none() | norms),
    }
    if draw(st.integers(0, 3)) == 0:
        chunk_size = draw(st.integers(2, 9))
        local_size, original = draw(st.integers(0, chunk_size - 1)), draw(st.sampled_from([None, 5]))
        return DualChunkConfig(
            **sizes, chunk_size=chunk_size, local_size=local_size, original_max_position_embeddings=original
        )
    return GQAConfig(**sizes, sliding_window=draw(st.none() | st.integers(1, 9)), sinks=draw(st.booleans()))


mla_configs = st.builds(
    MLAConfig,
    num_attention_heads=st.integers(1, 4),
    kv_lora_rank=st.integers(3, 9),
    qk_nope_head_dim=st.integers(2, 7),
    qk_rope_head_dim=evens,
    v_head_dim=st.integers(2, 7),
    rope=ropes,
    q_lora_rank=st.none() | st.integers(2, 6),
    attention_bias=st.booleans(),
    latent_norm=norms,
)


@st.composite
def router_configs(draw):
    groups = draw(st.integers(1, 3))
    sizes = {"num_experts": groups * draw(st.integers(1, 3)), "temperature": draw(st.sampled_from([1.0, 0.5]))}
    topk_group = draw(st.integers(1, groups))
    eligible = topk_group * sizes["num_experts"] // groups
    sizes["num_experts_per_tok"] = draw(st.integers(1, eligible))
    kept = {"n_group": groups, "topk_group": topk_group}
    normalised = draw(st.booleans())
    return draw(
        st.sampled_from(
            [
                TopKSoftmaxRouterConfig(**sizes),
                SoftmaxTopKRouterConfig(**sizes, norm_topk_prob=normalised),
                SigmoidGroupRouterConfig(**sizes, **kept, norm_topk_prob=normalised),
                SoftmaxGroupRouterConfig(**sizes, **kept, routed_scaling_factor=1.5),
                SoftmaxGroupRouterConfig(**sizes),
            ]
        )
    )


feed_forwards = st.builds(
    MLPConfig, intermediate_size=st.integers(3, 9), activation=activations, bias=st.booleans()
) | st.builds(
    MoEConfig,
    router=router_configs(),
    moe_intermediate_size=st.integers(3, 9),
    activation=activations,
    bias=st.booleans(),
    num_shared_experts=st.integers(0, 2),
)
blocks = st.builds(BlockConfig, attention=gqa_configs() | mla_configs, mlp=feed_forwards, norm=norms)


def model_configs() -> st.SearchStrategy[ModelConfig]:
    """Models of one to three layers that no family has: any attention beside any feed-forward part."""
    return st.builds(
        ModelConfig,
        vocab_size=st.just(31),
        hidden_size=st.integers(5, 13),
        blocks=st.lists(blocks, min_size=1, max_size=3).map(tuple),
        norm=norms,
        tie_word_embeddings=st.booleans(),
        mtp=st.lists(blocks, max_size=1).map(tuple),
        max_position_embeddings=st.just(64),
    )
