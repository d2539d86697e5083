"""What a miniature can do, tried on models that are known to be right or wrong."""

import itertools
import re

import pytest
import torch

import lmlab
from lmlab.text.corpus import documents
from lmlab.text.tokenizer import train
from lmlab.train.card import command
from lmlab.train.evaluation import addition, answers, questions, recall, stories
from lmlab.train.recipe import Recipe

TOKENIZER = train((document.text for document in itertools.islice(documents("general", 0), 1000)), 512)


class Oracle:
    """Predicts the next token of the row itself, which no model can see, except in the columns that it gets wrong."""

    embed_tokens = torch.nn.Embedding(1, 1)  # where a model says on which device it lies

    def __init__(self, wrong=lambda ids, column: False):
        self.wrong = wrong

    def __call__(self, ids):
        best = ids.roll(-1, dims=1)
        for row in range(len(ids)):
            for column in range(ids.shape[1]):
                best[row, column] += self.wrong(ids[row].tolist(), column)
        return torch.nn.functional.one_hot(best % 512, 512).float()


def test_questions_ask_for_a_fact_far_back():
    for text, (start, end) in questions(TOKENIZER, 40, beyond=80):
        thing = re.findall(r" (?:What color is|Where is) the (\w+)\? [^?]*$", text)[0]
        (fact,) = re.findall(rf" The {thing} is (\w+) and lies ([^.]*)\.", text)
        assert text[start:end].lower() in fact and text[end:] == "."
        between = text[text.index(f" The {thing} is ") : start].split(".", 1)[1]
        assert len(TOKENIZER.encode(between)) >= 80
        question = re.findall(r" (?:What color is|Where is) the \w+\?", text)[-1]
        assert text.count(question) == 1, "answered before, the answer stands close by"


def test_who_knows_everything_answers_everything():
    assert recall(Oracle(), TOKENIZER, 20, 60) == 1.0
    assert addition(Oracle(), TOKENIZER) == addition(Oracle(), TOKENIZER, by_digits=True) == 1.0


def test_an_answer_counts_only_as_a_whole():
    texts = [("Add. 12 + 34 = 46.", (14, 18)), ("Add. 12 + 34 = 46. 5 + 5 = 10.", (26, 30))]

    def misses(character):
        return Oracle(lambda ids, column: TOKENIZER.decode(ids[column + 1 : column + 2]) == character)

    assert answers(misses("?"), TOKENIZER, texts) == [True, True]
    assert answers(misses("4"), TOKENIZER, texts) == [False, True], "the first digit of 46"
    assert answers(misses("6"), TOKENIZER, texts) == [False, True], "the last digit of 46"
    assert answers(misses("0"), TOKENIZER, texts) == [True, False]


def test_stories_are_read_by_the_grammar():
    model = lmlab.build(lmlab.config("mini-qwen3"))
    told = stories(model, TOKENIZER, 3, max_new_tokens=5)
    assert len(told) == 3 and not any(good for _, good in told), "random weights tell nothing"
    assert told == stories(model, TOKENIZER, 3, max_new_tokens=5) != stories(model, TOKENIZER, 3, 1, 5)
    assert all(text.startswith(("Once", "This", "In")) for text, _ in told)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(tokens=20_000_000, bf16=True), "mini-x --tokens 20000000 --bf16"),
        (Recipe(tokens=4096, mixture="general:0.5 long:0.5"), 'mini-x --tokens 4096 --mixture "general:0.5 long:0.5"'),
        (Recipe(tokens=4096, muon_learning_rate=None), "mini-x --tokens 4096 --muon-learning-rate 0"),
    ],
)
def test_the_command_says_what_differs_from_the_defaults(recipe, expected):
    assert command("mini-x", recipe) == f"python -m lmlab.train {expected}"
