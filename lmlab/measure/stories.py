"""What is wrong with a story that a model wrote, where the grammar only says that it does not read it."""

import re
from collections.abc import Iterable
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from lmlab.text.corpus import documents, parse
from lmlab.text.words import LEXICON

if TYPE_CHECKING:
    import pandas as pd

WORD = re.compile(r"[A-Za-z]+")
CHILDREN = frozenset(str(child) for kind in LEXICON["children"].values() for child in kind.words)
READ = 1500  # stories after which no new word has come


def strangers(text: str) -> set[str]:
    """Children who walk in without having been introduced: a story of the corpus is about the first two it names."""
    told = dict.fromkeys(word for word in WORD.findall(text) if word in CHILDREN)
    return {*told} - {*islice(told, 2)}


def no_words(text: str) -> set[str]:
    """Words that no story of the corpus has: put together from tokens that do not belong together."""
    return {*WORD.findall(text)} - _vocabulary()


@cache
def _vocabulary() -> frozenset[str]:
    stories = (document.text for document in documents("general", seed=0) if document.domain == "story")
    return frozenset(word for text in islice(stories, READ) for word in WORD.findall(text))


def judged(texts: Iterable[str]) -> "pd.Series":
    """Of texts: how many are different and how many the grammar reads; a story's words that are none and children
    nobody introduced, on average."""
    import pandas as pd

    texts = [*texts]
    return pd.Series(
        {
            "stories": len(texts),
            "different": len({*texts}),
            "read by the grammar": sum(parse(text) is not None for text in texts),
            "words that are none, in a story": sum(len(no_words(text)) for text in texts) / len(texts),
            "children nobody introduced, in a story": sum(len(strangers(text)) for text in texts) / len(texts),
        }
    )
