"""The corpus: documents drawn from mixtures of domains, each with the exact log-probability of its text.

A mixture says with which probability a document belongs to each domain (data/corpus/mixtures.json). The entropy floor
of a model trained on one is the mean of -log p over its documents: nobody can predict them better on average.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lmlab.paths import data_path
from lmlab.text.derivation import Choice, read, write
from lmlab.text.domains import ARITHMETIC, CODE, DOMAIN_LEXICON, LANGUAGE, RECALL
from lmlab.text.grammar import Node, one_of
from lmlab.text.stories import STORY, long_story

DOMAINS: dict[str, Node] = {
    "story": STORY,
    "long_story": one_of(*map(long_story, (3, 4, 5, 6))),
    "recall": RECALL,
    "arithmetic": ARITHMETIC,
    "code": CODE,
    "language": LANGUAGE,
}


@dataclass(frozen=True)
class Document:
    """`logprob` is that of the whole text in its mixture, the choice of the domain included, in nats."""

    domain: str
    text: str
    choices: tuple[Choice, ...]
    logprob: float


@cache
def mixtures() -> dict[str, dict[str, float]]:
    """Each mixture: domain -> the share of its documents."""
    return json.loads(data_path("corpus", "mixtures.json").read_text(encoding="utf-8"))


def mixture(name: str) -> dict[str, float]:
    """ValueError names the mixtures there are."""
    if name not in mixtures():
        raise ValueError(f"there is no mixture {name!r}; there are {', '.join(mixtures())}")
    return mixtures()[name]


def documents(name: str = "general", seed: int = 0) -> Iterator[Document]:
    """Documents of a mixture without end; the same ones for the same seed."""
    shares, rng = mixture(name), random.Random(f"{name} {seed}")
    domains, weights = [*shares], [*shares.values()]
    while True:
        (domain,) = rng.choices(domains, weights)
        made = write(DOMAINS[domain], DOMAIN_LEXICON, rng)
        yield Document(domain, made.text, made.choices, made.logprob + math.log(shares[domain] / sum(weights)))


def parse(text: str, name: str = "general") -> Document | None:
    """The document with this text: its domain, choices and log-probability in the mixture. None for any other text."""
    shares = mixture(name)
    for domain, share in shares.items():
        if made := read(DOMAINS[domain], DOMAIN_LEXICON, text):
            return Document(domain, text, made.choices, made.logprob + math.log(share / sum(shares.values())))
    return None
