"""Texts of the corpus cut where only one word can follow: prompts with a known answer."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from lmlab.text.corpus import documents
from lmlab.text.tokenizer import Tokenizer

QUESTION = r"Where is the (\w+)\? (In|On|At) the"
LAST_QUESTION = re.compile(rf"{QUESTION}( \w+)\.$")
STATED = re.compile(r" lies (\w+) the( \w+)\.")
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


def facts(tokenizer: Tokenizer, number: int) -> list[Prompt]:
    """Recall texts that no training seed writes, cut where a place that was stated earlier must be named ("... Where is
    the ring? In the"). At least two places with that word before them were stated, of which a guess takes one, and no
    earlier question has asked for the same."""
    return [*islice(_cut(tokenizer, "recall", LAST_QUESTION, _guess_of_places), number)]


def _guess_of_places(text: str, cut: re.Match) -> float | None:
    """None where the places leave no choice, or where the answer was given before."""
    thing, preposition, place = cut.groups()
    stated = [where for how, where in STATED.findall(text) if how == preposition.lower()]
    again = thing in [asked for asked, _ in re.findall(QUESTION, text[: cut.start()])]
    return None if again or len({*stated}) < 2 else stated.count(place) / len(stated)


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
