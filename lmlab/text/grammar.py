"""A language for texts whose probability is known exactly.

A text is written by a tree of nodes. Every choice that is made leaves its mark in the text, so the same tree reads it
back: the same choices, and the log-probability of each. A node is one of

- a shape, a plain string with slots: "{hero} put the {color:colors} {thing:things} {place:places}."
      {fact}                  a fact known already: no choice. {fact.attribute} is a property of the word
      {fact:words}            a choice among the words of that name; the fact is known from here on
      {fact:words[other]}     among those that belong to another fact's word
      {fact:words-a-b}        among those that are not the facts a, b
      A name that begins with a capital is written with one: {Hero.he} -> She. {{ and }} are braces.
- Seq: one after the other        - Any: one of several, with weights
- Case: which one is decided by a fact, not by chance        - Let: a fact computed from others
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property


class Word(str):
    """A text with properties: Word("Mia", he="she", his="her")."""

    properties: Mapping[str, str]

    def __new__(cls, text: str, **properties: str):
        word = super().__new__(cls, text)
        word.properties = properties
        return word


Facts = dict[str, Word]


@dataclass(frozen=True)
class Words:
    """What a slot may hold, with weights (equal ones unless given). Texts must differ."""

    words: tuple[Word, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self):
        if len({*self.words}) != len(self.words):
            raise ValueError(f"a word stands twice among {self.words}: its choice could not be read back")

    @cached_property
    def shares(self) -> dict[Word, float]:
        weights = self.weights or (1.0,) * len(self.words)
        return dict(zip(self.words, weights, strict=True))

    def without(self, others: set[str]) -> dict[Word, float]:
        return {word: share for word, share in self.shares.items() if word not in others} if others else self.shares


Lexicon = Mapping[str, Words | Mapping[str, Words]]


_SLOT = re.compile(r"(?<!\{)\{([A-Za-z]\w*)(?:\.(\w+))?(?::(\w+)(?:\[(\w+)(?:\.(\w+))?\])?((?:-\w+)*))?\}(?!\})")


@dataclass(frozen=True)
class Slot:
    fact: str
    property: str | None
    capital: bool
    words: str | None  # None: the fact is known
    of: str | None
    of_property: str | None
    others: tuple[str, ...]

    def options(self, lexicon: Lexicon, facts: Facts) -> dict[Word, float]:
        words = lexicon[self.words]
        if self.of:
            words = words[look(facts, self.of, self.of_property)]
        return words.without({facts[other] for other in self.others if other in facts})

    def said(self, word: str) -> str:
        return word[:1].upper() + word[1:] if self.capital else word


def look(facts: Facts, fact: str, name: str | None) -> str:
    return facts[fact].properties[name] if name else facts[fact]


def _parts(shape: str) -> list[str | Slot]:
    """A shape's literal texts and slots, in order. ValueError for a brace that begins no slot."""
    parts, at = [], 0
    for found in _SLOT.finditer(shape):
        parts += [_literal(shape[at : found.start()])] if found.start() > at else []
        name, prop, words, of, of_prop, others = found.groups()
        fact = name[0].lower() + name[1:]
        capital = name[0].isupper()
        parts.append(Slot(fact, prop, capital, words, of, of_prop, tuple(others.split("-")[1:]) if others else ()))
        at = found.end()
    return parts + ([_literal(shape[at:])] if at < len(shape) else [])


def _literal(text: str) -> str:
    if re.search(r"[{}]", text.replace("{{", "").replace("}}", "")):
        raise ValueError(f"a brace of {text!r} belongs to no slot; a brace to be written is doubled")
    return text.replace("{{", "{").replace("}}", "}")


class Shape:
    def __init__(self, shape: str):
        self.shape, self.parts = shape, _parts(shape)

    def __repr__(self) -> str:
        return f"Shape({self.shape!r})"


@dataclass(frozen=True)
class Seq:
    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Any:
    nodes: tuple["Node", ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Case:
    fact: str
    property: str | None
    nodes: Mapping[str, "Node"]


@dataclass(frozen=True)
class Let:
    fact: str
    compute: Callable[[Facts], Word]


Node = Shape | Seq | Any | Case | Let
Plain = str | Node


def node(plain: Plain) -> Node:
    return Shape(plain) if isinstance(plain, str) else plain


def seq(*nodes: Plain) -> Seq:
    return Seq(tuple(map(node, nodes)))


def one_of(*nodes: Plain | tuple[float, Plain]) -> Any:
    """Nodes of equal weight, or (weight, node)."""
    pairs = [entry if isinstance(entry, tuple) else (1.0, entry) for entry in nodes]
    return Any(tuple(node(plain) for _, plain in pairs), tuple(weight for weight, _ in pairs))


def maybe(share: float, plain: Plain) -> Any:
    return one_of((share, plain), (1 - share, seq()))


def case(fact: str, **nodes: Plain) -> Case:
    """case("hero.kind", cat=..., dog=...)"""
    name, _, prop = fact.partition(".")
    return Case(name, prop or None, {value: node(plain) for value, plain in nodes.items()})
