"""Samplers: how the next token is chosen from the model's logits. The choice is made outside the model."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Always the most probable token."""

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.float().softmax(-1)

    def choose(self, probabilities: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return probabilities.argmax(-1)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draws from the model's probabilities, reshaped in this order, each step on what the one before has left:

    temperature  logits are divided by it: below 1 sharper, above 1 flatter
    top_k        only the k most probable tokens stay
    top_p        only the smallest set of most probable tokens that holds at least this much probability stays
                 (the token that crosses the line is in it; Holtzman et al., arXiv:1904.09751)
    min_p        only tokens with at least this share of the most probable one's probability stay (arXiv:2407.01082)
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(
                f"temperature={self.temperature} must be above 0; for the most probable token use Greedy()"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must lie above 0 and up to 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p={self.min_p} must lie from 0 to 1")

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, V) -> (B, V): what will be drawn from; each row sums to 1."""
        logits = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            kept = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.topk(self.top_k, dim=-1).indices, True)
            logits = logits.masked_fill(~kept, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
            before = ordered.cumsum(-1) - ordered  # what the tokens ahead of this one already hold
            dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= self.top_p)
            logits = logits.masked_fill(dropped, float("-inf"))
        probabilities = logits.softmax(-1)
        if self.min_p is not None:
            floor = self.min_p * probabilities.amax(-1, keepdim=True)  # (B, 1)
            probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        return probabilities

    def choose(self, probabilities: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(B, V) -> (B,)"""
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
