"""Where the tokens of one text look: the weights of every head, what they amount to, and the scores they come from.

L layers, H query heads, K key/value heads, T tokens: each is a query (a row) and a key (a column).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lmlab.model import LanguageModel
from lmlab.parts.dual_chunk import DualChunkConfig
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.masks import attention_mask
from lmlab.parts.mla import MLAConfig
from lmlab.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

BEFORE_NORM, CONTENT, ROPE = "before QK-Norm", "content", "RoPE"


@dataclass(frozen=True, kw_only=True)
class Attention:
    """The attention of one text.

    ids (T,). weights (L, H, T, T); what is missing of 1 in a row went to the sink, sinks (L, H, T), all 0 where a
    layer has none. scores (L, H, T, T): q k^T * scale, as the softmax gets them, also where the mask hides the key.
    sink_scores (L, H): the learned ones, -inf without. visible (L, T, T), windows (L,) with None for none.
    key_heads (H,): the key/value head that each query head reads.

    parts, (L, H, T, T) each: with QK-Norm the scores "before QK-Norm", what q and k would give without it; under MLA
    "content" and "RoPE", which add up to the scores. Empty where no part can be told.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    sinks: torch.Tensor
    scores: torch.Tensor
    sink_scores: torch.Tensor
    visible: torch.Tensor
    windows: tuple[int | None, ...]
    key_heads: tuple[int, ...]
    parts: dict[str, torch.Tensor]

    @property
    def rows(self) -> slice:
        """The queries that means are taken over: all but the first, which sees nothing but itself (a text of one
        token: that one)."""
        return slice(min(1, len(self.ids) - 1), None)


@torch.no_grad()
def read(model: LanguageModel, ids: torch.Tensor | list[int]) -> Attention:
    """Read one text, ids (T,). float32. ValueError for a batch, no token, one outside the vocabulary, dual chunk
    attention, or layers with unequal numbers of heads."""
    ids = torch.as_tensor(ids, device=model.embed_tokens.weight.device)
    rows = model.config.vocab_size
    if ids.ndim != 1 or not ids.numel():
        raise ValueError(f"ids has shape {tuple(ids.shape)}: the ids of one text are expected, at least one")
    if int(ids.min()) < 0 or int(ids.max()) >= rows:
        raise ValueError(f"ids run from {int(ids.min())} to {int(ids.max())}; the embedding has rows 0 to {rows - 1}")
    key_heads = _key_heads(model)
    with Trace(model) as trace:
        model(ids[None])
    columns, layers = torch.arange(len(ids), device=ids.device), range(len(model.layers))
    windows = tuple(getattr(block.self_attn.config, "sliding_window", None) for block in model.layers)
    records = [trace.attention(layer) for layer in layers]
    weights = torch.stack([record.weights[0] for record in records]).float()
    none = torch.zeros_like(weights[0, :, :, 0])  # (H, T)
    sinks = [none if record.sink is None else record.sink[0].float().clamp(min=0) for record in records]
    each = [_parts(trace, layer) for layer in layers]
    return Attention(
        ids=ids,
        weights=weights,
        sinks=torch.stack(sinks),
        scores=torch.stack([scores for scores, _ in each]),
        sink_scores=torch.stack([_sink_scores(block.self_attn) for block in model.layers]),
        visible=torch.stack([attention_mask(columns, columns, window)[0, 0] for window in windows]),
        windows=windows,
        key_heads=key_heads,
        parts={
            name: torch.stack([parts[name] for _, parts in each])
            for name in (BEFORE_NORM, CONTENT, ROPE)
            if all(name in parts for _, parts in each)
        },
    )


