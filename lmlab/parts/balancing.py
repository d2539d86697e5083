"""Keeping experts evenly used while training: three losses and one rule without a loss.

All start from what a router returned (Routing) for N tokens, of which each chose A of E experts:
    f_e = E / (A N) * (times expert e was chosen)     its load, 1 when even; counted, so without a gradient
    P_e = mean over the tokens of the share of expert e in a token's scores     1/E when even; carries the gradient
and every loss is sum_e f_e P_e: 1 when either is even, E / A when A experts take everything.

- `auxiliary_loss`: over one micro-batch (Switch, arXiv:2101.03961, eq. 4; GPT-OSS and Qwen3-MoE in transformers, whose
  `load_balancing_loss_func` is A times this, and pools the tokens of all layers).
- `global_batch_loss`: f over the whole batch of all micro-batches and ranks, so that one text may use few experts
  (arXiv:2501.11873; Qwen3, arXiv:2505.09388, section 2).
- `sequence_wise_loss`: f and P within each sequence, and f by the scores alone, as the token would choose without bias
  and groups (DeepSeek-V3, arXiv:2412.19437, eq. 17-20, alpha 0.0001).
- `update_bias_`: no loss; after each step the bias of an overloaded expert falls by gamma, of an underloaded one rises
  (arXiv:2408.15664; DeepSeek-V3, section 2.1.2, gamma 0.001).

With padding in the batch, a router sees real tokens only (parts/moe.py), so nothing here needs a mask.
"""

import torch
import torch.distributed as dist

from lmlab.parts.router import Router, Routing


def expert_counts(indices: torch.Tensor, num_experts: int) -> torch.Tensor:
    """How many tokens chose each expert. indices (N, A) -> (E,) float32"""
    return torch.zeros(num_experts, device=indices.device).scatter_add(
        0, indices.flatten(), torch.ones(indices.numel(), device=indices.device)
    )


def load(counts: torch.Tensor) -> torch.Tensor:
    """Counts (..., E) -> f: each expert's share of all choices, times E. (..., E); 1 when even."""
    return counts * counts.shape[-1] / counts.sum(-1, keepdim=True).clamp(min=1)


def mean_share(scores: torch.Tensor) -> torch.Tensor:
    """scores (..., N, E) -> P (..., E): the mean over the tokens of each expert's share of a token's scores.

    Softmax scores are shares already; sigmoid scores become shares by their sum (DeepSeek-V3, eq. 19).
    """
    return (scores / scores.sum(-1, keepdim=True)).mean(-2)


def balance(counts: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Counts (E,) and scores (N, E) -> sum_e f_e P_e, a scalar."""
    return (load(counts) * mean_share(scores)).sum()


def auxiliary_loss(routing: Routing) -> torch.Tensor:
    """The balancing loss of one layer on one micro-batch: a scalar, 1 when even."""
    return balance(expert_counts(routing.indices, routing.scores.shape[-1]), routing.scores)


def global_batch_loss(routing: Routing, counts_before: torch.Tensor | None = None) -> torch.Tensor:
    """The same with the load of the global batch: this micro-batch's counts, those of the micro-batches before it
    (`counts_before` (E,), the running sum of this rank's `expert_counts`), and, where torch.distributed runs, of all
    ranks."""
    counts = expert_counts(routing.indices, routing.scores.shape[-1])
    if counts_before is not None:
        counts = counts + counts_before
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts)
    return balance(counts, routing.scores)


def sequence_wise_loss(routing: Routing, lengths: list[int]) -> torch.Tensor:
    """The mean over sequences of each one's own loss; `lengths` are their real tokens, which stand row after row in the
    routing. ValueError when they do not add up."""
    tokens, num_experts = routing.scores.shape
    if sum(lengths) != tokens:
        raise ValueError(f"lengths add up to {sum(lengths)}, and the routing holds {tokens} tokens")
    by_score = routing.scores.topk(routing.indices.shape[1], dim=-1).indices  # (N, A): the bias has no part in eq. 18
    sequences = zip(by_score.split(lengths), routing.scores.split(lengths), strict=True)
    losses = [balance(expert_counts(chosen, num_experts), scores) for chosen, scores in sequences if len(scores)]
    return torch.stack(losses).mean()


@torch.no_grad()
def update_bias_(router: Router, counts: torch.Tensor, gamma: float = 0.001) -> None:
    """Move the router's e_score_correction_bias in place: up by gamma where counts (E,), of the whole batch (summed
    over its micro-batches and ranks), lie below their mean, down where above."""
    router.e_score_correction_bias += gamma * torch.sign(counts.mean() - counts)
