"""Writing text one token at a time: samplers that reshape the next-token probabilities, and a loop that yields each
step.

`generate` is a generator of Steps: printing, drawing and stopping early belong to the caller.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lmlab.model import LanguageModel
from lmlab.parts.cache import ModelCache


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


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a small guesser proposed for one place of the text, before the model judged it.

    token (B,): the proposal. logits (B, V): the guesser's own. probabilities (B, V): what the sampler drew the proposal
    from. accepted: whether the model wrote it; if not, the step's token was drawn from what the guesser had neglected.
    """

    token: torch.Tensor
    logits: torch.Tensor
    probabilities: torch.Tensor
    accepted: bool


@dataclass(frozen=True, kw_only=True)
class Step:
    """One new token in each row.

    token (B,): the tokens written; a finished row repeats its stop token. logits (B, V): the model's own. probabilities
    (B, V): the same after the sampler. finished (B,): rows that have written a stop token, this one included. length:
    tokens in the text that the choice was made from, padding included. cache_bytes: bytes allocated for the cache.
    draft: in speculative decoding, the proposal that stood in this place; None where there was none.
    """

    token: torch.Tensor
    logits: torch.Tensor
    probabilities: torch.Tensor
    finished: torch.Tensor
    length: int
    cache_bytes: int
    draft: Draft | None = None


def generate(
    model: LanguageModel,
    prompts: torch.Tensor | Sequence[Sequence[int]] | Sequence[int],
    *,
    max_new_tokens: int,
    sampler: Greedy | Sampler = Greedy(),
    lengths: torch.Tensor | None = None,
    stop_tokens: Iterable[int] = (),
    prefill_chunk: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Step]:
    """Read the prompts, then write up to `max_new_tokens` tokens a row, one Step each; ends when every row has stopped.

    prompts: token ids (B, T), or (T,) for one row, or a list of lists of unequal lengths; or ids padded at the left,
    with `lengths` (B,). `prefill_chunk` reads the prompt in pieces of that many tokens, which bounds the memory of
    attention. `generator` makes the draws reproducible. ValueError for an empty prompt or a token outside the
    vocabulary.
    """
    device = model.embed_tokens.weight.device
    ids, lengths = _as_batch(prompts, lengths, device)
    _check(ids, model.config.vocab_size, max_new_tokens, prefill_chunk)
    return _steps(model, ids, lengths, max_new_tokens, sampler, tuple(stop_tokens), prefill_chunk, generator)


def _steps(model, ids, lengths, max_new_tokens, sampler, stop_tokens, prefill_chunk, generator) -> Iterator[Step]:
    rows, length = ids.shape
    cache = model.make_cache(rows, length + max_new_tokens - 1)
    if lengths is not None:
        cache.padding = length - lengths
    for chunk in ids.split(prefill_chunk or length, dim=1):
        logits = read(model, chunk, cache)  # (B, V)
    stops = torch.tensor(stop_tokens, dtype=torch.long, device=ids.device)
    finished = torch.zeros(rows, dtype=torch.bool, device=ids.device)
    token = ids[:, -1]
    for step in range(max_new_tokens):
        probabilities = sampler.probabilities(logits)  # (B, V)
        token = torch.where(finished, token, sampler.choose(probabilities, generator))  # (B,)
        if stop_tokens:
            finished = finished | torch.isin(token, stops)
        yield Step(
            token=token,
            logits=logits,
            probabilities=probabilities,
            finished=finished,
            length=length + step,
            cache_bytes=cache.nbytes,
        )
        if step + 1 == max_new_tokens or bool(finished.all()):
            return
        logits = read(model, token[:, None], cache)


def read(model: LanguageModel, ids: torch.Tensor, cache: ModelCache) -> torch.Tensor:
    """ids (B, T) -> the logits (B, V) after the last of them. The head reads one state, not T."""
    with torch.inference_mode():
        logits = model.lm_head(model.hidden(ids, cache)[:, -1])
    return logits.clone()  # an ordinary tensor again, which the caller may change


def _as_batch(prompts, lengths, device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """-> ids (B, T), padded at the left, and lengths (B,), None where nothing is padded."""
    if isinstance(prompts, torch.Tensor):
        ids = prompts[None] if prompts.ndim == 1 else prompts
        return ids.to(device), None if lengths is None else lengths.to(device)
    if len(prompts) and isinstance(prompts[0], int):
        prompts = [prompts]
    longest = max(map(len, prompts), default=0)
    if not len(prompts) or not min(map(len, prompts)):
        raise ValueError("a prompt is empty: every row needs at least one token")
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)  # (B, T)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, None if bool((lengths == longest).all()) else lengths


def _check(ids: torch.Tensor, vocab_size: int, max_new_tokens: int, prefill_chunk: int | None) -> None:
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"prompts of shape {tuple(ids.shape)}: token ids (B, T) with T of 1 or more are expected")
    if ids.is_floating_point() or int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise ValueError(f"token ids must be whole numbers from 0 to {vocab_size - 1}: got {ids.min()} to {ids.max()}")
    if max_new_tokens < 1 or (prefill_chunk is not None and prefill_chunk < 1):
        raise ValueError(f"max_new_tokens={max_new_tokens} and prefill_chunk={prefill_chunk} must be 1 or more")
