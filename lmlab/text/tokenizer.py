"""Byte-level BPE, by the tokenizers library: any text goes in and comes out again.

Every digit is a token of its own, so that a number is read as it is added. The special tokens are those of the three
families' chat formats, one embedding row for each.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as _Tokenizer

END = "<|endoftext|>"
SPECIAL = (
    END,
    *("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>"),  # GPT-OSS
    *("<|im_start|>", "<|im_end|>"),  # Qwen3
    *("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"),  # DeepSeek
    *("<think>", "</think>"),
    "<|pad|>",
)
_FILE = "tokenizer.json"


class Tokenizer:
    """`end` is the id that ends a document, `pad` that of padding."""

    def __init__(self, inner: _Tokenizer):
        self.inner = inner
        self.end, self.pad = inner.token_to_id(END), inner.token_to_id("<|pad|>")

    def __len__(self) -> int:
        return self.inner.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text).ids

    def encode_many(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.inner.encode_batch_fast(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        return self.inner.decode([*map(int, ids)], skip_special_tokens=False)

    def token(self, number: int) -> str:
        """What one id stands for, as it is written: " red"."""
        return self.decode([number])

    def save(self, folder: str | Path) -> None:
        self.inner.save(str(Path(folder) / _FILE))


def train(texts: Iterable[str], vocab_size: int = 1024) -> Tokenizer:
    """A tokenizer of its own for these texts; equal texts give equal ones."""
    inner = _Tokenizer(models.BPE())
    # a number's digits apart; else as GPT-2: a word with the blank before it, punctuation by itself
    digits = pre_tokenizers.Split(Regex(r"\d"), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return Tokenizer(inner)


def load(folder: str | Path) -> Tokenizer:
    """The tokenizer that lies in a checkpoint's folder. FileNotFoundError if none does."""
    path = Path(folder) / _FILE
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no {_FILE}")
    return Tokenizer(_Tokenizer.from_file(str(path)))
