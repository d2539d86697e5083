"""Which experts read the tokens of a text, as numbers: weights, load, margins, groups, what the bias and the shared
expert do, and which experts read together. Everything is taken from a Trace, or asked of the router's own code again.

A router chooses A of E experts for each of N tokens (parts/router.py). Layers count from 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lmlab.model import LanguageModel
from lmlab.parts import balancing
from lmlab.parts.moe import MoE
from lmlab.parts.router import Router, Routing, SigmoidGroupRouter, TopKSoftmaxRouter
from lmlab.trace import Trace


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One text through the experts of a model.

    ids (N,). layers: layer -> its Routing, for those that have experts. added: layer -> (2, N), the lengths of what the
    chosen experts together and the shared expert added to each token; only where there is a shared expert.
    """

    ids: torch.Tensor
    layers: dict[int, Routing]
    added: dict[int, torch.Tensor]


def mixtures(model: LanguageModel) -> dict[int, MoE]:
    """The layers that have experts, those of multi-token prediction left out."""
    return {i: block.mlp for i, block in enumerate(model.layers) if isinstance(block.mlp, MoE)}


@torch.no_grad()
def read(model: LanguageModel, ids: torch.Tensor | list[int]) -> Reading:
    """Read one text, ids (N,). ValueError for a batch, no token, one outside the vocabulary, or a model without
    experts."""
    ids = torch.as_tensor(ids, device=model.embed_tokens.weight.device)
    rows, sparse = model.config.vocab_size, mixtures(model)
    if not sparse:
        raise ValueError(f"{model.config.name or 'this model'} has no layer with experts: it routes nothing")
    if ids.ndim != 1 or not ids.numel():
        raise ValueError(f"ids has shape {tuple(ids.shape)}: the ids of one text are expected, at least one")
    if int(ids.min()) < 0 or int(ids.max()) >= rows:
        raise ValueError(f"ids run from {int(ids.min())} to {int(ids.max())}; the embedding has rows 0 to {rows - 1}")
    with Trace(model) as trace:
        model(ids[None])
    shared = [layer for layer, moe in sparse.items() if moe.shared_experts is not None]
    added = {layer: _lengths(model, trace, layer) for layer in shared}
    return Reading(ids=ids, layers={layer: trace.routing(layer) for layer in sparse}, added=added)


def _lengths(model: LanguageModel, trace: Trace, layer: int) -> torch.Tensor:
    """What the chosen and what the shared experts added: their lengths. (2, N)"""
    block = model.layers[layer]
    before, (attention, whole) = trace.residual()[layer, 0], trace.additions()[layer, :, 0]  # (N, C) each
    shared = block.mlp.shared_experts(block.post_attention_layernorm(before + attention))  # (N, C)
    return torch.stack(((whole - shared).norm(dim=-1), shared.norm(dim=-1)))


def by_expert(routing: Routing) -> torch.Tensor:
    """The weights of all experts, 0 for those that were not chosen. (N, E)"""
    return torch.zeros_like(routing.scores, dtype=routing.weights.dtype).scatter(1, routing.indices, routing.weights)


def chosen(routing: Routing) -> torch.Tensor:
    """True where the expert reads the token. (N, E)"""
    return torch.zeros_like(routing.scores, dtype=torch.bool).scatter(1, routing.indices, True)


def load(routing: Routing) -> torch.Tensor:
    """Each expert's share of all choices, times E: 1 when even. (E,)"""
    return balancing.load(balancing.expert_counts(routing.indices, routing.scores.shape[-1]))


def imbalance(routing: Routing) -> float:
    """The load of the busiest expert over the mean: 1 when even, E / A when A experts read everything."""
    return float(load(routing).max())


def chooses_by(router: Router) -> str:
    """What a router chooses the largest of: the unit of its margins."""
    if isinstance(router, TopKSoftmaxRouter):
        return "logits"
    return "sigmoids with their bias" if isinstance(router, SigmoidGroupRouter) else "shares of a softmax"


@torch.no_grad()
def margins(router: Router, routing: Routing) -> torch.Tensor:
    """How near each choice was: what the last chosen expert had more than the best that was not, in whatever the router
    chooses by (logits, shares, or biased sigmoids, of which experts outside the best groups are not candidates). (N,);
    inf where nobody was left to lose."""
    by = router.eligible(routing.logits, routing.scores)  # (N, E)
    last = by.gather(1, routing.indices).amin(1)  # (N,)
    return last - by.masked_fill(chosen(routing), float("-inf")).amax(1)


@torch.no_grad()
def kept_groups(router: Router, routing: Routing) -> torch.Tensor:
    """True for the groups whose experts could be chosen. (N, G); ValueError for a router without groups."""
    groups = getattr(router.config, "n_group", None)
    if groups is None:
        raise ValueError(f"{type(router).__name__} has no groups: only DeepSeek's routers have")
    by = router.eligible(routing.logits, routing.scores).unflatten(-1, (groups, -1))  # (N, G, E/G)
    left_out = float("-inf") if has_bias(router) else 0.0  # what keep_best_groups fills in
    return (by != left_out).any(-1)


def has_bias(router: Router) -> bool:
    """Whether a bias steers the choice, as in DeepSeek-V3."""
    return getattr(router, "e_score_correction_bias", None) is not None


@torch.no_grad()
def without_bias(router: Router, routing: Routing) -> Routing:
    """What the router would do with the same tokens if its e_score_correction_bias were 0. ValueError for a router that
    has none."""
    if not has_bias(router):
        raise ValueError(f"{type(router).__name__} has no e_score_correction_bias: only DeepSeek-V3's router has")
    with _bias_of_zero(router):
        by = router.eligible(routing.logits, routing.scores)  # (N, E)
    indices = by.topk(routing.indices.shape[1], dim=-1).indices  # (N, A)
    return routing._replace(indices=indices, weights=router.weigh(routing.logits, routing.scores, indices))


@contextmanager
def _bias_of_zero(router: Router) -> Iterator[None]:
    bias = router.e_score_correction_bias
    router.e_score_correction_bias = torch.zeros_like(bias)
    try:
        yield
    finally:
        router.e_score_correction_bias = bias


def differs(one: Routing, other: Routing) -> torch.Tensor:
    """True for the tokens that the two give to other experts. (N,)"""
    return (chosen(one) != chosen(other)).any(-1)


def coactivation(routing: Routing) -> torch.Tensor:
    """How many tokens two experts both read; on the diagonal, how many one reads. (E, E)"""
    reads = chosen(routing).float()  # (N, E)
    return reads.T @ reads


def together(routing: Routing) -> torch.Tensor:
    """Row i: of the tokens that expert i reads, the share that each other expert reads, too; (A - 1) / (E - 1) if
    experts were drawn evenly. The diagonal is 1; the row of an expert that reads nothing is 0. (E, E)"""
    both = coactivation(routing)
    return both / both.diagonal().clamp(min=1)[:, None]
