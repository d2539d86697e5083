"""The bench: a miniature, one thing changed in it, both trained from scratch on the same tokens.

bench = Bench("mini-qwen3", "MLA in place of GQA")
bench.diff, bench.sizes                  # known at once
for name, record in bench: ...           # trains, one step of each in turn
bench.write("Mia gave the red box to")   # what both make of a prompt
"""

from collections.abc import Callable, Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING

import torch

import lmlab.checkpoints
import lmlab.families
from lmlab.configuration import ModelConfig, diff
from lmlab.generation import generate
from lmlab.measure import flops, memory, sizes
from lmlab.model import LanguageModel, build
from lmlab.text.tokenizer import Tokenizer
from lmlab.train.changes import Change, apply, changes
from lmlab.train.data import corpus_tokenizer
from lmlab.train.optimizers import init_for_training
from lmlab.train.pretraining import Record, pretrain
from lmlab.train.recipe import Recipe
from lmlab.train.runs import in_turn, table

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 20_000_000  # parameters: what trains in seconds to minutes
EVALUATIONS, EVALUATE_ON = 4, 32  # how often, and on how many held-out texts


def short_recipe(tokens: int, seed: int = 0) -> Recipe:
    """For runs of seconds: small batches, so that there are many steps, and high learning rates."""
    muon = 0.03 if hasattr(torch.optim, "Muon") else None
    return Recipe(tokens=tokens, batch_size=4, learning_rate=0.01, muon_learning_rate=muon, seed=seed)


@cache
def default_tokenizer() -> Tokenizer:
    """The miniatures' own; where no checkpoint lies beside the package, it is trained again, in seconds."""
    try:
        return lmlab.checkpoints.tokenizer("mini-qwen3")
    except FileNotFoundError:
        return corpus_tokenizer()


def beginning(config: ModelConfig, seed: int) -> LanguageModel:
    """A model ready to be trained; the same weights for the same seed."""
    model = build(config)
    init_for_training(model, torch.Generator().manual_seed(seed))
    return model


class Bench:
    """`model`: a miniature's name, or a ModelConfig; `change`: the name of one of `changes(config)`, a Change, or a
    function from the old configuration to a new one.

    names: what the two runs are called. before, after: their configurations. models: the trained ones, by name, once
    training has begun.
    ValueError for a change that does not apply or makes no valid model, and for a model too large to train here.
    """

    def __init__(
        self,
        model: str | ModelConfig,
        change: str | Change | Callable[[ModelConfig], ModelConfig],
        *,
        tokenizer: Tokenizer | None = None,
        tokens: int = 65_536,
        seed: int = 0,
    ):
        self.before = lmlab.families.config(model) if isinstance(model, str) else model
        if (size := sizes.total(self.before)) > LARGEST:
            raise ValueError(
                f"{self.before.name} has {size:,} parameters; the bench trains {LARGEST:,} at most: take a miniature"
            )
        self.tokenizer = tokenizer or default_tokenizer()
        if self.before.vocab_size < (known := len(self.tokenizer)):
            raise ValueError(f"the tokenizer has {known} tokens, the model room for {self.before.vocab_size}")
        self.change = self._found(change)
        self.after = apply(self.before, self.change)
        self.recipe = short_recipe(tokens, seed)
        self.names = (self.before.name or "as it is", self.change.name)
        self.models: dict[str, LanguageModel] = {}

    def _found(self, change: str | Change | Callable) -> Change:
        offered = changes(self.before)
        if isinstance(change, str):
            if change not in offered:
                raise ValueError(f"{self.before.name} has no change {change!r}; there are {', '.join(offered)}")
            return offered[change]
        return change if isinstance(change, Change) else Change("changed", "A change of your own.", change)

    @cached_property
    def diff(self) -> "pd.DataFrame":
        """What differs between the two configurations."""
        found = diff(self.before, self.after)
        found.columns = self.names
        return found

    @cached_property
    def sizes(self) -> "pd.DataFrame":
        """Parameters, bytes and FLOPs of both, and how many times the old one the new one has."""
        return sizes_beside(dict(zip(self.names, (self.before, self.after), strict=True)))

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Train both from scratch, one step of each in turn: (name, record)."""
        runs = {}
        for name, config, more in zip(self.names, (self.before, self.after), (0, self.change.other_seed), strict=True):
            recipe = short_recipe(self.recipe.tokens, self.recipe.seed + more)
            self.models[name] = beginning(config, recipe.seed)
            every = max(1, recipe.steps // EVALUATIONS)
            options = {"evaluate_every": every, "evaluate_on": EVALUATE_ON}
            runs[name] = pretrain(self.models[name], self.tokenizer, recipe, **options)
        return in_turn(runs)

    def run(self) -> "pd.DataFrame":
        """Train both to the end: `runs.table` of all records, with the run's name in the column arm."""
        import pandas as pd

        kept: dict[str, list[Record]] = {name: [] for name in self.names}
        for name, record in self:
            kept[name].append(record)
        return pd.concat([table(records).assign(arm=name) for name, records in kept.items()], ignore_index=True)

    def write(self, prompt: str, tokens: int = 40) -> dict[str, str]:
        """What each trained model adds to a prompt, by its most probable tokens, up to the end of the text."""
        ids, end = [self.tokenizer.end, *self.tokenizer.encode(prompt)], self.tokenizer.end
        texts = {}
        for name, model in self.models.items():
            steps = generate(model, ids, max_new_tokens=tokens, eos_token_id=end)
            written = [int(step.token) for step in steps]
            texts[name] = self.tokenizer.decode(token for token in written if token != end)
        return texts


def sizes_beside(configs: dict[str, ModelConfig]) -> "pd.DataFrame":
    """One row per quantity, one column per model, and `times`, the last over the first: all parameters; those that one
    token uses, embedding left out; bytes of the cache and FLOPs of one more token, at the longest text."""
    import pandas as pd

    length = next(iter(configs.values())).max_position_embeddings
    rows = {
        "parameters": sizes.total,
        "parameters for one token": lambda config: sizes.active(config, embedding=False),
        f"cache bytes at {length:,} tokens": lambda config: memory.cache_bytes(config, length),
        f"FLOP for token {length:,}": lambda config: flops.total(config, 1, length - 1),
    }
    found = pd.DataFrame(
        {name: {row: count(config) for row, count in rows.items()} for name, config in configs.items()}
    )
    return found.assign(times=found.iloc[:, -1] / found.iloc[:, 0])
