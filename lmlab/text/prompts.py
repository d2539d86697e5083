"""Texts of the corpus cut where only one word can follow: prompts with a known answer."""

import re
from collections.abc import Iterator
from itertools import islice

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer

LAST_QUESTION = re.compile(r"\? (?:In|On|At) the( \w+)\.$")
VISIT = re.compile(r"\. \w+ and( \w+) often visited ")


def names(tokenizer: Tokenizer, number: int) -> list[tuple[list[int], int]]:
    """Stories that no training seed writes, cut where a friend must be named whose name was told ("... called Tom. Mia
    and"): the ids of each, and the one of the name."""
    return [*islice(_cut(tokenizer, "story", VISIT), number)]


def recall(tokenizer: Tokenizer, number: int) -> list[tuple[list[int], int]]:
    """Recall texts that no training seed writes, cut where a place that was stated earlier must be named ("... Where is
    the ring? In the"): the ids of each, and the one that names it."""
    return [*islice(_cut(tokenizer, "recall", LAST_QUESTION), number)]


def _cut(tokenizer: Tokenizer, domain: str, answer: re.Pattern) -> Iterator[tuple[list[int], int]]:
    """The texts of a domain that have such an answer, a single token, each cut before it."""
    for document in documents("general", seed=-1):
        found = answer.search(document.text) if document.domain == domain else None
        if found:
            first, *rest = tokenizer.encode(found[1])
            if not rest:
                yield [tokenizer.end, *tokenizer.encode(document.text[: found.start(1)])], first
