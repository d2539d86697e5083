"""What one change inside a model does to its words: the loss of a text and the probabilities of the next token, beside
those of the untouched model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from lmlab.interventions import intervene
from lmlab.model import LanguageModel
from lmlab.parts.gqa import GQAConfig
from lmlab.parts.moe import MoE


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The untouched model first, the changed one second.

    losses (2, T - 1): nats for each token of the text but the first. probabilities (2, V): of the token after the text.
    """

    losses: torch.Tensor
    probabilities: torch.Tensor

    @property
    def kl(self) -> float:
        """KL(untouched, changed) of the next token, nats."""
        before, after = self.probabilities.double()
        return float((torch.special.xlogy(before, before) - torch.special.xlogy(before, after)).sum().clamp(min=0))


def effect(model: LanguageModel, ids: torch.Tensor | list[int], change: Mapping[str, Any]) -> Effect:
    """Read one text, ids (T,), with and without `change`, the keyword arguments of `lmlab.intervene`.

    ValueError for a change that the model has no place for; the model is left as it was, then, too.
    """
    ids = torch.as_tensor(ids, device=model.embed_tokens.weight.device)
    with torch.inference_mode():
        logits = [model(ids[None])[0].float()]  # (T, V)
        with intervene(model, **change):
            logits.append(model(ids[None])[0].float())
        losses = [F.cross_entropy(each[:-1], ids[1:], reduction="none") for each in logits]  # (T - 1,) each
        return Effect(losses=torch.stack(losses), probabilities=torch.stack([each[-1].softmax(-1) for each in logits]))


def agreeing(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens that two texts begin with in common."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def heads(model: LanguageModel, ids: torch.Tensor | list[int]) -> torch.Tensor:
    """How much each head matters for the next token: `kl` with its output at 0. (L, H)"""
    counts = [block.self_attn.config.num_attention_heads for block in model.layers]
    each = [[effect(model, ids, {"ablate_head": (i, h)}).kl for h in range(count)] for i, count in enumerate(counts)]
    return torch.tensor(each)


def places(model: LanguageModel) -> dict[str, list[int]]:
    """Where a model can be changed: the layers that have heads, sinks, a sliding window, experts."""
    layers = list(enumerate(model.layers))
    slides = lambda attention: isinstance(attention.config, GQAConfig) and attention.config.sliding_window  # noqa: E731
    return {
        "heads": [i for i, _ in layers],
        "sinks": [i for i, block in layers if getattr(block.self_attn, "sinks", None) is not None],
        "window": [i for i, block in layers if slides(block.self_attn)],
        "experts": [i for i, block in layers if isinstance(block.mlp, MoE)],
    }
