"""What a model is made of, as frozen dataclasses: ModelConfig holds BlockConfigs, a BlockConfig holds the configs of
its parts.

The type of a part's config says which module it builds. Configurations are compared by what they build: the name and
the inert fields of a vendor's file do not count.
"""

from collections import Counter
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    import pandas as pd

AttentionConfig = GQAConfig | DualChunkConfig | MLAConfig
FeedForwardConfig = MLPConfig | MoEConfig


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    attention: AttentionConfig
    mlp: FeedForwardConfig
    norm: RMSNormConfig = RMSNormConfig()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """`blocks` one per layer; `mtp` one per multi-token-prediction module; `inert` the fields of a vendor's
    config.json that change nothing here, kept to be written back."""

    vocab_size: int
    hidden_size: int
    blocks: tuple[BlockConfig, ...]
    norm: RMSNormConfig = RMSNormConfig()
    tie_word_embeddings: bool = False
    mtp: tuple[BlockConfig, ...] = ()
    max_position_embeddings: int
    initializer_range: float = 0.02
    model_type: str = "lmlab"
    name: str = field(default="", compare=False)
    inert: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self):
        if not self.blocks:
            raise ValueError("a model needs at least one block: blocks is empty")

    @property
    def num_hidden_layers(self) -> int:
        return len(self.blocks)

    def with_parts(self, **parts: Any) -> "ModelConfig":
        """The same model with parts of every block replaced: attention, mlp or norm, each a config or a function from
        the old one to the new one. MTP blocks change with it.

        >>> config.with_parts(attention=lambda a: replace(a, sliding_window=None))
        """

        def change(block: BlockConfig) -> BlockConfig:
            new = {name: part(getattr(block, name)) if callable(part) else part for name, part in parts.items()}
            return replace(block, **new)

        return replace(self, blocks=tuple(map(change, self.blocks)), mtp=tuple(map(change, self.mtp)))


def as_gqa(config: ModelConfig, num_key_value_heads: int, sliding_window: int | None = None) -> ModelConfig:
    """The same model with grouped-query attention: this many key/value heads, and a window, where one is given, in
    every second layer from the first, as in GPT-OSS; without one, no layer slides. From MLA: heads as wide as its
    values, and no latent for the queries. MHA is as many key/value heads as there are query heads."""

    def gqa(old: AttentionConfig, window: int | None) -> GQAConfig:
        if isinstance(old, MLAConfig):
            old = GQAConfig(
                num_attention_heads=old.num_attention_heads,
                num_key_value_heads=old.num_attention_heads,
                head_dim=old.v_head_dim,
                rope=old.rope,
            )
        return replace(old, num_key_value_heads=num_key_value_heads, sliding_window=window)

    return replace(
        config,
        blocks=tuple(
            replace(block, attention=gqa(block.attention, None if i % 2 else sliding_window))
            for i, block in enumerate(config.blocks)
        ),
        mtp=tuple(replace(block, attention=gqa(block.attention, None)) for block in config.mtp),
    )


def as_mla(config: ModelConfig, kv_lora_rank: int, qk_rope_head_dim: int) -> ModelConfig:
    """The same model with multi-head latent attention. From GQA: every head keeps its width as the part without RoPE,
    and rotates `qk_rope_head_dim` dimensions beside it; windows, sinks and QK-Norm go, queries have no latent."""

    def mla(old: AttentionConfig) -> MLAConfig:
        if isinstance(old, MLAConfig):
            return replace(old, kv_lora_rank=kv_lora_rank, qk_rope_head_dim=qk_rope_head_dim)
        return MLAConfig(
            num_attention_heads=old.num_attention_heads,
            kv_lora_rank=kv_lora_rank,
            qk_nope_head_dim=old.head_dim,
            qk_rope_head_dim=qk_rope_head_dim,
            v_head_dim=old.head_dim,
            rope=old.rope,
            attention_bias=old.attention_bias,
        )

    return config.with_parts(attention=mla)


_CLASSES = {
    cls.__name__: cls
    for cls in (
        *(ModelConfig, BlockConfig, RMSNormConfig, RoPEConfig, PositionInterpolation, NTK, ABF, YaRN),
        *(GQAConfig, DualChunkConfig, MLAConfig, MLPConfig, MoEConfig, SwiGLU, ClampedSwiGLU),
        *(TopKSoftmaxRouterConfig, SoftmaxTopKRouterConfig, SigmoidGroupRouterConfig, SoftmaxGroupRouterConfig),
    )
}


def to_dict(config: Any) -> Any:
    """A configuration as plain JSON values; each part carries the name of its class as "type"."""
    if is_dataclass(config):
        return {"type": type(config).__name__} | {f.name: to_dict(getattr(config, f.name)) for f in fields(config)}
    if isinstance(config, tuple):
        return [to_dict(item) for item in config]
    return config


def from_dict(values: Any) -> Any:
    """The inverse of `to_dict`. ValueError for a type that is not one of lmlab's."""
    if isinstance(values, list):
        return tuple(from_dict(item) for item in values)
    if isinstance(values, dict) and "type" in values:
        if values["type"] not in _CLASSES:
            raise ValueError(f"unknown part {values['type']!r}: one of {', '.join(_CLASSES)} is expected")
        cls = _CLASSES[values["type"]]
        # `inert` holds a vendor's own JSON, which may have a "type" too: taken as it is
        return cls(**{k: v if k == "inert" else from_dict(v) for k, v in values.items() if k != "type"})
    return values


def flatten(part: Any, prefix: str = "") -> dict[str, Any]:
    """{"attention": "GQA", "attention.head_dim": 64, ...}: every field of a part by its path."""
    flat = {}
    for f in fields(part):
        value = getattr(part, f.name)
        path = prefix + f.name
        if is_dataclass(value):
            flat[path] = type(value).__name__.removesuffix("Config")
            flat |= flatten(value, path + ".")
        else:
            flat[path] = value
    return flat


def summary(config: ModelConfig) -> dict[str, Any]:
    """Every field of a model by its path, equal layers folded: the value on which all layers that have the field agree,
    or "128 (12 of 24 layers), None (12 of 24 layers)"."""
    top = flatten(replace(config, blocks=config.blocks[:1]))
    for path in ("blocks", "mtp", "inert", "name"):
        top.pop(path)
    top |= {"num_hidden_layers": config.num_hidden_layers, "mtp": len(config.mtp)}
    layers = [flatten(block) for block in config.blocks]
    for path in dict.fromkeys(path for layer in layers for path in layer):
        counts = Counter(layer[path] for layer in layers if path in layer)
        # where layers of two kinds alternate, each kind's own fields agree among themselves: the value says enough
        folded = ", ".join(f"{value} ({n} of {len(layers)} layers)" for value, n in counts.items())
        top[path] = next(iter(counts)) if len(counts) == 1 else folded
    return top


def diff(a: ModelConfig, b: ModelConfig) -> "pd.DataFrame":
    """What differs between two configurations: one row per field, one column per model; "" where a model has no such
    field."""
    import pandas as pd

    left, right = summary(a), summary(b)
    rows = {
        path: (left.get(path, ""), right.get(path, ""))
        for path in dict.fromkeys([*left, *right])
        if left.get(path, "") != right.get(path, "")
    }
    names = [a.name or "a", b.name or "b"]
    if names[0] == names[1]:
        names = [f"{names[0]} (a)", f"{names[1]} (b)"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("field").astype(object)
