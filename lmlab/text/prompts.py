"""Texts of the corpus cut where only one word can follow: prompts with a known answer."""

import re
from collections.abc import Iterator
from itertools import islice

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer

LAST_QUESTION = re.compile(r"\? (?:In|On|At) the( \w+)\.$")


def recall(tokenizer: Tokenizer, number: int) -> list[tuple[list[int], int]]:
    """Recall texts that no training seed writes, cut where a place that was stated earlier must be named ("... Where is
    the ring? In the"): the ids of each, and the one that names it."""
    return [*islice(_recall(tokenizer), number)]


def _recall(tokenizer: Tokenizer) -> Iterator[tuple[list[int], int]]:
    for document in documents("general", seed=-1):
        answer = LAST_QUESTION.search(document.text)
        if document.domain == "recall" and answer:
            first, *rest = tokenizer.encode(answer[1])
            if not rest:
                yield [tokenizer.end, *tokenizer.encode(document.text[: answer.start(1)])], first
