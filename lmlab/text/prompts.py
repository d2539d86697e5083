"""Texts of the corpus cut where only one word can follow: prompts with a known answer."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer

QUESTION = re.compile(r" (?:What does|What is|And) (\w+)(?: do)?\? ((?:The )?\w+ \w+)\.")  # who or what; the answer
LAST_QUESTION = re.compile(r" (?:What does|What is|And) (\w+)(?: do)?\? (?:The )?\w+( \w+)\.$")
VISIT = re.compile(r"\. (\w+) and( \w+) often visited ")


class Prompt(NamedTuple):
    """The ids of a text up to its answer, the answer's one id, and `guess`: how often someone is right who knows what
    kind of word must follow, and takes at random one of that kind that the text has told."""

    ids: list[int]
    answer: int
    guess: float


def names(tokenizer: Tokenizer, number: int) -> list[Prompt]:
    """Stories that no training seed writes, cut where a friend must be named whose name was told ("... called Tom. Mia
    and"). A guess takes one of the two names."""
    found = _cut(tokenizer, "story", VISIT, lambda text, cut: 1 / len({cut[1], cut[2].strip()}))
    return [*islice(found, number)]


def recall(tokenizer: Tokenizer, number: int) -> list[Prompt]:
    """Recall texts that no training seed writes, cut where something stated earlier must be named ("... What does Mia
    do? Mia"). A guess takes one of the facts that were stated; no earlier question has asked for the same one."""
    return [*islice(_cut(tokenizer, "recall", LAST_QUESTION, _guess_of_facts), number)]


def _guess_of_facts(text: str, cut: re.Match) -> float | None:
    """None where the facts leave no choice, or where the answer was given before."""
    asked_before = [question[1] for question in QUESTION.finditer(text[: cut.start()])]
    stated = re.findall(r" \w+( \w+)[.,]", text.partition("?")[0])
    if cut[1] in asked_before or len({*stated}) < 2:
        return None
    return stated.count(cut[2]) / len(stated)


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
