"""Floating-point operations of a forward pass: two for each multiplication with its addition.

Matrix products and attention scores are counted; norms, activations, softmax and the embedding's look-up, below 1% in
full-scale models, are not.
"""

from collections import Counter
from math import prod
from typing import TYPE_CHECKING

from lmlab.configuration import AttentionConfig, BlockConfig, ModelConfig
from lmlab.measure.sizes import matrices, used
from lmlab.parts.mla import MLAConfig

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = ("projections", "scores", "dense mlp", "router", "experts", "shared experts", "head")


def flops(config: ModelConfig, tokens: int, context: int = 0, absorbed: bool | None = None) -> "pd.DataFrame":
    """FLOPs of reading `tokens` tokens in one row, after `context` tokens in the cache, by component (column flops).

    Decode at context S: tokens=1, context=S. Prefill: context=0. A query's scores count for the keys that it may see:
    those before it, in its window. The head reads every token. `absorbed` is for MLA: None does what the model does
    (absorbed for a short chunk on a cache), True or False force one form.
    """
    import pandas as pd

    counts = Counter()
    for block, layers in Counter(config.blocks).items():
        for component, n in _block(block, config.hidden_size, tokens, context, absorbed).items():
            counts[component] += layers * n
    counts["head"] = 2 * tokens * config.hidden_size * config.vocab_size
    rows = [{"component": c, "flops": counts[c]} for c in COMPONENTS if counts[c]]
    return pd.DataFrame(rows).set_index("component")


def total(config: ModelConfig, tokens: int, context: int = 0, absorbed: bool | None = None) -> int:
    return int(flops(config, tokens, context, absorbed)["flops"].sum())


def visible_pairs(tokens: int, context: int = 0, window: int | None = None) -> int:
    """How many (query, key) pairs causality and the window leave: query i sees min(context + i + 1, window) keys."""
    first, last = context + 1, context + tokens
    if window is None or last <= window:
        return (first + last) * tokens // 2
    growing = max(0, window - context)  # queries that still see the whole text
    return (first + context + growing) * growing // 2 + (tokens - growing) * window


def _block(block: BlockConfig, hidden_size: int, tokens: int, context: int, absorbed: bool | None) -> Counter:
    counts = Counter()
    for component, shape in matrices(block, hidden_size):
        multiplied = 2 * tokens * used(block, component, prod(shape))
        counts["projections" if component == "attention" else component] += multiplied
    scores, reexpanded = score_flops(block.attention, tokens, context, absorbed)
    return counts + Counter({"scores": scores, "projections": reexpanded})


def score_flops(
    attention: AttentionConfig, tokens: int, context: int = 0, absorbed: bool | None = None
) -> tuple[int, int]:
    """FLOPs of one layer's scores and weighted values; and, where MLA expands a cache, what its kv_b_proj costs beyond
    its use on this pass's own tokens."""
    if isinstance(attention, MLAConfig):
        if absorbed is None:
            absorbed = context > 0 and tokens <= attention.absorbed_up_to
        return _latent_scores(attention, tokens, context, absorbed)
    pairs = visible_pairs(tokens, context, attention.sliding_window)
    return 2 * pairs * attention.num_attention_heads * 2 * attention.head_dim, 0


def _latent_scores(attention: AttentionConfig, tokens: int, context: int, absorbed: bool) -> tuple[int, int]:
    heads, rank = attention.num_attention_heads, attention.kv_lora_rank
    pairs = visible_pairs(tokens, context)
    if absorbed:
        # kv_b_proj's two halves move to the query and the output: as much work as expanding this pass's tokens
        return 2 * pairs * heads * (2 * rank + attention.qk_rope_head_dim), 0
    expand = 2 * context * rank * heads * (attention.qk_nope_head_dim + attention.v_head_dim)
    return 2 * pairs * heads * (attention.qk_head_dim + attention.v_head_dim), expand
