"""RoPE's clock hands: how fast each pair of dimensions turns, which reach angles that training never showed, and what a
score sees of two positions."""

import math
from typing import TYPE_CHECKING

import torch

from lmlab.configuration import ModelConfig
from lmlab.parts.mla import MLAConfig
from lmlab.parts.rope import RoPEConfig, YaRN

if TYPE_CHECKING:
    import pandas as pd


def hands(
    rope: RoPEConfig, dim: int, length: int, trained: RoPEConfig | None = None, trained_length: int | None = None
) -> "pd.DataFrame":
    """One row per pair of dimensions, the fastest first, for a text of `length` tokens.

    `trained` and `trained_length`: the settings that the model was trained with; the same ones unless told. Columns:
    frequency      radians per token
    wavelength     tokens for a whole turn
    turns          whole and broken turns within the text
    trained_turns  the same in training
    slowed         trained frequency over this one, 1 where the hand keeps its speed
    ramp           YaRN's share of slowing, 0 to 1; 0 for other methods
    unseen         whether the hand reaches angles that it never had in training: it did not finish a turn then, and
                   goes further now
    """
    import pandas as pd

    if dim % 2 or dim < 2:
        raise ValueError(f"dim={dim} must be an even number: RoPE rotates dimensions in pairs")
    trained, trained_length = trained or rope, length if trained_length is None else trained_length
    frequency = rope.inverse_frequencies(dim).double()
    before = trained.inverse_frequencies(dim).double()
    turns = length * frequency / (2 * math.pi)
    trained_turns = trained_length * before / (2 * math.pi)
    scaling = rope.scaling
    ramp = scaling.ramp(rope.rope_theta, dim) if isinstance(scaling, YaRN) else 0 * frequency
    # a hand as fast as before, on a text as long, must not count as further by a rounding
    further = turns > trained_turns * (1 + 1e-6)
    return pd.DataFrame(
        {
            "frequency": frequency.numpy(),
            "wavelength": (2 * math.pi / frequency).numpy(),
            "turns": turns.numpy(),
            "trained_turns": trained_turns.numpy(),
            "slowed": (before / frequency).numpy(),
            "ramp": ramp.numpy(),
            "unseen": ((trained_turns < 1) & further).numpy(),
        }
    ).rename_axis("pair")


def score_by_distance(
    q: torch.Tensor, k: torch.Tensor, rope: RoPEConfig, distances: torch.Tensor, starts: list[int]
) -> "pd.DataFrame":
    """q . k after RoPE, for the query at each of `starts` and the key that many places before it.

    q, k (D,). One row per distance, one column per start. RoPE promises that the columns are equal; what keeps them
    from it is the rounding of the angles, which grow with the position.
    """
    import pandas as pd

    if min(starts) < int(distances.max()):
        raise ValueError(
            f"the query stands at {min(starts)}, the key {int(distances.max())} places before it: let it start later"
        )
    turn = rope.build(q.shape[-1])

    def at(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return turn.rotate(x, *turn(positions[None]))[0, 0]  # (S, D)

    columns = {
        f"{start:,}": (at(q, torch.full_like(distances, start)) * at(k, start - distances)).sum(-1).tolist()
        for start in starts
    }
    return pd.DataFrame(columns, index=pd.Index(distances.tolist(), name="distance"))


def overview(configs: dict[str, ModelConfig], trained: dict[str, int]) -> "pd.DataFrame":
    """One column per model: how it rotates its queries and keys, and how many hands finish a turn within the length,
    in tokens, that `trained` gives. The frequencies are those before any scaling."""
    import pandas as pd

    columns = {}
    for name, config in configs.items():
        attention = config.blocks[0].attention
        latent, dim, rope = isinstance(attention, MLAConfig), attention.rope_dim, attention.rope
        table = hands(RoPEConfig(rope_theta=rope.rope_theta), dim, trained[name])
        columns[name] = {
            "dimensions of a query that rotate": f"{dim} of {attention.qk_head_dim if latent else dim}",
            "pairs": "neighbours (2i, 2i + 1)" if rope.interleaved else f"halves (i, i + {dim // 2})",
            "theta": f"{rope.rope_theta:,.0f}",
            "hands": len(table),
            "a turn of the fastest, tokens": f"{table.wavelength.min():.1f}",
            "a turn of the slowest, tokens": f"{table.wavelength.max():,.0f}",
            "length that this is for, tokens": f"{trained[name]:,}",
            "hands that finish a turn in it": int((table.turns >= 1).sum()),
            "scaling in the configuration": type(rope.scaling).__name__ if rope.scaling else "none",
        }
    return pd.DataFrame(columns)
