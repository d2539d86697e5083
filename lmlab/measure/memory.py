"""Bytes: what the cache holds after a text of some length, and what the weights take in each number format.

1 GB is 10^9 bytes; a vendor's GiB (2^30) is named as such.
"""

from collections import Counter
from collections.abc import Iterable
from math import ceil, prod
from typing import TYPE_CHECKING

import torch

from lmlab.configuration import AttentionConfig, BlockConfig, ModelConfig
from lmlab.measure.sizes import count, is_matrix, matrices
from lmlab.parts.mla import MLAConfig

if TYPE_CHECKING:
    import pandas as pd

GB, GIB = 10**9, 2**30
WEIGHT_FORMATS = ("bf16", "fp8", "mxfp4", "mxfp4 throughout")
CACHE_FORMATS = {"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn, "mxfp4": "mxfp4"}
"""What `dtype` may be below, by name. "mxfp4" is no dtype of PyTorch's, and no vendor's cache: a what-if."""


def cache_bytes(
    config: ModelConfig | Counter[AttentionConfig],
    length: int,
    batch_size: int = 1,
    dtype: torch.dtype | str = torch.bfloat16,
) -> int:
    """Bytes of keys and values (or latents) after `length` tokens in each of `batch_size` rows, all layers together.

    qwen3-0.6b at 40,960 tokens: 4.70 GB. A sliding layer keeps a window; MLA keeps kv_lora_rank + qk_rope_head_dim
    numbers a token and layer, whatever its number of heads.
    """
    return sum(cache_by_kind(config, length, batch_size, dtype).values())


def cache_by_kind(
    config: ModelConfig | Counter[AttentionConfig],
    length: int,
    batch_size: int = 1,
    dtype: torch.dtype | str = torch.bfloat16,
) -> dict[str, int]:
    """The same bytes by the kind of layer that holds them: {"full": ..., "window": ...} for GPT-OSS."""
    counts = Counter()
    for attention, layers in _layers(config):
        counts[kind(attention)] += layers * _stored(batch_size * attention.cache_elements(length), dtype)
    return dict(counts)


def fold(config: ModelConfig) -> Counter[AttentionConfig]:
    """The attention of every layer, equal ones counted once, with their number: what the functions here also take in
    place of a configuration, by whoever asks hundreds of times."""
    return Counter(block.attention for block in config.blocks)


def _layers(config: ModelConfig | Counter[AttentionConfig]) -> Iterable[tuple[AttentionConfig, int]]:
    """(attention, number of such layers), from a configuration or what `fold` makes of it."""
    return config.items() if isinstance(config, Counter) else ((block.attention, 1) for block in config.blocks)


def _stored(numbers: int, dtype: torch.dtype | str) -> int:
    """Bytes of so many numbers of a cache."""
    return _blocks(numbers) if dtype == "mxfp4" else numbers * dtype.itemsize


def _blocks(numbers: int) -> int:
    """Bytes in MXFP4: 16 of values and one of scale for each block of 32."""
    return 17 * ceil(numbers / 32)


def longest_text(
    config: ModelConfig | Counter[AttentionConfig],
    free: int,
    batch_size: int = 1,
    dtype: torch.dtype | str = torch.bfloat16,
) -> int | None:
    """The most tokens for which `batch_size` rows of cache fit into `free` bytes; 0 if not even one does, None if
    nothing grows (windows in every layer). What the memory holds, not what the model was trained to read."""

    layers = config if isinstance(config, Counter) else fold(config)

    def fits(length: int) -> bool:
        return cache_bytes(layers, length, batch_size, dtype) <= free

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
    mxfp4 throughout  a what-if: all matrices that fp8 covers, in 4.25 bits
    ValueError for another format.
    """
    return sum(weights_by_component(config, format, mtp).values())


def weights_by_component(config: ModelConfig, format: str = "bf16", mtp: bool = False) -> dict[str, int]:
    """The same bytes by component, named as in `sizes.count`."""
    if format not in WEIGHT_FORMATS:
        raise ValueError(f"format {format!r} is not one of {', '.join(WEIGHT_FORMATS)}")
    sizes = {component: 2 * int(n) for component, n in count(config)["total"].items()}
    for block, layers in Counter(config.blocks).items():
        for place, saved in _saved(block, config.hidden_size, format):
            sizes[place] -= layers * saved
    if not mtp:
        sizes.pop("mtp", None)
    for block in config.mtp if mtp else ():
        sizes["mtp"] -= sum(saved for _, saved in _saved(block, config.hidden_size, format))
    return sizes


def _saved(block: BlockConfig, hidden_size: int, format: str) -> list[tuple[str, int]]:
    """(component, bytes that the format saves against bf16) of each matrix."""
    return [
        (place, 2 * prod(shape) - tensor_bytes(place, shape, format)) for place, shape in matrices(block, hidden_size)
    ]


def tensor_bytes(place: str, shape: tuple[int, ...], format: str) -> int:
    """Bytes of one parameter of a block, in the formats of `weight_bytes`; `place` is its component (sizes.py)."""
    if not is_matrix(place, shape):
        return 2 * prod(shape)
    *stacked, rows, columns = shape
    if (format == "mxfp4" and place == "experts") or (format == "mxfp4 throughout" and place != "router"):
        return prod(stacked) * rows * _blocks(columns)
    if format == "fp8" and place != "router":
        return prod(shape) + 4 * prod(stacked) * ceil(rows / 128) * ceil(columns / 128)
    return 2 * prod(shape)
