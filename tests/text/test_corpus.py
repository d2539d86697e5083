"""The corpus: read back exactly, deterministic, varied, and mostly bound by what was said before."""

import itertools
import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.text import corpus, domains, stories
from lmlab.text.derivation import Writer
from lmlab.text.grammar import Any, Case, Seq, Shape

EXAMPLES = 10_000
STORY_TEXTS = [
    document.text for document in itertools.islice(corpus.documents("general", 7), 3000) if document.domain == "story"
]


@pytest.mark.parametrize("name", corpus.mixtures())
def test_ten_thousand_documents_are_read_back(name):
    number = EXAMPLES if name == "general" else 300
    for document in itertools.islice(corpus.documents(name, 1), number):
        again = corpus.parse(document.text, name)
        assert (again.domain, again.choices) == (document.domain, document.choices)
        assert again.logprob == pytest.approx(document.logprob, rel=1e-12)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_a_changed_text_is_another_or_none(seed, data):
    (document,) = itertools.islice(corpus.documents("general", seed), 1)
    at = data.draw(st.integers(0, len(document.text) - 1))
    changed = document.text[:at] + data.draw(st.sampled_from("aeX .7)")) + document.text[at + 1 :]
    again = corpus.parse(changed)
    assert again is None or again.text == changed != document.text or changed == document.text


def test_the_same_seed_writes_the_same_texts():
    first, second, other = (
        [document.text for document in itertools.islice(corpus.documents("general", seed), 50)] for seed in (5, 5, 6)
    )
    assert first == second != other


def test_domains_come_as_often_as_the_mixture_says():
    found = [document.domain for document in itertools.islice(corpus.documents("reasoning", 0), 4000)]
    for domain, share in corpus.mixture("reasoning").items():
        assert found.count(domain) / 4000 == pytest.approx(share, abs=0.03)


def test_the_domain_counts_in_the_probability():
    document = next(d for d in corpus.documents("general", 0) if d.domain == "code")
    there, here = corpus.parse(document.text, "long").logprob, document.logprob
    assert here - there == pytest.approx(math.log(0.1 / 0.05))


def test_unknown_mixtures_are_named():
    with pytest.raises(ValueError, match="there is no mixture 'x'; there are general, reasoning, long"):
        next(corpus.documents("x"))


def shapes(tree) -> set[str]:
    if isinstance(tree, Shape):
        return {tree.shape}
    nodes = tree.nodes.values() if isinstance(tree, Case) else tree.nodes if isinstance(tree, Seq | Any) else ()
    return set().union(*map(shapes, nodes)) if nodes else set()


def test_stories_are_varied():
    words = {word.lower() for text in STORY_TEXTS for word in re.findall(r"[A-Za-z']+", text)}
    assert len(words) >= 800
    assert len(shapes(stories.STORY)) >= 60 and len(stories.PLOTS) == 8
    assert sum('"' in text for text in STORY_TEXTS) > 0.9 * len(STORY_TEXTS), "people talk"
    assert len(set(STORY_TEXTS)) == len(STORY_TEXTS)


def test_no_story_kept_out_occurs_in_training():
    """More texts than the miniatures read: their 7 million tokens are some 53,000 texts."""
    unseen = (one.text for one in corpus.documents("general", -1) if one.domain == "story")
    read = {one.text for one in itertools.islice(corpus.documents("general", 0), 60_000)}
    assert read.isdisjoint(itertools.islice(unseen, 10_000))


class Marking(Writer):
    """Writes a mark behind each word that an earlier fact decides, names of the two children left out."""

    def fill(self, slot):
        bound = not slot.words and slot.fact not in ("hero", "friend", "winner", "loser")
        return super().fill(slot) + "\0" * bound


def test_most_sentences_are_bound_by_an_earlier_fact():
    sentences = bound = 0
    for seed in range(500):
        writer = Marking(domains.DOMAIN_LEXICON, random.Random(seed))
        writer.write(stories.STORY)
        found = re.split(r"(?<=[.!?])[\"\0]* ", "".join(writer.pieces))
        sentences += len(found)
        bound += sum("\0" in sentence for sentence in found)
    assert bound / sentences >= 0.4


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_right_and_held_out_pairs_stay_out(seed):
    rng = random.Random(seed)
    for _ in range(100):
        writer = Writer(domains.DOMAIN_LEXICON, rng)
        writer.write(domains.ARITHMETIC)
        text = writer.derivation().text
        for a, sign, b, c in re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", text):
            assert int(c) == (int(a) + int(b) if sign == "+" else int(a) - int(b))
            assert not domains.kept_out(int(a), int(b))
        for a, b, c in re.findall(r"(\d+) \+ (\d+): .*?so (\d+)\.", text):
            assert int(a) + int(b) == int(c) and not domains.kept_out(int(a), int(b))


def test_a_tenth_of_the_pairs_is_kept_out():
    pairs = [domains.kept_out(a, b) for a in range(10, 100) for b in range(10, 100)]
    assert sum(pairs) / len(pairs) == pytest.approx(0.1, abs=0.005)
    assert not domains.kept_out(7, 7), "pairs with a one-digit number are all in training"


def test_brackets_close_as_they_opened():
    pairs = {")": "(", "]": "[", "}": "{"}
    for document in itertools.islice((d for d in corpus.documents("general", 3) if d.domain == "code"), 200):
        stack = []
        for character in document.text:
            if character in "([{":
                stack.append(character)
            elif character in pairs:
                assert stack.pop() == pairs[character]
        assert not stack
        names = re.match(r"def \w+\(([^)]*)\)", document.text).group(1).split(", ")
        used = re.findall(r"\b[a-z]+\b", document.text.split(":", 1)[1])
        assert set(used) <= {*names, "if", "return", document.text[4:].split("(")[0]}
