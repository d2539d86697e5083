"""What a layer keeps of the tokens it has read: everything (full), the last few (window), or a latent (MLA).

Every cache has `update(...)` (write a chunk, get back all that a query may attend to), `key_columns(...)` (where that
stands on the batch's timeline, asked before the update), `length` (tokens written), `trim(n)` (forget the last n, for
speculative decoding), `reset()` and `nbytes`. Buffers are allocated once and the write position is a tensor, so that a
compiled step may attend over the whole buffer: places not yet written lie after the query and are hidden by causality.
"""

import torch


class FullCache:
    """One place per token, in one or several buffers of shapes (..., max_length, width)."""

    def __init__(self, shapes: list[tuple[int, ...]], dtype: torch.dtype, device: torch.device | str):
        self.buffers = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
        self.length = torch.zeros((), dtype=torch.long, device=device)
        self.capacity = shapes[0][-2]

    def key_columns(self, columns: torch.Tensor) -> torch.Tensor:
        """The columns of what `update` will return for a chunk that stands in `columns` (T,). (S,)"""
        return torch.arange(self.filled(columns.numel()) or self.capacity, device=self.length.device)

    def update(self, *chunk: torch.Tensor) -> list[torch.Tensor]:
        """chunk: (..., T, width) for each buffer -> each buffer up to the chunk's end (..., S, width)."""
        count = chunk[0].shape[-2]
        end = self.filled(count)
        for buffer, new in zip(self.buffers, chunk, strict=True):
            buffer.index_copy_(-2, self.next_columns(count), new)
        self.length += count
        return [buffer[..., :end, :] for buffer in self.buffers]

    def next_columns(self, count: int) -> torch.Tensor:
        """Where the next `count` tokens belong. (T,)"""
        if count == 1:
            return self.length.view(1)  # no arithmetic for the one token of a decoding step
        return self.length + torch.arange(count, device=self.length.device)

    def filled(self, count: int) -> int | None:
        """How many places hold something once `count` more tokens are written. None where that is not known beforehand
        and all are read: in a compiled step, whose shapes must not change, and on the meta device."""
        if torch.compiler.is_compiling() or self.length.is_meta:
            return None
        return min(int(self.length) + count, self.capacity)

    @property
    def kind(self) -> tuple:
        """Caches of one kind and length have the same columns."""
        return type(self), self.capacity

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers)

    def check_trim(self, n: int) -> None:
        """ValueError if the last n tokens cannot be forgotten; a full cache can always forget."""

    def trim(self, n: int) -> None:
        self.check_trim(n)
        self.length -= n

    def reset(self) -> None:
        self.length.zero_()


class KVCache(FullCache):
    """Keys (after RoPE) and values: two buffers (B, K, S, D)."""

    def __init__(self, batch_size, num_key_value_heads, max_length, head_dim, dtype, device):
        super().__init__([(batch_size, num_key_value_heads, max_length, head_dim)] * 2, dtype, device)


class LatentCache(FullCache):
    """MLA's: the normed latent and the one rotated key, side by side, for all heads: (B, 1, S, R + rope width)."""

    def __init__(self, batch_size, max_length, width, dtype, device):
        super().__init__([(batch_size, 1, max_length, width)], dtype, device)


class WindowCache(FullCache):
    """A ring of `window` places for keys and values: the token of column c stands in place c % capacity.

    A chunk attends over the old ring and itself, and is written afterwards (writing first would overwrite keys that its
    early queries still see). A single token is written first: the key that it displaces has left its window. `slack`
    more places let the last `slack` tokens be trimmed again: without them, the keys that they displaced are gone.
    """

    def __init__(self, batch_size, num_key_value_heads, window, head_dim, dtype, device, slack: int = 0):
        super().__init__([(batch_size, num_key_value_heads, window + slack, head_dim)] * 2, dtype, device)
        self.slack = slack
        self.furthest = torch.zeros_like(self.length)  # columns ever written since the last reset

    def ring_columns(self, last: torch.Tensor) -> torch.Tensor:
        """The newest column up to `last` that each place can hold; below 0 where it is still empty. (capacity,)"""
        return last - (last - torch.arange(self.capacity, device=self.length.device)) % self.capacity

    def key_columns(self, columns: torch.Tensor) -> torch.Tensor:
        if columns.numel() == 1:
            return self.ring_columns(columns)[: self.filled(1)]  # (up to capacity,)
        return torch.cat((self.ring_columns(self.length - 1), columns))  # (capacity + T,)

    def update(self, *chunk: torch.Tensor) -> list[torch.Tensor]:
        """As above; of a single token the answer is the ring itself, which moves on with the next."""
        count = chunk[0].shape[-2]
        if count == 1:
            end = self.filled(1)
            self._write(chunk)
            return [ring[..., :end, :] for ring in self.buffers]
        seen = [torch.cat((ring, new), dim=-2) for ring, new in zip(self.buffers, chunk, strict=True)]
        self._write(chunk)
        return seen

    def _write(self, chunk: tuple[torch.Tensor, ...]) -> None:
        count = chunk[0].shape[-2]
        kept = min(count, self.capacity)  # of a longer chunk, only the end stays
        places = self.next_columns(count)[count - kept :] % self.capacity
        for ring, new in zip(self.buffers, chunk, strict=True):
            ring.index_copy_(-2, places, new[..., count - kept :, :])
        self.length += count
        torch.maximum(self.furthest, self.length, out=self.furthest)

    def check_trim(self, n: int) -> None:
        lost = int(self.furthest - self.length) + n
        if lost > self.slack and int(self.furthest) > self.capacity:
            raise ValueError(
                f"a window cache with slack {self.slack} cannot forget {lost} tokens: the keys they displaced are "
                f"gone; make the cache with slack={lost} or more"
            )

    def reset(self) -> None:
        super().reset()
        self.furthest.zero_()


class ModelCache:
    """One cache per layer, and the padding of the batch that they hold.

    `padding` (B,) or None: how many columns at the left of each row are empty; set by the first chunk of a padded
    batch.
    """

    def __init__(self, layers: list[FullCache], batch_size: int, max_length: int):
        self.layers = layers
        self.batch_size, self.max_length = batch_size, max_length
        self.padding: torch.Tensor | None = None

    @property
    def length(self) -> torch.Tensor:
        """Columns written so far, the padding included: a 0-dimensional tensor."""
        return self.layers[0].length

    @property
    def begun(self) -> bool:
        """Whether every row has begun, so that what follows holds no padding. A compiled step, which cannot ask, must
        come after the padding."""
        if self.padding is None or torch.compiler.is_compiling():
            return True
        return not self.padding.is_meta and bool((self.padding <= self.length).all())

    @property
    def nbytes(self) -> int:
        """Bytes really allocated for keys, values and latents."""
        return sum(layer.nbytes for layer in self.layers)

    def trim(self, n: int) -> None:
        """Forget the last n columns. ValueError if there are fewer, or if a window has lost what it would need."""
        if not 0 <= n <= int(self.length):
            raise ValueError(f"cannot trim {n} tokens of a cache that holds {int(self.length)}")
        for layer in self.layers:
            layer.check_trim(n)
        for layer in self.layers:
            layer.trim(n)

    def reset(self) -> None:
        self.padding = None
        for layer in self.layers:
            layer.reset()
