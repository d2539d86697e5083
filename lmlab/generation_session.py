"""Writing by hand: one text that grows token by token, drawn, chosen or taken back.

`generate` runs ahead; a Session waits. It knows what the model says of the next token before anything is drawn, so that
a sampler can be changed and its effect be seen first. With multi-token prediction it drafts as `generate` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lmlab.generation import Step
from lmlab.model import LanguageModel
from lmlab.sampling import Greedy, Sampler
from lmlab.speculation import Draft, Drafter, judge

BEST = Greedy()


@dataclass(frozen=True)
class Token:
    """One token of the text, and how it came there.

    how: "prompt"; "drawn" by the sampler; "chosen" by hand; "accepted", a draft of the MTP module; "replaced", drawn in
    the place of `draft`, which the model rejected.
    """

    id: int
    how: str = "prompt"
    draft: int | None = None


@dataclass(frozen=True)
class Proposal:
    """What the MTP module proposes for the next place: a token, its logits (V,), and what it was drawn from (V,)."""

    id: int
    logits: torch.Tensor
    probabilities: torch.Tensor


class Session:
    """One text under one's hands.

    ids: the prompt. max_length: how many tokens the text may have. sampler: to be changed at any time. drafts: let the
    model's MTP module propose tokens. stop: the id that ends a text. written: tokens after the prompt, from another
    session. The same seed and the same moves write the same text; `back` takes a token back, not the draw.

    ValueError for an empty prompt, for one without room, and for drafts of a model without MTP.
    """

    def __init__(
        self,
        model: LanguageModel,
        ids: Sequence[int],
        *,
        max_length: int,
        sampler: Greedy | Sampler = BEST,
        drafts: bool = False,
        stop: int | None = None,
        seed: int = 0,
        written: Sequence[Token] = (),
    ):
        if not len(ids):
            raise ValueError("the prompt is empty: give one token or more")
        if len(ids) + len(written) > max_length:
            raise ValueError(f"the text has {len(ids) + len(written)} tokens, and there is room for {max_length}")
        self.tokens = [*map(Token, ids), *written]
        self.model, self.max_length, self.sampler, self.stop = model, max_length, sampler, stop
        self.device = model.embed_tokens.weight.device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        # one place more for a draft that is not judged yet, which a window must be able to forget
        self.cache = model.make_cache(1, max_length + 1, slack=int(bool(model.mtp)))
        self.drafter = Drafter(model, max_length) if model.mtp else None
        self.draft: Proposal | None = None
        self.reread = False  # whether the last `back` had to read the whole text again
        self.drafts = drafts
        self.states = [*self._read(self.ids)]  # (C,) after each token, and after the draft

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]

    @property
    def prompt(self) -> list[int]:
        return [token.id for token in self.tokens if token.how == "prompt"]

    @property
    def written(self) -> list[Token]:
        """The tokens after the prompt."""
        return self.tokens[len(self.prompt) :]

    @property
    def drafts(self) -> bool:
        return self._drafts

    @drafts.setter
    def drafts(self, wanted: bool) -> None:
        if wanted and self.drafter is None:
            raise ValueError("drafts need a model with multi-token prediction, such as mini-deepseek-v3")
        self._drafts = wanted
        if not wanted:
            self._drop_draft()

    @property
    def logits(self) -> torch.Tensor:
        """What the model itself says of the next token. (V,)"""
        with torch.inference_mode():
            return self.model.lm_head(self.states[len(self.tokens) - 1]).clone()

    @property
    def probabilities(self) -> torch.Tensor:
        """What the next token will be drawn from. (V,)"""
        return drawn_from(self.sampler, self.logits)

    @property
    def chance(self) -> float:
        """The probability that the pending draft will be accepted: min(1, p/q)."""
        return min(1.0, float(self.probabilities[self.draft.id] / self.draft.probabilities[self.draft.id]))

    @property
    def cache_bytes(self) -> int:
        """Bytes allocated for the caches, the drafter's included where there are drafts."""
        return self.cache.nbytes + (self.drafter.cache.nbytes if self.drafts else 0)

    @property
    def ended(self) -> str:
        """ "stop" after the stop token, "full" where there is no room, else ""."""
        if self.tokens[-1].how != "prompt" and self.tokens[-1].id == self.stop:
            return "stop"
        return "full" if len(self.tokens) == self.max_length else ""

    @property
    def passes(self) -> int:
        """Forward passes that wrote the text after the prompt: one for each token that is not an accepted draft."""
        return sum(token.how != "accepted" for token in self.written)

    def step(self) -> Step:
        """Draw the next token; where a draft is pending, accept or replace it. The same record as `generate`'s."""
        logits, p, length, draft = self.logits[None], self.probabilities[None], len(self.tokens), None  # (1, V)
        if self.draft is None:
            one = torch.multinomial(p, 1, generator=self.generator)[0]  # (1,)
            token = Token(int(one), "drawn")
        else:
            proposed, q = torch.tensor([self.draft.id], device=self.device), self.draft.probabilities[None]
            accepted, one = judge(self.sampler, proposed, q, p, self.generator)
            token = Token(int(one), *(("accepted",) if accepted else ("replaced", self.draft.id)))
            draft = Draft(token=proposed, logits=self.draft.logits[None], probabilities=q, accepted=accepted)
        self._append(token)
        return Step(
            token=one,
            logits=logits,
            probabilities=p,
            finished=torch.tensor([self.ended == "stop"], device=self.device),
            length=length,
            cache_bytes=self.cache_bytes,
            draft=draft,
        )

    def choose(self, id: int) -> Token:
        """Write this token, whatever its probability."""
        return self._append(Token(id, "chosen"))

    def back(self) -> Token:
        """Take the last token back: the caches are trimmed. A window that has overwritten what it would need again
        cannot be; then the text is read once more, and `reread` says so. ValueError when only the prompt is left."""
        if self.tokens[-1].how == "prompt":
            raise ValueError("only the prompt is left: there is nothing to take back")
        self._drop_draft()
        token = self.tokens.pop()
        self.states.pop()
        if self.drafter is not None:
            _forget(self.drafter.cache, int(self.drafter.cache.length) - (len(self.tokens) - 1))
        self.reread = not _forget(self.cache, 1)
        if self.reread:
            self.states = [*self._read(self.ids)]
        return token

    def _append(self, token: Token) -> Token:
        if self.ended:
            raise ValueError("the text has ended" if self.ended == "stop" else f"all {self.max_length} places are full")
        self.reread = False
        if token.how == "accepted":
            self.draft = None  # it is read already, and the state after it known
            self.tokens.append(token)
            return token
        self._drop_draft()
        self.tokens.append(token)
        if self.drafts and not self.ended:
            self.draft = self._propose()
        ids = [token.id] if self.draft is None else [token.id, self.draft.id]
        self.states += self._read(ids)
        return token

    def _read(self, ids: list[int]) -> torch.Tensor:
        """One forward pass: the states after these tokens. (T, C)"""
        with torch.inference_mode():
            return self.model.hidden(torch.tensor([ids], device=self.device), self.cache)[0]

    def _propose(self) -> Proposal:
        """The drafter reads the states before the last token that it has not read yet, each with the token after."""
        first, last = int(self.drafter.cache.length), len(self.tokens) - 1
        hidden = torch.stack(self.states[first:last])[None]  # (1, T, C)
        logits = self.drafter(hidden, torch.tensor([self.ids[first + 1 :]], device=self.device))  # (1, V)
        q = drawn_from(self.sampler, logits[0])
        return Proposal(int(torch.multinomial(q, 1, generator=self.generator)), logits[0], q)

    def _drop_draft(self) -> None:
        if self.draft is not None:
            self.draft = None
            self.states.pop()
            self.cache.trim(1)


def drawn_from(sampler: Greedy | Sampler, logits: torch.Tensor) -> torch.Tensor:
    """(V,) -> (V,): what a token is drawn from. Greedy draws, too: from all of the probability on one token."""
    p = sampler.probabilities(logits[None])  # (1, V)
    if isinstance(sampler, Greedy):
        p = torch.zeros_like(p).scatter(-1, sampler.choose(p)[:, None], 1.0)
    return p[0]


def _forget(cache, n: int) -> bool:
    """Trim the last n tokens; or empty the cache, where they have displaced what it would need, and return False."""
    try:
        cache.trim(max(n, 0))
    except ValueError:
        cache.reset()
        return False
    return True
