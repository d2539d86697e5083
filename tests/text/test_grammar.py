"""What the grammar writes it reads back: the same choices, the same probability; and nothing else."""

import itertools
import math
import random
from collections import Counter

import pytest

from lmlab.text.derivation import read, write
from lmlab.text.grammar import Let, Shape, Word, Words, case, maybe, one_of, seq

LEXICON = {
    "names": Words((Word("Mia", he="she", his="her"), Word("Tom", he="he", his="his"))),
    "colors": Words((Word("red"), Word("blue"), Word("green")), weights=(2, 1, 1)),
    "foods": {"cat": Words((Word("milk"), Word("fish"))), "dog": Words((Word("bone"),))},
    "animals": Words((Word("cat", says="meow"), Word("dog", says="woof"))),
}
TREE = seq(
    "{hero:names} and {friend:names-hero} had a {animal:animals}.",
    maybe(0.25, " {Hero.he} was happy."),
    one_of((3, " It ate {food:foods[animal]}."), " It said {animal.says}, {animal.says}."),
    " {Friend} took a {color:colors} bag, not a {other:colors-color} one.",
    case("animal", cat=" Cats purr.", dog=" Dogs bark at {hero.his} bag."),
    Let("end", lambda facts: Word(facts["color"].upper())),
    " {end} {{x}}",
)


def test_by_hand():
    made = write(TREE, LEXICON, random.Random(3))
    assert made.facts["friend"] != made.facts["hero"] and made.text.endswith(f"{made.facts['color'].upper()} {{x}}")
    animal = {"cat": " Cats purr.", "dog": f" Dogs bark at {made.facts['hero'].properties['his']} bag."}
    assert animal[made.facts["animal"]] in made.text


def test_the_probability_of_every_text_adds_up_to_one():
    found = {made.text: made for made in (write(TREE, LEXICON, random.Random(seed)) for seed in range(4000))}
    # names 2; animal 2; happy 2; cat: 2 foods or says, dog: 1 food or says; colors 3 x 2
    assert len(found) == 2 * 2 * ((2 + 1) + (1 + 1)) * 6
    assert sum(math.exp(made.logprob) for made in found.values()) == pytest.approx(1)


def test_it_writes_as_often_as_it_says():
    counts = Counter(write(TREE, LEXICON, random.Random(seed)).text for seed in range(20_000))
    text, seen = counts.most_common(1)[0]
    expected = 20_000 * math.exp(read(TREE, LEXICON, text).logprob)
    assert abs(seen - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize("seed", range(200))
def test_what_is_written_is_read_back(seed):
    made = write(TREE, LEXICON, random.Random(seed))
    again = read(TREE, LEXICON, made.text)
    assert again == made and again.logprob == pytest.approx(made.logprob) and again.facts == made.facts


@pytest.mark.parametrize("seed", range(20))
def test_another_text_is_not_read(seed):
    text = write(TREE, LEXICON, random.Random(seed)).text
    other = {"Mia": "Tom", "Tom": "Mia"}[text[:3]]
    for wrong in (text[:-1], text + " ", other + text[3:], text.replace(" not ", " no "), ""):
        assert read(TREE, LEXICON, wrong) is None


def test_two_ways_to_one_text_are_refused():
    tree = one_of("{color:colors} bag", seq("{color:colors}", " bag"))
    with pytest.raises(ValueError, match="2 ways lead to 'red bag'"):
        read(tree, LEXICON, "red bag")


def test_a_word_twice_is_refused():
    with pytest.raises(ValueError, match="a word stands twice"):
        Words((Word("red"), Word("red")))


@pytest.mark.parametrize("shape", ["{", "a {b", "{b} {c!}", "}", "{{b}"])
def test_a_brace_that_begins_no_slot_is_refused(shape):
    with pytest.raises(ValueError, match="belongs to no slot"):
        Shape(shape)


def test_weights_count():
    shares = Counter(write(Shape("{color:colors}"), LEXICON, random.Random(seed)).text for seed in range(4000))
    assert shares["red"] / 4000 == pytest.approx(0.5, abs=0.04)
    assert read(Shape("{color:colors}"), LEXICON, "red").logprob == pytest.approx(math.log(0.5))
    without = read(Shape("{color:colors} {other:colors-color}"), LEXICON, "green red")
    assert without.logprob == pytest.approx(math.log(1 / 4 * 2 / 3))


def test_properties_can_be_drawn():
    tree = Shape("{animal.says:animals}! The {animal}")
    texts = {write(tree, LEXICON, random.Random(seed)).text for seed in range(30)}
    assert texts == {"meow! The cat", "woof! The dog"}
    assert all(read(tree, LEXICON, text) for text in texts) and not read(tree, LEXICON, "meow! The dog")


def test_longer_words_that_begin_alike():
    lexicon = {"w": Words((Word("pan"), Word("pancake"))), "v": Words((Word("cake"), Word("s")))}
    tree = seq("{a:w}", " {b:v}")
    for a, b in itertools.product(("pan", "pancake"), ("cake", "s")):
        assert read(tree, lexicon, f"{a} {b}").choices == (("a", a), ("b", b))
