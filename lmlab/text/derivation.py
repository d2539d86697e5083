"""Writing a text from a tree of the grammar, and reading how a tree could have written a text."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lmlab.text.grammar import Any, Case, Facts, Let, Lexicon, Node, Seq, Slot, look

Choice = tuple[str, str]  # what was chosen, and which; a branch is ("branch", its number)


@dataclass(frozen=True)
class Derivation:
    """How a text came about: its choices in order, their log-probability, and what is known at the end."""

    text: str
    choices: tuple[Choice, ...]
    logprob: float
    facts: Facts = field(compare=False, repr=False)


class Writer:
    """Draws a text from the tree."""

    def __init__(self, lexicon: Lexicon, rng: random.Random):
        self.lexicon, self.rng = lexicon, rng
        self.pieces: list[str] = []
        self.choices: list[Choice] = []
        self.logprob = 0.0
        self.facts: Facts = {}

    def draw(self, weights: Sequence[float]) -> int:
        """The number of one of the weights, drawn in proportion."""
        number = self.rng.choices(range(len(weights)), weights)[0]
        self.logprob += math.log(weights[number] / sum(weights))
        return number

    def write(self, tree: Node) -> None:
        if isinstance(tree, Seq):
            for inner in tree.nodes:
                self.write(inner)
        elif isinstance(tree, Any):
            number = self.draw(tree.weights)
            self.choices.append(("branch", str(number)))
            self.write(tree.nodes[number])
        elif isinstance(tree, Case):
            self.write(tree.nodes[look(self.facts, tree.fact, tree.property)])
        elif isinstance(tree, Let):
            self.facts[tree.fact] = tree.compute(self.facts)
        else:
            for part in tree.parts:
                self.pieces.append(part if isinstance(part, str) else self.fill(part))

    def fill(self, slot: Slot) -> str:
        if slot.words:
            options = slot.options(self.lexicon, self.facts)
            self.facts[slot.fact] = word = [*options][self.draw([*options.values()])]
            self.choices.append((slot.fact, str(word)))
        return slot.said(look(self.facts, slot.fact, slot.property))

    def derivation(self) -> Derivation:
        return Derivation("".join(self.pieces), tuple(self.choices), self.logprob, self.facts)


@dataclass(frozen=True)
class _State:
    at: int
    choices: tuple[Choice, ...]
    logprob: float
    facts: Facts


class Reader:
    """Finds every way in which the tree could have written a text."""

    def __init__(self, lexicon: Lexicon, text: str):
        self.lexicon, self.text = lexicon, text

    def read(self, tree: Node, state: _State) -> Iterator[_State]:
        if isinstance(tree, Seq):
            yield from self.sequence(tree.nodes, state)
        elif isinstance(tree, Any):
            total = sum(tree.weights)
            for number, (inner, weight) in enumerate(zip(tree.nodes, tree.weights, strict=True)):
                chosen = (*state.choices, ("branch", str(number)))
                yield from self.read(
                    inner, _State(state.at, chosen, state.logprob + math.log(weight / total), state.facts)
                )
        elif isinstance(tree, Case):
            yield from self.read(tree.nodes[look(state.facts, tree.fact, tree.property)], state)
        elif isinstance(tree, Let):
            known = state.facts | {tree.fact: tree.compute(state.facts)}
            yield _State(state.at, state.choices, state.logprob, known)
        else:
            yield from self.shape(tree.parts, state)

    def sequence(self, nodes: tuple[Node, ...], state: _State) -> Iterator[_State]:
        if not nodes:
            yield state
            return
        for after in self.read(nodes[0], state):
            yield from self.sequence(nodes[1:], after)

    def shape(self, parts: list[str | Slot], state: _State) -> Iterator[_State]:
        for i, part in enumerate(parts):
            if not isinstance(part, str) and part.words:
                for after in self.choices(part, state):
                    yield from self.shape(parts[i + 1 :], after)
                return
            said = part if isinstance(part, str) else part.said(look(state.facts, part.fact, part.property))
            if not self.text.startswith(said, state.at):
                return
            state = _State(state.at + len(said), state.choices, state.logprob, state.facts)
        yield state

    def choices(self, slot: Slot, state: _State) -> Iterator[_State]:
        options = slot.options(self.lexicon, state.facts)
        for word, weight in options.items():
            said = slot.said(word.properties[slot.property] if slot.property else word)
            if self.text.startswith(said, state.at):
                logprob = state.logprob + math.log(weight / sum(options.values()))
                chosen = (*state.choices, (slot.fact, str(word)))
                yield _State(state.at + len(said), chosen, logprob, state.facts | {slot.fact: word})


def write(tree: Node, lexicon: Lexicon, rng: random.Random) -> Derivation:
    writer = Writer(lexicon, rng)
    writer.write(tree)
    return writer.derivation()


def read(tree: Node, lexicon: Lexicon, text: str) -> Derivation | None:
    """How the tree wrote this text, or None if it cannot have. ValueError if two ways lead to the same text: then the
    tree is to be mended, for the probability of a way would not be that of the text."""
    ends = [s for s in Reader(lexicon, text).read(tree, _State(0, (), 0.0, {})) if s.at == len(text)]
    if len(ends) > 1:
        raise ValueError(f"{len(ends)} ways lead to {text!r}: {[end.choices for end in ends]}")
    return Derivation(text, ends[0].choices, ends[0].logprob, ends[0].facts) if ends else None
