"""The five decisions in which the families differ, read off their configurations."""

from typing import TYPE_CHECKING

from lmlab.configuration import ModelConfig
from lmlab.measure.memory import released_format
from lmlab.parts.moe import MoEConfig

if TYPE_CHECKING:
    import pandas as pd


def decisions(configs: dict[str, ModelConfig]) -> "pd.DataFrame":
    """One row per decision, one column per model, in words."""
    import pandas as pd

    return pd.DataFrame({name: _decisions(config) for name, config in configs.items()})


def _decisions(config: ModelConfig) -> dict[str, str]:
    attention, mlp = config.blocks[0].attention, config.blocks[-1].mlp
    rope = attention.rope
    sliding = sum(getattr(block.attention, "sliding_window", None) is not None for block in config.blocks)
    slides = f"; {sliding} of {config.num_hidden_layers} layers slide" if sliding else ""
    scaling = f", {type(rope.scaling).__name__} x{rope.scaling.factor:g}" if rope.scaling else ""
    experts = "one MLP, no experts"
    if isinstance(mlp, MoEConfig):
        shared = f" and {mlp.num_shared_experts} shared" if mlp.num_shared_experts else ""
        how = type(mlp.router).__name__.removesuffix("RouterConfig")
        experts = f"{mlp.num_experts_per_tok} of {mlp.num_experts}{shared}, by {how}"
    stored = released_format(config)
    return {
        "1 what attention keeps": f"{attention.cache_elements(1):,} numbers a token and layer{slides}",
        "2 how position enters": f"RoPE, theta {rope.rope_theta:,.0f}{scaling}",
        "3 how experts are chosen": experts,
        "4 how far context stretches": f"{config.max_position_embeddings:,} tokens",
        "5 how weights are stored": stored if stored == "bf16" else stored.upper(),
    }
