"""The loss of a language model on a batch: next tokens, and what its parts add while training.

One module, so that torch's own distributed wrappers take it whole.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from lmlab.model import LanguageModel
from lmlab.parts.balancing import expert_counts, global_batch_loss, load, update_bias_
from lmlab.parts.masks import Timeline
from lmlab.parts.router import Router, Routing
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.data import IGNORED
from lmlab.train.recipe import Recipe


@dataclass
class Losses:
    """`total` carries the gradient; the others are numbers. `loads` (layers with experts, E): each expert's share of
    the choices times E."""

    total: torch.Tensor
    next_token: torch.Tensor
    mtp: torch.Tensor | None
    loads: torch.Tensor | None


class Objective(nn.Module):
    """ids, targets (B, T) -> Losses. The mean is over the real targets of all ranks, so that a batch split over
    processes has the gradient of the whole. The tokenizer's end token begins a document: none sees another of its
    row. What follows the last one is padding: no router sees it."""

    def __init__(self, model: LanguageModel, recipe: Recipe, tokenizer: Tokenizer):
        super().__init__()
        self.model, self.recipe, self.tokenizer = model, recipe, tokenizer
        self.routed: list[tuple[Router, Routing]] = []
        routers = [module for module in model.modules() if isinstance(module, Router)]
        self.hooks = [router.register_forward_hook(self._note) for router in routers]

    def _note(self, router: Router, _, routing: Routing) -> None:
        self.routed.append((router, routing))

    def close(self) -> None:
        """Leave the model as it was, without hooks."""
        for hook in self.hooks:
            hook.remove()

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> Losses:
        self.routed.clear()
        hidden = self.model.hidden(ids, timeline=self.timeline(ids, ids))  # (B, T, C)
        next_token = _mean(self.model.lm_head(hidden), targets)
        total, mtp = next_token, None
        if self.model.config.mtp:
            # a place belongs to the document of its hidden state: the last one of a document stays in it
            timeline = self.timeline(ids[:, :-1], ids[:, 1:])
            further = self.model.mtp[0](hidden[:, :-1], ids[:, 1:], timeline)  # (B, T - 1, V)
            mtp = _mean(further, targets[:, 1:])
            total = total + self.recipe.mtp * mtp
        free = [routing for router, routing in self.routed if not _biased(router)]
        for routing in free:
            total = total + self.recipe.router_aux_loss_coef / len(free) * global_batch_loss(routing)
        counts = [_counts(routing) for _, routing in self.routed]
        loads = load(torch.stack(counts)) if counts else None
        return Losses(total, next_token.detach(), None if mtp is None else mtp.detach(), loads)

    def timeline(self, ids: torch.Tensor, read: torch.Tensor) -> Timeline:
        """ids (B, T) say to which document each place belongs; read (B, T), the tokens read there, what is padding."""
        documents, real = (ids == self.tokenizer.end).cumsum(1), read != self.tokenizer.pad  # (B, T)
        columns = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        return Timeline(columns, documents=documents, real=None if bool(real.all()) else real)

    @torch.no_grad()
    def balance(self, rate: float) -> None:
        """After a step: move the routers' biases, where they have one."""
        for router, routing in self.routed:
            if _biased(router):
                update_bias_(router, _counts(routing), self.recipe.bias_rate * rate)


def _biased(router: Router) -> bool:
    return getattr(router, "e_score_correction_bias", None) is not None


def _counts(routing: Routing) -> torch.Tensor:
    """How many tokens of all ranks chose each expert. (E,)"""
    counts = expert_counts(routing.indices, routing.scores.shape[-1])
    if dist.is_initialized():
        dist.all_reduce(counts)
    return counts


def _mean(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over this rank's real targets, over the mean number that a rank has."""
    number = (targets != IGNORED).sum()
    if dist.is_initialized():
        dist.all_reduce(number)
        number = number / dist.get_world_size()
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return losses / number
