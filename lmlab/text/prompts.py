"""Texts of the corpus cut where only one word can follow: prompts with a known answer."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer

QUESTION = re.compile(r" (?:What is|And) the (\w+)\? It is((?: \w+)*?)( \w+)\.")  # the kind, the answer, its last word
VISIT = re.compile(r"\. (\w+) and( \w+) often visited ")


class Prompt(NamedTuple):
    """The ids of a text up to its answer, the answer's one id, and `guess`: how often someone is right who
    takes at random one of the names, or of the facts, that the text has told."""

    ids: list[int]
    answer: int
    guess: float


def names(tokenizer: Tokenizer, number: int) -> list[Prompt]:
    """Stories that no training seed writes, cut where a friend must be named whose name was told ("... called Tom. Mia
    and"). A guess takes one of the two names."""
    found = _cut(tokenizer, "story", VISIT, lambda text, cut: 1 / len({cut[1], cut[2].strip()}))
    return [*islice(found, number)]


def facts(tokenizer: Tokenizer, number: int) -> list[Prompt]:
    """Recall texts that no training seed writes, cut where something stated earlier must be named ("... And the
    color? It is"). A guess takes one of the facts that were stated; no earlier question has asked for the same one."""
    last = re.compile(QUESTION.pattern + "$")
    return [*islice(_cut(tokenizer, "recall", last, _guess_of_facts), number)]


def _guess_of_facts(text: str, cut: re.Match) -> float | None:
    """None where the answer was given before."""
    if cut[1] in [question[1] for question in QUESTION.finditer(text[: cut.start()])]:
        return None
    return 1 / len(re.findall(r" The \w+ is [^.]*\.", text))


def _cut(
    tokenizer: Tokenizer, domain: str, answer: re.Pattern, guess: Callable[[str, re.Match], float | None]
) -> Iterator[Prompt]:
    """The texts of a domain that have such an answer, the pattern's last group and a single token, each cut before it;
    not those of which `guess` makes None."""
    for document in documents("general", seed=-1):
        found = answer.search(document.text) if document.domain == domain else None
        chance = found and guess(document.text, found)
        if chance:
            first, *rest = tokenizer.encode(found[found.lastindex])
            if not rest:
                before = document.text[: found.start(found.lastindex)]
                yield Prompt([tokenizer.end, *tokenizer.encode(before)], first, chance)