def _key_heads(model: LanguageModel) -> tuple[int, ...]:
    """Query head h reads key/value head h // (H / K); under MLA each has its own, made from one latent."""
    configs = [block.self_attn.config for block in model.layers]
    if chunked := [layer for layer, config in enumerate(configs) if isinstance(config, DualChunkConfig)]:
        raise ValueError(f"layers {chunked} have dual chunk attention, with three queries a token: not read here")
    kinds = {(config.num_attention_heads, getattr(config, "num_key_value_heads", None)) for config in configs}
    if len(kinds) > 1:
        raise ValueError(f"all layers must have equally many (query, key/value) heads: got {sorted(kinds, key=str)}")
    ((heads, key_value_heads),) = kinds
    return tuple(head // (heads // (key_value_heads or heads)) for head in range(heads))


def _parts(trace: Trace, layer: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The scores of one layer, (H, T, T), and the parts that can be told."""
    attention, record = trace.model.layers[layer].self_attn, trace.attention(layer)
    config, scale = attention.config, attention.core.scale
    q, k = record.q[0], record.k[0]  # (H, T, D), (K, T, D)
    parts = {}
    if isinstance(config, MLAConfig):
        at = config.qk_nope_head_dim
        parts = {CONTENT: _product(q[..., :at], k[..., :at], scale), ROPE: _product(q[..., at:], k[..., at:], scale)}
    elif isinstance(config, GQAConfig) and config.qk_norm:
        positions = torch.arange(q.shape[1], device=q.device)[None]  # (1, T)
        angles = attention.rope(positions)  # two of (1, 1, T, D)
        before = [attention.rope.rotate(one, *angles)[0] for one in trace.projected(layer)]
        parts = {BEFORE_NORM: _product(*before, scale)}
    return _product(q, k, scale), parts


def _product(q: torch.Tensor, k: torch.Tensor, scale: float) -> torch.Tensor:
    """As in parts/core.py. (H, T, D), (K, T, D) -> (H, T, T)"""
    k = k.repeat_interleave(q.shape[0] // k.shape[0], dim=0)  # (H, T, D)
    return (q.float() * scale) @ k.float().transpose(-1, -2)


def _sink_scores(attention: torch.nn.Module) -> torch.Tensor:
    sinks = getattr(attention, "sinks", None)
    if sinks is None:
        return torch.full((attention.config.num_attention_heads,), float("-inf"), device=attention.o_proj.weight.device)
    return sinks.detach().float()


def statistics(found: Attention) -> dict[str, torch.Tensor]:
    """One number a head, (L, H) each: means over `rows`.

    distance   how many tokens back a unit of weight lies; what goes to the sink is left out
    entropy    of a row, its sink included, in bits: 0 is all on one key, 5 is evenly on 32
    first      the weight on the text's first token
    previous   on the token before the query
    itself     on the query's own token
    sink       what goes to the sink
    """
    weights, sinks = found.weights[:, :, found.rows].double(), found.sinks[:, :, found.rows].double()
    place = torch.arange(len(found.ids), device=found.ids.device)
    back = (place[:, None] - place)[found.rows]  # (rows, T)
    mass = weights.sum((-1, -2)).clamp(min=torch.finfo(torch.float64).tiny)  # (L, H)
    entropy = torch.special.entr(weights).sum(-1) + torch.special.entr(sinks)  # (L, H, rows)
    return {
        "distance": (weights * back).sum((-1, -2)) / mass,
        "entropy": entropy.mean(-1) / torch.log(torch.tensor(2.0)).double(),
        "first": weights[..., 0].mean(-1),
        "previous": (weights * (back == 1)).sum(-1).mean(-1),
        "itself": (weights * (back == 0)).sum(-1).mean(-1),
        "sink": sinks.mean(-1),
    }


def beyond(found: Attention, window: int) -> torch.Tensor:
    """The weight on keys that a window of so many tokens would hide: those at least `window` back. (L, H), means over
    `rows`; a layer whose own window is no wider has 0."""
    if window < 1:
        raise ValueError(f"window={window} must be 1 or more: it counts the query itself")
    place = torch.arange(len(found.ids), device=found.ids.device)
    hidden = place[:, None] - place >= window  # (T, T)
    return (found.weights.double() * hidden)[:, :, found.rows].sum(-1).mean(-1)


def within(found: Attention, window: int) -> torch.Tensor:
    """The weight on keys that such a window leaves in sight: with `beyond` and the sink's share it makes 1. (L, H)"""
    return found.weights.double()[:, :, found.rows].sum(-1).mean(-1) - beyond(found, window)


def overview(found: Attention, statistic: str, window: int | None = None) -> "pd.DataFrame":
    """One number for each head: one row per layer, one column per query head. `statistic`: a name of `statistics`, or
    "beyond" or "within" with their window. ValueError for another."""
    import pandas as pd

    each = statistics(found)
    if statistic in each:
        values = each[statistic]
    elif statistic in ("beyond", "within") and window is not None:
        values = (beyond if statistic == "beyond" else within)(found, window)
    else:
        raise ValueError(f"no statistic {statistic!r}: there are {', '.join(each)}; beyond and within take a window")
    layers, heads = values.shape
    return pd.DataFrame(
        values.tolist(), index=pd.RangeIndex(layers, name="layer"), columns=pd.RangeIndex(heads, name="head")
    )


def sharpest(found: Attention, back: int = 8) -> tuple[int, int]:
    """(layer, head) of which the text's last token puts the most weight on one token that is at least `back` before
    it. The first token, on which many heads rest, does not count; in a text too short: layer 0, head 0."""
    far = found.weights[:, :, -1, 1 : max(1, len(found.ids) - back)]  # (L, H, T - 1 - back)
    if not far.numel():
        return 0, 0
    return divmod(int(far.amax(-1).argmax()), far.shape[1])
