"""Bytes: what the cache holds after a text of some length, and what the weights take in each number format.

1 GB is 10^9 bytes; a vendor's GiB (2^30) is named as such.
"""

from collections import Counter
from math import ceil, prod
from typing import TYPE_CHECKING

import torch

from lmlab.configuration import AttentionConfig, ModelConfig
from lmlab.measure.sizes import count, is_matrix, matrices
from lmlab.parts.mla import MLAConfig

if TYPE_CHECKING:
    import pandas as pd

GB, GIB = 10**9, 2**30


def cache_bytes(config: ModelConfig, length: int, batch_size: int = 1, dtype: torch.dtype = torch.bfloat16) -> int:
    """Bytes of keys and values (or latents) after `length` tokens in each of `batch_size` rows, all layers together.

    qwen3-0.6b at 40,960 tokens: 4.70 GB. A sliding layer keeps a window; MLA keeps kv_lora_rank + qk_rope_head_dim
    numbers a token and layer, whatever its number of heads.
    """
    return sum(cache_by_kind(config, length, batch_size, dtype).values())


def cache_by_kind(
    config: ModelConfig, length: int, batch_size: int = 1, dtype: torch.dtype = torch.bfloat16
) -> dict[str, int]:
    """The same bytes by the kind of layer that holds them: {"full": ..., "window": ...} for GPT-OSS."""
    counts = Counter()
    for block in config.blocks:
        counts[kind(block.attention)] += batch_size * dtype.itemsize * block.attention.cache_elements(length)
    return dict(counts)


def longest_text(
    config: ModelConfig, free: int, batch_size: int = 1, dtype: torch.dtype = torch.bfloat16
) -> int | None:
    """The most tokens for which `batch_size` rows of cache fit into `free` bytes; 0 if not even one does, None if
    nothing grows (windows in every layer). What the memory holds, not what the model was trained to read."""

    def fits(length: int) -> bool:
        return cache_bytes(config, length, batch_size, dtype) <= free

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
        if high > 2**50:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def cache_by_layer(
    config: ModelConfig, length: int, batch_size: int = 1, dtype: torch.dtype = torch.bfloat16
) -> "pd.DataFrame":
    """One row per layer: its kind (full, window, latent) and bytes."""
    import pandas as pd

    each = batch_size * dtype.itemsize
    rows = [
        {"layer": i, "kind": kind(block.attention), "bytes": block.attention.cache_elements(length) * each}
        for i, block in enumerate(config.blocks)
    ]
    return pd.DataFrame(rows).set_index("layer")


def kind(attention: AttentionConfig) -> str:
    """What the layer keeps of the text: everything (full), the last tokens (window), or latents (latent)."""
    if isinstance(attention, MLAConfig):
        return "latent"
    return "full" if attention.sliding_window is None else "window"


def cache_bytes_as_mha(config: ModelConfig, length: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """The cache if every query head kept a key and a value of its own, and every layer the whole text: what GQA,
    windows and MLA are measured against. DeepSeek-V3 at 131,072 tokens: 655 GB in place of 9.2."""
    return sum(_head_widths(block.attention) * length * dtype.itemsize for block in config.blocks)


def _head_widths(attention: AttentionConfig) -> int:
    """Numbers in one token's keys and values, over all query heads."""
    if isinstance(attention, MLAConfig):
        return attention.num_attention_heads * (attention.qk_head_dim + attention.v_head_dim)
    return attention.num_attention_heads * 2 * attention.head_dim


def cache_by_length(configs: dict[str, ModelConfig], lengths: list[int], dtype=torch.bfloat16) -> "pd.DataFrame":
    """Bytes of the cache: one row per length in tokens, one column per model."""
    import pandas as pd

    columns = {name: [cache_bytes(config, n, dtype=dtype) for n in lengths] for name, config in configs.items()}
    return pd.DataFrame(columns, index=pd.Index(lengths, name="tokens"))


def released_format(config: ModelConfig) -> str:
    """The number format in which the vendor releases the weights: bf16, mxfp4 or fp8, from quantization_config."""
    return config.inert.get("quantization_config", {}).get("quant_method", "bf16")


def weight_bytes(config: ModelConfig, format: str = "bf16", mtp: bool = False) -> int:
    """Bytes of the weights as a checkpoint holds them.

    bf16   two bytes each
    mxfp4  GPT-OSS's release: the experts' matrices in 4.25 bits, all else bf16; gpt-oss-120b 60.8 GiB (model card,
           table 1)
    fp8    DeepSeek's release: the matrices of attention, MLPs and experts in one byte, with a float32 scale for each
           block of 128 x 128; embedding, head, router and norms stay bf16 (arXiv:2412.19437, section 3.3)
    ValueError for another format.
    """
    if format not in ("bf16", "mxfp4", "fp8"):
        raise ValueError(f"format {format!r} is not one of bf16, mxfp4, fp8")
    counts = count(config)["total"]
    everything = int(counts.sum() - (0 if mtp else counts.get("mtp", 0)))
    saved = 0
    for block, layers in Counter((*config.blocks, *(config.mtp if mtp else ()))).items():
        for place, shape in matrices(block, config.hidden_size):
            saved += layers * (2 * prod(shape) - tensor_bytes(place, shape, format))
    return 2 * everything - saved


def tensor_bytes(place: str, shape: tuple[int, ...], format: str) -> int:
    """Bytes of one parameter of a block, in the formats of `weight_bytes`; `place` is its component (sizes.py)."""
    if not is_matrix(place, shape):
        return 2 * prod(shape)
    *stacked, rows, columns = shape
    if format == "mxfp4" and place == "experts":
        return prod(shape) * 17 // 32  # 16 bytes of values and one of scale for each block of 32
    if format == "fp8" and place != "router":
        return prod(shape) + 4 * prod(stacked) * ceil(rows / 128) * ceil(columns / 128)
    return 2 * prod(shape)
