"""What a training run is: everything that decides its result, as one frozen value that is saved beside the weights."""

import random
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

_STAGE = re.compile(r"([a-z_]+)(?::(\d*\.?\d+))?(?:@(\d+))?")

RECIPE = "recipe.json"  # its file beside a checkpoint's weights


class Stage(NamedTuple):
    """A mixture, its share of the steps, and the length of its rows."""

    mixture: str
    share: float
    length: int


def is_own_text(mixture: str) -> bool:
    return mixture.endswith(".txt")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`tokens` are positions read, padding included; a step reads batch_size rows of `length`.

    mixture             one of the corpus (text/corpus.py); several as stages, each with its share of the steps and, if
                        it has rows of its own length, that, as in "general:0.6 reasoning:0.3 long:0.1@1024" (a step
                        then has fewer rows, and as many tokens); or a .txt file of the reader's own
    shuffled            the steps of all stages in random order: the same texts as one flat mixture
    learning_rate       AdamW's, for embeddings, head, norms and what else is not a matrix of a layer
    muon_learning_rate  Muon's, for the layers' matrices; None: AdamW for them, too
    warmup_ratio, decay_ratio
                        shares of the steps: the rate rises linearly, stays, and falls linearly to nearly nothing
                        (warmup-stable-decay, arXiv:2405.18392)
    max_grad_norm       longer gradients are shortened to it
    router_aux_loss_coef
                        weight of the balancing loss, where the router has no bias of its own
    bias_rate           gamma of the routers that have one (parts/balancing.py)
    mtp                 weight of the multi-token-prediction loss (DeepSeek-V3, arXiv:2412.19437, section 4.2: 0.3)
    bf16                forward and backward in bfloat16 (autocast); weights and optimizer stay float32
    """

    tokens: int
    mixture: str = "general"
    shuffled: bool = False
    batch_size: int = 16
    length: int = 256
    learning_rate: float = 3e-3
    muon_learning_rate: float | None = 0.02
    weight_decay: float = 0.05
    warmup_ratio: float = 0.02
    decay_ratio: float = 0.4
    max_grad_norm: float = 1.0
    router_aux_loss_coef: float = 0.01
    bias_rate: float = 0.01
    mtp: float = 0.3
    bf16: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(
                f"tokens={self.tokens} are less than one step: {self.batch_size} rows of {self.length} need "
                f"{self.batch_size * self.length}"
            )
        if not 0 <= self.warmup_ratio + self.decay_ratio <= 1:
            raise ValueError(
                f"warmup_ratio={self.warmup_ratio} and decay_ratio={self.decay_ratio} are together more than 1"
            )
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError(f"the shares of the stages in {self.mixture!r} add up to something else than 1")
        for stage in self.stages:
            if self.batch_size * self.length % stage.length:
                raise ValueError(
                    f"a step reads {self.batch_size} x {self.length} tokens, which are no whole rows of {stage.length}"
                )

    @property
    def steps(self) -> int:
        return self.tokens // (self.batch_size * self.length)

    @property
    def stages(self) -> list[Stage]:
        """ValueError for a mixture that does not say what it should."""
        if is_own_text(self.mixture):
            return [Stage(self.mixture, 1.0, self.length)]
        found = [_STAGE.fullmatch(part) for part in self.mixture.split()]
        if not found or None in found:
            raise ValueError(f"mixture={self.mixture!r}: write general, or general:0.6 long:0.4, or with long:0.4@1024")
        return [
            Stage(name, float(share or 1), int(length or self.length))
            for name, share, length in (one.groups() for one in found)
        ]

    @property
    def order(self) -> list[int]:
        """The number of the stage that each step reads from."""
        ends, before = [], 0.0
        for stage in self.stages:
            before += stage.share
            ends.append(round(before * self.steps))
        steps = [bisect_right(ends, step) for step in range(self.steps)]
        return random.Random(self.seed).sample(steps, len(steps)) if self.shuffled else steps

    def rate(self, step: int) -> float:
        """The share of the full learning rate at a step, counted from 0."""
        rising, falling = round(self.warmup_ratio * self.steps), round(self.decay_ratio * self.steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        left = self.steps - step
        return left / (falling + 1) if left <= falling else 1.0
