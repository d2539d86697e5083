"""Three calculators of the cache as one finds them, each missing one thing, and one that misses none.

All take a tensor of numbers in the order of FIELDS (rank is 0 where there is no latent) and return bytes in bf16.
"""

from types import SimpleNamespace

from lmlab.configuration import ModelConfig
from lmlab.parts.mla import MLAConfig

FIELDS = "layers sliding window hidden_size heads kv_heads head_dim rank rope_width tokens".split()


def calculator_a(values):
    m = named(values)
    if m.rank:
        return m.layers * (m.rank + m.rope_width) * m.tokens * 2
    per_token = 2 * m.kv_heads * (m.hidden_size // m.heads)
    return ((m.layers - m.sliding) * m.tokens + m.sliding * min(m.tokens, m.window)) * per_token * 2


def calculator_b(values):
    m = named(values)
    per_token = m.rank or 2 * m.kv_heads * m.head_dim
    return ((m.layers - m.sliding) * m.tokens + m.sliding * min(m.tokens, m.window)) * per_token * 2


def calculator_c(values):
    m = named(values)
    per_token = m.rank + m.rope_width if m.rank else 2 * m.kv_heads * m.head_dim
    return m.layers * m.tokens * per_token * 2


def calculator_d(values):
    m = named(values)
    per_token = m.rank + m.rope_width if m.rank else 2 * m.kv_heads * m.head_dim
    return ((m.layers - m.sliding) * m.tokens + m.sliding * min(m.tokens, m.window)) * per_token * 2


def named(values) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(FIELDS, values.tolist(), strict=True)))


CALCULATORS = {"A": calculator_a, "B": calculator_b, "C": calculator_c, "D": calculator_d}


def fields_of(config: ModelConfig, tokens: int) -> list[int]:
    """A model and a length of text as the calculators take them."""
    attention = config.blocks[0].attention
    windows = [getattr(block.attention, "sliding_window", None) for block in config.blocks]
    latent = isinstance(attention, MLAConfig)
    return [
        *(len(windows), len([one for one in windows if one]), next((one for one in windows if one), 0)),
        *(config.hidden_size, attention.num_attention_heads),
        *((0, 0) if latent else (attention.num_key_value_heads, attention.head_dim)),
        *((attention.kv_lora_rank, attention.qk_rope_head_dim) if latent else (0, 0)),
        tokens,
    ]
