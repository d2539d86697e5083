"""A prompt is a text of the corpus, and its answer is what the text goes on with, stated before."""

import re

from lmlab.text import prompts
from lmlab.text.corpus import parse
from tests.text.test_tokenizer import TOKENIZER


def test_a_recall_prompt_and_its_answer_are_a_text_of_the_corpus():
    found = prompts.facts(TOKENIZER, 30)
    assert len(found) == 30 and found == prompts.facts(TOKENIZER, 30)
    for (start, *ids), answer, guess in found:
        assert start == TOKENIZER.end
        text = TOKENIZER.decode([*ids, answer]) + "."
        document = parse(text)
        assert document and document.domain == "recall"
        assert TOKENIZER.encode(text) == [*ids, answer, *TOKENIZER.encode(".")]
        stated = dict(re.findall(r" The (\w+) is ([^.]*)\.", text))
        kind = text.rpartition(" the ")[2].partition("?")[0]
        assert f" {stated[kind]}".endswith(TOKENIZER.token(answer)) and guess == 1 / len(stated) < 1
        assert text.count(f" the {kind}?") == 1, "asked for the first time"


def test_a_name_is_that_of_the_friend_and_follows_in_the_text():
    found = prompts.names(TOKENIZER, 30)
    assert len(found) == 30
    for (start, *ids), answer, guess in found:
        assert start == TOKENIZER.end and guess == 1 / 2
        text, name = TOKENIZER.decode(ids), TOKENIZER.token(answer)
        assert text.endswith(" and") and f"{name}. " in text and text.count(name) == 1
        assert TOKENIZER.encode(f"{text}{name} often visited")[: len(ids) + 1] == [*ids, answer]
