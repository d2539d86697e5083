"""The models that a view is opened on, miniatures by name or one of the reader's own, and the texts that it offers."""

from collections.abc import Sequence
from functools import cache

import torch

import lmlab.checkpoints
from lmlab.model import LanguageModel
from lmlab.text.tokenizer import Tokenizer

OWN = "your own"  # text
EXAMPLES = {
    "a name from before": "Once there was a girl called Mia who lived in Oakwood. Her best friend was a boy called "
    "Tom. Mia and",
    "a place from before": "Remember this. The ring is silver and lies in the cave. The camera is purple and lies in "
    "the park. The drum is red and lies in the attic. Where is the ring? In the",
    "an ending that agrees": "Kira bela estis. Baldau kira vetun salt",
    "a sum": "Add. 47 + 38 = 85. 21 + 34 = 5",
}
Opened = dict[str, tuple[LanguageModel, Tokenizer]]


def text_of_example(old: dict, new: dict) -> dict:
    """The state in which `example` and `text` say the same: the one that was changed decides."""
    if new["example"] != old["example"] and new["example"] in EXAMPLES:
        return new | {"text": EXAMPLES[new["example"]]}
    if new["text"] != old["text"]:
        return new | {"example": next((name for name, text in EXAMPLES.items() if text == new["text"]), OWN)}
    return new


@cache
def _loaded(name: str) -> tuple[LanguageModel, Tokenizer]:
    return lmlab.checkpoints.load(name, dtype=torch.float32), lmlab.checkpoints.tokenizer(name)


def opened(models: str | Sequence[str] | LanguageModel, tokenizer: Tokenizer | None) -> Opened:
    """Name -> model and tokenizer: of checkpoints (as in `lmlab.load`; each is loaded once), or of a model of one's
    own, which needs its tokenizer (ValueError)."""
    if not isinstance(models, LanguageModel):
        return {name: _loaded(name) for name in ([models] if isinstance(models, str) else models)}
    if tokenizer is None:
        raise ValueError("a model of one's own needs its tokenizer: give tokenizer=... beside the model")
    return {"model": (models, tokenizer)}
