"""How many parameters a model has, and how many of them one token uses; counted on the modules themselves.

Three ways to count the active parameters are in use, and they differ by the embedding and the head:
- GPT-OSS: the unembedding (head) counts, the embedding does not (model card arXiv:2508.10925, caption of table 1);
- Qwen3: both count (30B-A3B: 3.35B, rounded to 3.3B in arXiv:2505.09388, table 2);
- DeepSeek: 36.6B with the head alone, as in the README_WEIGHTS beside the weights; 37B, 37.55B with the embedding too,
  in the paper (arXiv:2412.19437).
"""

from collections import Counter
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING

import torch

from lmlab.configuration import BlockConfig, ModelConfig
from lmlab.families import PRESETS, config
from lmlab.model import Block
from lmlab.parts.moe import MoEConfig
from lmlab.parts.mtp import MultiTokenPrediction

if TYPE_CHECKING:
    import pandas as pd

COMPONENTS = ("embedding", "attention", "dense mlp", "router", "experts", "shared experts", "norms", "head", "mtp")
_PLACES = {
    "self_attn": "attention",
    "mlp.router": "router",
    "mlp.experts": "experts",
    "mlp.shared_experts": "shared experts",
    "mlp": "dense mlp",
}


def component(name: str) -> str:
    """Which of COMPONENTS a parameter of a block belongs to, by its name there ("self_attn.q_proj.weight")."""
    return next((c for place, c in _PLACES.items() if name.startswith(place + ".")), "norms")


def is_matrix(component: str, shape: tuple[int, ...]) -> bool:
    """Whether a parameter of a block multiplies: a matrix, or the experts' stack of them; not a norm, bias or sink."""
    return len(shape) == (3 if component == "experts" else 2)


def used(block: BlockConfig, component: str, parameters: int) -> int:
    """Of so many parameters of a block, those that one token uses: of the experts, the chosen share."""
    if component != "experts":
        return parameters
    mlp: MoEConfig = block.mlp
    return parameters * mlp.num_experts_per_tok // mlp.num_experts


@lru_cache(maxsize=256)
def block_parameters(block: BlockConfig, hidden_size: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(component, shape) of every parameter of one block, from the module built without memory."""
    with torch.device("meta"):
        module = Block(block, hidden_size)

    return tuple((component(name), tuple(parameter.shape)) for name, parameter in module.named_parameters())


def count_block(block: BlockConfig, hidden_size: int) -> Counter:
    """Parameters of one block by component."""
    counts = Counter()
    for component, shape in block_parameters(block, hidden_size):
        counts[component] += prod(shape)
    return counts


def matrices(block: BlockConfig, hidden_size: int) -> list[tuple[str, tuple[int, ...]]]:
    """(component, shape) of one block's weight matrices, the experts' as (E, out, in). No norms, biases, sinks."""
    return [(c, shape) for c, shape in block_parameters(block, hidden_size) if is_matrix(c, shape)]


@lru_cache(maxsize=256)
def count_mtp(config: ModelConfig) -> int:
    """Parameters of the multi-token-prediction modules alone; the embedding and head they share are the model's."""
    with torch.device("meta"):
        around = MultiTokenPrediction(config.hidden_size, config.norm, torch.nn.Identity(), None, None)
    extra = sum(parameter.numel() for parameter in around.parameters())
    return sum(count_block(block, config.hidden_size).total() + extra for block in config.mtp)


def count(config: ModelConfig) -> "pd.DataFrame":
    """Parameters by component. Columns: total, and active, those that one token uses: of the experts, the chosen share.

    The embedding counts as active here; `active` leaves in or out what each vendor does. A tied head has no parameters
    of its own. The MTP modules are dropped in ordinary use: none of theirs is active.
    """
    import pandas as pd

    total, active = Counter(), Counter()
    for block, layers in Counter(config.blocks).items():
        counts = count_block(block, config.hidden_size)
        for component, n in counts.items():
            total[component] += layers * n
            active[component] += layers * used(block, component, n)
    table = config.vocab_size * config.hidden_size
    for counter in (total, active):
        counter["embedding"] = table
        counter["head"] = 0 if config.tie_word_embeddings else table
        counter["norms"] += config.hidden_size
    total["mtp"] = count_mtp(config)
    rows = [{"component": c, "total": total[c], "active": active[c]} for c in COMPONENTS if total[c]]
    return pd.DataFrame(rows).set_index("component")


def total(config: ModelConfig, mtp: bool = False) -> int:
    """All parameters: 671,026,404,352 for DeepSeek-V3, 682,636,472,320 with its MTP module."""
    counts = count(config)["total"]
    return int(counts.sum() - (0 if mtp else counts.get("mtp", 0)))


def active(config: ModelConfig, embedding: bool | None = None) -> int:
    """Parameters that one token uses. `embedding`: whether the embedding table counts beside the head; None: as the
    family's vendor counts (see the head of this file). A tied table is both, and always counts."""
    counts = count(config)["active"]
    if embedding is None:
        embedding = config.model_type.startswith("qwen3")
    left_out = 0 if embedding or config.tie_word_embeddings else counts["embedding"]
    return int(counts.sum() - left_out)


def presets() -> "pd.DataFrame":
    """Every named configuration with its sizes; one row each, full-scale ones first.

    parameters and active_parameters as the vendor counts, MTP left out; cache_bytes_per_token: what one more token
    adds to the cache in bf16 while every layer still grows (sliding layers stop at their window).
    """
    import pandas as pd

    rows = [_row(name, config(name)) for name in PRESETS]
    frame = pd.DataFrame(rows).set_index("name")
    return pd.concat([frame[~frame.miniature], frame[frame.miniature]])


def _row(name: str, model: ModelConfig) -> dict:
    attention = model.blocks[-1].attention
    sparse = next((block.mlp for block in model.blocks if isinstance(block.mlp, MoEConfig)), None)
    return {
        "name": name,
        "model_type": model.model_type,
        "parameters": total(model),
        "active_parameters": active(model),
        "layers": model.num_hidden_layers,
        "hidden_size": model.hidden_size,
        "attention": type(attention).__name__.removesuffix("Config"),
        "heads": attention.num_attention_heads,
        "experts": sparse.num_experts if sparse else 0,
        "experts_per_token": sparse.num_experts_per_tok if sparse else 0,
        "shared_experts": sparse.num_shared_experts if sparse else 0,
        "cache_bytes_per_token": sum(2 * block.attention.cache_elements(1) for block in model.blocks),
        "max_position_embeddings": model.max_position_embeddings,
        "miniature": name.startswith("mini-"),
    }
