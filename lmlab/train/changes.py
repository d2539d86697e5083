"""One thing changed in a model: each change a function from the old configuration to a new one."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lmlab.configuration import FeedForwardConfig, ModelConfig, as_gqa, as_mla
from lmlab.model import build
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.mla import MLAConfig
from lmlab.parts.mlp import ClampedSwiGLU, MLPConfig, SwiGLU
from lmlab.parts.moe import MoEConfig
from lmlab.parts.norm import RMSNormConfig
from lmlab.parts.router import SigmoidGroupRouterConfig, SoftmaxTopKRouterConfig, TopKSoftmaxRouterConfig

RANK, ROPE_WIDTH, KV_HEADS, WINDOW = 64, 16, 2, 32  # those of the miniatures that have the part
EXPERTS, CHOSEN = 8, 2


@dataclass(frozen=True)
class Change:
    """`says` explains it in a sentence or two; `other_seed` is added to the seed of the changed run."""

    name: str
    says: str
    make: Callable[[ModelConfig], ModelConfig]
    other_seed: int = 0


def apply(config: ModelConfig, change: Change) -> ModelConfig:
    """The changed configuration, tried without memory. ValueError, with the reason, for one that makes no valid model
    or changes nothing."""
    try:
        new = change.make(config)
        with torch.inference_mode():
            build(new, device="meta")(torch.zeros(1, 4, dtype=torch.long, device="meta"))
    except Exception as error:
        raise ValueError(f"{change.name!r} makes no valid model of {config.name}: {error}") from error
    if new == config and not change.other_seed:
        raise ValueError(f"{change.name!r} changes nothing in {config.name}")
    return replace(new, name=f"{config.name}, {change.name}")


def changes(config: ModelConfig) -> dict[str, Change]:
    """Those that apply to a model, by name."""
    attention = config.blocks[0].attention
    found = [Change("nothing but the seed", "Same design, other random numbers: what chance alone does.", _same, 1)]
    if isinstance(attention, MLAConfig):
        found += [_GQA]
    if isinstance(attention, GQAConfig):
        found += [_MLA, *_attention(config)]
    sparse = next((block.mlp for block in config.blocks if isinstance(block.mlp, MoEConfig)), None)
    found += [_EXPERTS] if sparse is None else _experts(sparse)
    if config.mtp:
        says = "Training no longer predicts the token after the next one."
        found.append(Change("no multi-token prediction", says, lambda c: replace(c, mtp=())))
    return {change.name: change for change in found}


def _same(config: ModelConfig) -> ModelConfig:
    return config


_MLA = Change(
    "MLA in place of GQA",
    f"All heads read one latent of {RANK} numbers and one RoPE key of {ROPE_WIDTH}; windows, sinks and QK-Norm go.",
    lambda config: as_mla(config, RANK, ROPE_WIDTH),
)
_GQA = Change(
    "GQA in place of MLA",
    f"{KV_HEADS} key/value heads for all query heads; each rotates whole.",
    lambda config: as_gqa(config, KV_HEADS),
)


def _attention(config: ModelConfig) -> list[Change]:
    """Changes of grouped-query attention."""
    attention = config.blocks[0].attention
    heads, kv_heads = attention.num_attention_heads, attention.num_key_value_heads
    window = next((block.attention.sliding_window for block in config.blocks if block.attention.sliding_window), None)
    found = []
    if kv_heads < heads:
        says = f"Each of the {heads} query heads has a key and a value of its own, not one for {heads // kv_heads}."
        found.append(Change("MHA in place of GQA", says, _changed(num_key_value_heads=heads)))
    if kv_heads > 1:
        says = f"One key/value head for all {heads} query heads, where there were {kv_heads}."
        found.append(Change("one key/value head", says, _changed(num_key_value_heads=1)))
    if attention.qk_norm:
        found.append(Change("no QK-Norm", "Queries and keys keep their length.", _changed(qk_norm=None)))
    else:
        says = "Queries and keys are normed, head by head, before RoPE."
        found.append(Change("QK-Norm", says, lambda c: _changed(qk_norm=RMSNormConfig(eps=c.norm.eps))(c)))
    if window:
        says = f"Every layer sees the whole text, also those that saw {window} tokens."
        found.append(Change("no window", says, _changed(sliding_window=None)))
    else:
        says = f"Every second layer sees the last {WINDOW} tokens only."
        found.append(Change("windows", says, lambda c: as_gqa(c, kv_heads, WINDOW)))
    if attention.sinks:
        found.append(Change("no sinks", "Each head's weights sum to one again.", _changed(sinks=False)))
    else:
        says = "Each head has a learned logit that takes weight and gives nothing."
        found.append(Change("sinks", says, _changed(sinks=True)))
    return found


def _changed(**fields) -> Callable[[ModelConfig], ModelConfig]:
    return lambda config: config.with_parts(attention=lambda attention: replace(attention, **fields))


def _sparse(make: Callable[[MoEConfig], FeedForwardConfig]) -> Callable[[ModelConfig], ModelConfig]:
    """The change of every mixture of experts; dense layers stay."""
    return lambda config: config.with_parts(mlp=lambda mlp: make(mlp) if isinstance(mlp, MoEConfig) else mlp)


def _routers(moe: MoEConfig) -> dict[str, tuple[str, object]]:
    """Each family's router, for as many experts: name -> (what it does, its configuration)."""
    size = {"num_experts": moe.num_experts, "num_experts_per_tok": moe.num_experts_per_tok}
    groups = {"n_group": moe.num_experts // 2, "topk_group": max(1, moe.num_experts // 4)}
    return {
        "GPT-OSS's router": ("Choose by logits, then a softmax over the chosen.", TopKSoftmaxRouterConfig(**size)),
        "Qwen3's router": ("A softmax over all, then the choice.", SoftmaxTopKRouterConfig(**size)),
        "DeepSeek's router": (
            "Sigmoids, groups, and a bias that balances in place of a loss.",
            SigmoidGroupRouterConfig(**size, **groups),
        ),
    }


def _experts(moe: MoEConfig) -> list[Change]:
    """Changes of a mixture of experts."""
    found = [
        Change(name, says, _sparse(lambda old, router=router: replace(old, router=router)))
        for name, (says, router) in _routers(moe).items()
        if type(router) is not type(moe.router)
    ]
    if moe.num_shared_experts:
        says = "The expert that reads every token goes."
        found.append(Change("no shared expert", says, _sparse(lambda old: replace(old, num_shared_experts=0))))
    else:
        says = "One more expert reads every token, unweighted."
        found.append(Change("a shared expert", says, _sparse(lambda old: replace(old, num_shared_experts=1))))
    if isinstance(moe.activation, ClampedSwiGLU):
        says = "silu(gate) * up, without clamp and without the + 1."
        found.append(Change("plain SwiGLU", says, _sparse(lambda old: replace(old, activation=SwiGLU()))))
    says = "One MLP as wide as the experts that a token uses: as much arithmetic, fewer parameters."
    return [*found, Change("dense in place of experts", says, _sparse(_dense))]


def _dense(moe: MoEConfig) -> MLPConfig:
    width = (moe.num_experts_per_tok + moe.num_shared_experts) * moe.moe_intermediate_size
    return MLPConfig(intermediate_size=width, activation=moe.activation, bias=moe.bias)


def _split(mlp: MLPConfig) -> MoEConfig:
    router = SoftmaxTopKRouterConfig(num_experts=EXPERTS, num_experts_per_tok=CHOSEN)
    return MoEConfig(router=router, moe_intermediate_size=mlp.intermediate_size // EXPERTS, activation=mlp.activation)


_EXPERTS = Change(
    "experts in place of the dense MLP",
    f"The MLP is cut into {EXPERTS} experts, of which a token uses {CHOSEN}: as many parameters, less of them at work.",
    lambda config: config.with_parts(mlp=_split),
)
