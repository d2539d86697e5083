"""What the two forms of multi-head latent attention cost in one layer: arithmetic and bytes, counted and timed."""

from typing import TYPE_CHECKING

import torch
from torch.utils.benchmark import Timer

from lmlab.measure.flops import visible_pairs
from lmlab.parts.masks import attention_mask
from lmlab.parts.mla import MLAConfig, MultiHeadLatentAttention

if TYPE_CHECKING:
    import pandas as pd


def costs(attention: MLAConfig, queries: int, context: int, dtype: torch.dtype = torch.bfloat16) -> "pd.DataFrame":
    """`queries` new tokens of one row, after `context` cached ones. One row per way to compute the same attention:

    keys and values kept   nothing is expanded again, since every head's keys and values are in the cache
    expanded               latents are kept, and turned into every head's keys and values at each pass
    absorbed               latents are kept, and serve all heads as they are
    Columns: flops (scores, sums, and what expanding the context costs; the projections of the new tokens are the same
    in all three), cache_bytes (held, and read once a pass), flops_per_byte.
    """
    import pandas as pd

    if queries < 1 or context < 0:
        raise ValueError(f"queries={queries} must be 1 or more, and context={context} 0 or more")
    heads, rank, rope = attention.num_attention_heads, attention.kv_lora_rank, attention.qk_rope_head_dim
    width = attention.qk_head_dim + attention.v_head_dim
    pairs, keys = visible_pairs(queries, context), context + queries
    own = 2 * heads * pairs * width
    latents = keys * attention.cache_elements(1) * dtype.itemsize
    expand = 2 * heads * context * rank * (attention.qk_nope_head_dim + attention.v_head_dim)
    rows = {
        "keys and values kept": (own, keys * heads * width * dtype.itemsize),
        "expanded": (own + expand, latents),
        "absorbed": (2 * heads * pairs * (2 * rank + rope), latents),
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["flops", "cache_bytes"])
    return table.assign(flops_per_byte=table.flops / table.cache_bytes)


def seconds(module: MultiHeadLatentAttention, queries: list[int], context: int) -> "pd.DataFrame":
    """The same three ways timed on this machine, in seconds (medians), for one layer: one row per number of queries,
    after `context` cached tokens. The inputs are random: time does not depend on them."""
    import pandas as pd

    return pd.DataFrame.from_dict({n: _seconds(module, n, context) for n in queries}, orient="index")


@torch.inference_mode()
def _seconds(module: MultiHeadLatentAttention, queries: int, context: int) -> dict[str, float]:
    config, keys = module.config, context + queries
    heads, like = config.num_attention_heads, module.kv_b_proj.weight

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, dtype=like.dtype, device=like.device)

    q_nope = random(1, heads, queries, config.qk_nope_head_dim)
    q_rope = random(1, heads, queries, config.qk_rope_head_dim)
    latents = random(1, 1, keys, config.cache_elements(1))
    k, v = random(1, heads, keys, config.qk_head_dim), random(1, heads, keys, config.v_head_dim)
    columns = torch.arange(keys, device=like.device)
    mask = attention_mask(columns[context:], columns)
    ways = {
        "keys and values kept": lambda: module.core(torch.cat((q_nope, q_rope), dim=-1), k, v, mask),
        "expanded": lambda: module.expanded(q_nope, q_rope, latents, mask),
        "absorbed": lambda: module.absorbed(q_nope, q_rope, latents, mask),
    }
    times = (Timer("way()", globals={"way": way}).blocked_autorange(min_run_time=0.05) for way in ways.values())
    return {name: time.median for name, time in zip(ways, times, strict=True)}
