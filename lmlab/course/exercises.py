"""What an exercise is: a model solution, the real part that it must equal, and the mistakes that people make.

A mistake is a mutation of the solution: text of it replaced by other text. So each can be run, told from the others,
and tested: it must give another result than the solution.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Mistake:
    """`says` completes "your result is what one gets ...". `swaps`: text of the solution -> text in its place."""

    says: str
    swaps: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """`probes` gives the arguments on which answers are compared; `truth` the result, from lmlab's own parts.

    `returns` says in words what the answer is. difficulty and importance run from 1 to 5. `after` is for the reader
    whose answer is right. `tolerance` is relative to each value, `rounding` to the largest. `demands` looks at how a
    right result came about, given the function and a probe, and says what is against the task, or "".
    """

    number: str
    title: str
    difficulty: int
    importance: int
    minutes: int
    solution: Callable
    truth: Callable
    probes: Callable[[], list[tuple]]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, ...]
    returns: str
    after: str
    tolerance: float = 1e-4
    rounding: float = 1e-5
    demands: Callable[[Callable, tuple], str] | None = None

    @cached_property
    def source(self) -> str:
        """The solution's text, without its decorator."""
        text = textwrap.dedent(inspect.getsource(self.solution))
        node = ast.parse(text).body[0]
        return "\n".join(text.splitlines()[node.lineno - 1 :])

    def mutant(self, *mistakes: Mistake) -> Callable:
        """The solution with these mistakes in it. ValueError where they concern the same text."""
        source = self.source
        for mistake in mistakes:
            for old, new in mistake.swaps.items():
                if source.count(old) != 1:
                    raise ValueError(
                        f"{old!r} stands {source.count(old)} times in the solution of {self.number}, not once"
                    )
                source = source.replace(old, new)
        names = dict(self.solution.__globals__)
        exec(compile(source, f"<{self.number} with a mistake>", "exec"), names)
        return names[self.solution.__name__]

    @property
    def header(self) -> str:
        stars = f"difficulty {self.difficulty} of 5, importance {self.importance} of 5"
        return f"**{self.number} {self.title}** ({stars}, about {self.minutes} minutes)"


def exercise(number: str, title: str, *, mistakes: dict[str, dict[str, str]], hints: Iterable[str], **fields: Any):
    """Makes an Exercise of the function below it, which is the model solution. `mistakes`: says -> swaps."""

    def make(solution: Callable) -> Exercise:
        return Exercise(
            number=number,
            title=title,
            solution=solution,
            mistakes=tuple(Mistake(says, swaps) for says, swaps in mistakes.items()),
            hints=tuple(hints),
            **fields,
        )

    return make


def product_sizes(function: Callable, arguments: tuple) -> list[int]:
    """How many numbers each matrix product has that a function makes of these arguments, whatever it calls them."""
    sizes = []

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
            out = operation(*arguments, **(keywords or {}))
            if operation.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm):
                sizes.append(out.numel())
            return out

    with Products():
        function(*arguments)
    return sizes


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A question to answer before one looks. `choices`: each answer -> what to say to who chose it; `right` is one of
    them; `answer` computes the sentence that is revealed."""

    number: str
    title: str
    question: str
    choices: dict[str, str]
    right: str
    answer: Callable[[], str]
