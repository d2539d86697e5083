"""Any text goes in and comes out; digits stay apart; special tokens are one token each."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.text import tokenizer
from lmlab.text.corpus import documents

TEXTS = [document.text for document in itertools.islice(documents("general", 0), 2000)]
TOKENIZER = tokenizer.train(TEXTS)


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_documents_come_back_and_take_few_tokens():
    ids = TOKENIZER.encode_many(TEXTS)
    assert [TOKENIZER.decode(one) for one in ids] == TEXTS
    assert sum(map(len, ids)) < sum(map(len, TEXTS)) / 2.5


def test_each_digit_is_a_token():
    assert [TOKENIZER.token(i) for i in TOKENIZER.encode("47 + 8 = 55")] == [
        "4",
        "7",
        " +",
        " ",
        "8",
        " =",
        " ",
        "5",
        "5",
    ]


def test_special_tokens_are_one_each():
    ids = [TOKENIZER.encode(text) for text in tokenizer.SPECIAL]
    assert ids == [[i] for i in range(len(tokenizer.SPECIAL))]
    assert TOKENIZER.end == 0 and len(TOKENIZER) == 1024


def test_equal_texts_give_equal_tokenizers(tmp_path):
    again = tokenizer.train(TEXTS)
    again.save(tmp_path)
    assert tokenizer.load(tmp_path).encode_many(TEXTS[:50]) == TOKENIZER.encode_many(TEXTS[:50])
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        tokenizer.load(tmp_path / "elsewhere")
