"""Source code and short notes as Markdown: every notebook shows them in its own colours, light or dark."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from lmlab.paths import where


@dataclass(frozen=True)
class Note:
    """A piece of Markdown, as the last value of a cell; plain text elsewhere."""

    markdown: str

    def _repr_markdown_(self) -> str:
        return self.markdown

    def __repr__(self) -> str:
        return self.markdown


def code(source: str) -> str:
    return f"```python\n{textwrap.dedent(source).rstrip()}\n```"


def show_source(*things: Callable) -> Note:
    """The source of functions, methods or classes, as it stands in the file that is running; never a copy.

    ValueError for something that has none: a number, a tensor, a function written in C.
    """
    parts = []
    for thing in things:
        try:
            parts.append(f"`{where(thing)}`\n\n{code(inspect.getsource(thing))}")
        except (TypeError, OSError) as error:
            raise ValueError(
                f"{thing!r} has no Python source to show: give a function, a method or a class, such as "
                f"MultiHeadLatentAttention.absorbed"
            ) from error
    return Note("\n\n".join(parts))
