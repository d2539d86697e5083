"""A prompt is a text of the corpus, and its answer is what the text goes on with, stated before."""

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
        thing = text.rpartition("Where is the ")[2].partition("?")[0]
        (fact,) = [one for one in text.split(". ") if one.startswith(f"The {thing} is")]
        assert fact.endswith(TOKENIZER.token(answer))
        assert text.count(f"Where is the {thing}?") == 1, "asked for the first time"
        how = text.rpartition("? ")[2].split()[0].lower()
        places = [one.rpartition(f" lies {how} the ")[2] for one in text.split(". ") if f" lies {how} the " in one]
        assert len({*places}) > 1 and guess == places.count(fact.rpartition(" the ")[2]) / len(places)


def test_a_name_is_that_of_the_friend_and_follows_in_the_text():
    found = prompts.names(TOKENIZER, 30)
    assert len(found) == 30
    for (start, *ids), answer, guess in found:
        assert start == TOKENIZER.end and guess == 1 / 2
        text, name = TOKENIZER.decode(ids), TOKENIZER.token(answer)
        assert text.endswith(" and") and f"{name}. " in text and text.count(name) == 1
        assert TOKENIZER.encode(f"{text}{name} often visited")[: len(ids) + 1] == [*ids, answer]
