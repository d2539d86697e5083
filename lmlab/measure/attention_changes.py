"""What attention's extras are worth to a trained model: its loss with other windows, with other sinks; and the scores
that QK-Norm allows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from lmlab.interventions import intervene
from lmlab.measure import attention
from lmlab.model import LanguageModel

if TYPE_CHECKING:
    import pandas as pd


@torch.no_grad()
def loss(model: LanguageModel, texts: Sequence[Sequence[int]]) -> float:
    """Nats per predicted token of texts, each read by itself: ids, at least two a text."""
    each = [
        F.cross_entropy(model(torch.tensor([ids]))[0, :-1], torch.tensor(ids[1:]), reduction="none") for ids in texts
    ]
    return float(torch.cat(each).mean())


def windowed(model: LanguageModel, texts: Sequence[Sequence[int]], windows: Iterable[int]) -> "pd.Series":
    """The loss as the model is, and with the same window in every layer."""
    import pandas as pd

    found = {"as it is": loss(model, texts)}
    for window in windows:
        with intervene(model, window=window, layers=range(len(model.layers))):
            found[f"{window}"] = loss(model, texts)
    return pd.Series(found, name="loss").rename_axis("window")


def with_sinks_raised(
    model: LanguageModel, texts: Sequence[Sequence[int]], additions: Iterable[float]
) -> "pd.DataFrame":
    """Every sink's score raised by so much (-inf: no sink). kept: what the weights of a row sum to, the mean over
    heads, layers and the first text's tokens; loss. ValueError where a layer has no sinks."""
    import pandas as pd

    rows = {}
    for addition in additions:
        with _raised(model, addition):
            found = attention.read(model, texts[0])
            rows[addition] = {"kept": float(found.weights.sum(-1).mean()), "loss": loss(model, texts)}
    return pd.DataFrame(rows).T.rename_axis("added to every sink")


@contextmanager
def _raised(model: LanguageModel, addition: float) -> Iterator[None]:
    sinks = [getattr(block.self_attn, "sinks", None) for block in model.layers]
    if any(sink is None for sink in sinks):
        raise ValueError(f"layers without sinks: {[i for i, sink in enumerate(sinks) if sink is None]}")
    if addition == float("-inf"):  # which the fused core would multiply by a key's 0
        with intervene(model, remove_sinks=True):
            yield
        return
    before = [sink.detach().clone() for sink in sinks]
    try:
        for sink in sinks:
            sink.data += addition
        yield
    finally:
        for sink, old in zip(sinks, before, strict=True):
            sink.data.copy_(old)


def largest_scores(model: LanguageModel, ids: Sequence[int]) -> "pd.DataFrame":
    """For a model with QK-Norm, one row per layer: the largest score of a text, in absolute value, with the norm and
    without it, and the largest that the norm allows for any text: sqrt(head_dim) times the largest weight of each norm
    (both vectors are at most sqrt(head_dim) times that long, and the score is divided by sqrt(head_dim)). ValueError
    without QK-Norm."""
    import pandas as pd

    found = attention.read(model, ids)
    if attention.BEFORE_NORM not in found.parts:
        raise ValueError("this model has no QK-Norm: there is no score before it")
    hidden = ~found.visible[:, None]
    largest = {
        "without the norm": found.parts[attention.BEFORE_NORM],
        "with it": found.scores,
    }
    columns = {name: scores.masked_fill(hidden, 0).abs().amax((1, 2, 3)).tolist() for name, scores in largest.items()}
    parts = [block.self_attn for block in model.layers]
    bounds = [
        part.core.scale
        * part.config.head_dim
        * float((part.q_norm.weight.abs().max() * part.k_norm.weight.abs().max()).detach())
        for part in parts
    ]
    return pd.DataFrame(columns | {"the most it allows": bounds}).rename_axis("layer")
