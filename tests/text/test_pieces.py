"""A token by itself says which characters or bytes it stands for."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lmlab.text.pieces import BYTES, pieces
from tests.text.test_tokenizer import TOKENIZER


def test_blanks_lines_bytes_and_special_tokens_are_seen():
    text = " the box 47\n\U0001f381"
    shown = pieces(TOKENIZER, [TOKENIZER.end, *TOKENIZER.encode(text)])
    assert shown[:2] == ["<|endoftext|>", "\u00b7the"]
    assert shown[-7:-4] == ["4", "7", "\u21b5"], "each digit by itself"
    assert shown[-4:] == ["<F0>", "<9F>", "<8E>", "<81>"]
    assert pieces(TOKENIZER, TOKENIZER.encode("\x07\t")) == ["<07>", "<09>"], "no letter shows a control character"


def test_there_is_a_letter_for_every_byte():
    assert sorted(BYTES.values()) == [*range(256)]


def raw(piece: str) -> bytes:
    """The bytes of a piece, for a text without the signs that pieces use."""
    if piece.startswith("<") and piece.endswith(">") and piece[1:-1]:
        return bytes.fromhex(piece[1:-1])
    return piece.replace("\u00b7", " ").replace("\u21b5", "\n").encode()


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="<>\u00b7\u21b5\ufffd")))
def test_the_pieces_are_the_text(text):
    assert b"".join(map(raw, pieces(TOKENIZER, TOKENIZER.encode(text)))) == text.encode()
