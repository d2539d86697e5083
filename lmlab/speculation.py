"""Speculative decoding: a small guesser drafts the next token, the model reads the draft along with the token before it
in one pass, and keeps it or writes another. The text has the model's own distribution, whatever the guesser does.

A draft d was drawn from the guesser's q; the model, one token later, says p. d is kept with probability
min(1, p(d) / q(d)); else a token is drawn from max(p - q, 0), made to sum to 1. So a token x is written with
probability min(p(x), q(x)) as a kept draft, and with the missing max(p(x) - q(x), 0) after a rejection: p(x) in all
(Leviathan et al., arXiv:2211.17192, appendix A.1; Chen et al., arXiv:2302.01318). A kept draft costs the model no pass
of its own: the same pass says what follows it.

The guesser is the model's multi-token-prediction module (DeepSeek-V3, arXiv:2412.19437, section 5.4.3), which reads the
model's hidden state of a token and the token after it. It reads verified tokens only, so that its cache holds no
guesses; the model's own cache forgets a rejected draft again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from lmlab.compiling import runner
from lmlab.model import LanguageModel
from lmlab.parts.cache import FullCache, ModelCache
from lmlab.sampling import Greedy, Sampler


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What the guesser proposed for one place of the text, before the model judged it.

    token (B,): the proposal. logits (B, V): the guesser's own. probabilities (B, V): what the sampler drew the proposal
    from. accepted: whether the model wrote it; if not, the step's token was drawn from what the guesser had neglected.
    """

    token: torch.Tensor
    logits: torch.Tensor
    probabilities: torch.Tensor
    accepted: bool


def judge(
    sampler: Greedy | Sampler,
    draft: torch.Tensor,
    q: torch.Tensor,
    p: torch.Tensor,
    generator: torch.Generator | None = None,
) -> tuple[bool, torch.Tensor]:
    """draft (1,), drawn from the guesser's q (1, V); the model's p (1, V) -> whether it is kept, and the token (1,)."""
    if isinstance(sampler, Greedy):  # p and q with all weight on one token: kept if it is the same one
        token = sampler.choose(p)
        return bool(token == draft), token
    luck = torch.rand((), generator=generator, device=p.device)  # from 0 to below 1
    # where p and q agree to rounding nothing is neglected, and nothing is to be rejected
    if luck * q[0, draft] < p[0, draft] or not bool((p > q).any()):
        return True, draft
    return False, sampler.choose(neglected(p, q), generator)


def neglected(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """What p has more than q, made to sum to 1: what a token is drawn from in place of a rejected draft. (..., V)"""
    more = (p - q).clamp(min=0)
    return more / more.sum(-1, keepdim=True)


class Drafter:
    """The first MTP module, with a cache of its own: one entry for each verified token but the first."""

    def __init__(self, model: LanguageModel, max_length: int, compile: bool = False):
        self.module = model.mtp[0]
        self.cache = self.module.make_cache(1, max_length, slack=1)
        self.fixed = compile  # a compiled pass always takes two tokens: its shapes must not change
        self.run = runner(draft, model, compile, max_length)

    def read(self, hidden: torch.Tensor, ids: torch.Tensor) -> None:
        """hidden (1, T, C) of a prompt's tokens and ids (1, T) of those after each: kept for later, nothing guessed."""
        if ids.shape[1]:
            self.module.hidden(hidden, ids, cache=self.cache)

    def __call__(self, hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """hidden (1, T, C) of the tokens verified last, T 1 or 2, and ids (1, T) of those after each -> logits (1, V)
        for the token after these."""
        count = ids.shape[1]
        if self.fixed and count == 1:  # something in the second place, forgotten again
            hidden, ids = hidden.repeat(1, 2, 1), ids.repeat(1, 2)  # (1, 2, C), (1, 2)
        logits = self.run(hidden, ids, self.cache)[:, count - 1]  # (1, V)
        self.cache.trim(ids.shape[1] - count)
        return logits.clone()


def draft(model: LanguageModel, hidden: torch.Tensor, ids: torch.Tensor, cache: FullCache) -> torch.Tensor:
    """hidden (1, T, C) of tokens, ids (1, T) of those after each -> logits (1, T, V) for those after these."""
    return model.mtp[0](hidden, ids, cache=cache)


def speculate(
    drafter: Drafter,
    verify: Callable[[torch.Tensor, ModelCache], tuple[torch.Tensor, torch.Tensor]],
    cache: ModelCache,
    hidden: torch.Tensor,
    logits: torch.Tensor,
    sampler: Greedy | Sampler,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, Draft | None]]:
    """After a prompt has been read: hidden (1, 1, C) and logits (1, V) of its last token. Yields without end: a token
    (1,), the model's logits and probabilities (1, V), and the draft that stood in this place.

    `verify(ids, cache)`, ids (1, 2), gives hidden (1, 2, C) and logits (1, 2, V) of both. Before each round `cache`
    holds all tokens but the last, and the drafter's cache all but the first and the last.
    """
    p = sampler.probabilities(logits)
    token = sampler.choose(p, generator)
    yield token, logits, p, None
    fresh = token[None]  # (1, T), the tokens that the drafter has not read yet
    while True:
        guess = drafter(hidden, fresh)  # (1, V)
        q = sampler.probabilities(guess)
        proposal = sampler.choose(q, generator)
        hidden, both = verify(torch.stack((token, proposal), dim=1), cache)  # (1, 2, C), (1, 2, V)
        after, beyond = both.clone().unbind(1)  # (1, V) each
        p = sampler.probabilities(after)
        accepted, token = judge(sampler, proposal, q, p, generator)
        if not accepted:
            cache.trim(1)
            hidden = hidden[:, :1]
        record = Draft(token=proposal, logits=guess, probabilities=q, accepted=accepted)
        yield token, after, p, record
        fresh = token[None]
        if accepted:
            p = sampler.probabilities(beyond)
            token = sampler.choose(p, generator)
            yield token, beyond, p, None
            fresh = torch.stack((proposal, token), dim=1)  # (1, 2)
