"""Tokens one by one, as they can be shown: blanks made visible, bytes that no letter shows in hexadecimal."""

from collections.abc import Iterable

from lmlab.text.tokenizer import Tokenizer


def pieces(tokenizer: Tokenizer, ids: Iterable[int]) -> list[str]:
    """Each token by itself: a blank as a dot, the end of a line as an arrow, and what no letter shows (a part of a
    character, a control character) as its bytes, "<F0 9F>"."""
    return [piece(tokenizer, number) for number in ids]


def piece(tokenizer: Tokenizer, number: int) -> str:
    """One token, as in `pieces`."""
    number = int(number)
    text = tokenizer.token(number)
    if "\ufffd" in text or not text.replace("\n", "").isprintable():
        return f"<{' '.join(f'{BYTES[letter]:02X}' for letter in tokenizer.inner.id_to_token(number))}>"
    return text.replace(" ", "\u00b7").replace("\n", "\u21b5")


def quoted(tokenizer: Tokenizer, number: int) -> str:
    """One token in a sentence."""
    return f'"{piece(tokenizer, number)}"'


def _bytes() -> dict[str, int]:
    """The letter that byte-level BPE writes for each byte -> the byte: printable ones stand for themselves, the others
    follow from 256 on (openai/gpt-2, src/encoder.py, bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES = _bytes()
