"""What the two forms of multi-head latent attention cost: arithmetic against bytes, for one layer."""

from typing import TYPE_CHECKING

import torch

from lmlab.measure.flops import visible_pairs
from lmlab.parts.mla import MLAConfig

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
