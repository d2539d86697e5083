"""Which key may a query see? And where do the tokens of one forward pass stand?

A batch shares one timeline of columns 0, 1, 2, ...; a row with a shorter prompt has `padding` empty columns at its
left, so its token in column c has position c - padding. Order and distance are the same in columns and in positions:
masks use columns (shared by the batch), RoPE uses positions.
"""

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def attention_mask(
    query_columns: torch.Tensor,
    key_columns: torch.Tensor,
    window: int | None = None,
    padding: torch.Tensor | None = None,
    documents: torch.Tensor | None = None,
) -> torch.Tensor:
    """query_columns (T,), key_columns (S,), padding (B,) -> (1 or B, 1, T, S), True where the query sees the key.

    Causal: no key after the query. `window` counts the query itself: i - window < j <= i (GPT-OSS: 128 keys). A key
    column below 0 is an empty place of a cache, one below the row's padding an empty place of the batch. `documents`
    (B, T), where the keys are the queries' own tokens: a token sees none of another document in its row.
    """
    i, j = query_columns[:, None], key_columns[None, :]  # (T, 1), (1, S)
    visible = (j <= i) & (j >= 0)  # (T, S)
    if window is not None:
        visible = visible & (j > i - window)
    visible = visible[None]  # (1, T, S)
    if padding is not None:
        visible = visible & (j >= padding[:, None, None])  # (B, T, S)
    if documents is not None:
        visible = visible & (documents[:, :, None] == documents[:, None, :])  # (B, T, S)
    return visible[:, None]  # (1 or B, 1, T, S)


class Timeline:
    """Where the T tokens of one forward pass stand, shared by all layers.

    columns (T,): places on the batch's timeline. padding (B,) or None: how many columns at the left of each row are
    empty. begun: whether all these columns come after it, in every row. While training, without a cache: documents
    (B, T), which of several documents packed into one row each token belongs to, and real (B, T), False where a row is
    padded behind them. Layers of one kind ask for the same angles and the same mask: `once` computes each a single time
    a pass.
    """

    def __init__(
        self,
        columns: torch.Tensor,
        padding: torch.Tensor | None = None,
        begun: bool = False,
        documents: torch.Tensor | None = None,
        real: torch.Tensor | None = None,
    ):
        self.columns, self.padding, self.begun = columns, padding, begun
        self.documents, self.real = documents, real
        self._made: dict[Hashable, object] = {}

    def once(self, key: Hashable, make: Callable[[], Result]) -> Result:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def positions_of(self, columns: torch.Tensor) -> torch.Tensor:
        """(T,) -> (1 or B, T): the column less the row's padding; 0 in empty columns, which nobody sees."""
        if self.padding is None:
            return columns[None]  # (1, T)
        return (columns - self.padding[:, None]).clamp(min=0)  # (B, T)

    @property
    def positions(self) -> torch.Tensor:
        return self.once("positions", lambda: self.positions_of(self.columns))

    @property
    def token_mask(self) -> torch.Tensor | None:
        """(B, T), False at padding; None where there is none."""
        if self.padding is None or self.begun:
            return self.real
        return self.once("tokens", lambda: self.columns >= self.padding[:, None])

    def angles(self, rope: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """cos, sin (1 or B, 1, T, D) of this pass."""
        return self.once((rope.config, rope.dim), lambda: rope(self.positions))

    def mask(self, cache=None, window: int | None = None) -> torch.Tensor:
        """(1 or B, 1, T, S): which of the cache's keys and of this pass's own each token sees. To be asked for before
        the cache is written."""
        kind = None if cache is None else cache.kind

        def make() -> torch.Tensor:
            return attention_mask(self.columns, self.key_columns(cache), window, self.padding, self.documents)

        return self.once(("mask", kind, window), make)

    def needed_mask(self, cache=None, window: int | None = None) -> torch.Tensor | None:
        """The mask, or None where it would hide nothing: from one token, which comes after all that a cache holds."""
        keys = 1 if cache is None else cache.filled(1)  # None in a compiled step, which reads empty places too
        one = self.columns.numel() == 1 and self.padding is None and keys is not None
        return None if one and (window is None or keys <= window) else self.mask(cache, window)

    def key_columns(self, cache=None) -> torch.Tensor:
        """The columns of the keys that the cache will return, this pass's included. (S,)"""
        return self.columns if cache is None else cache.key_columns(self.columns)


def timeline_of(x: torch.Tensor, cache=None) -> Timeline:
    """x (B, T, ...) -> the timeline of a pass without padding that starts at column 0, or after what `cache` holds."""
    columns = torch.arange(x.shape[1], device=x.device)  # (T,)
    return Timeline(columns if cache is None else cache.length + columns)
