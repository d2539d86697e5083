"""check, hint, solution: an answer is compared with the real part, and a wrong one with the known mistakes."""

import inspect
import itertools
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lmlab.course import record
from lmlab.course.catalogue import exercise
from lmlab.course.exercises import Exercise
from lmlab.course.reading import Note, code


@dataclass(frozen=True, repr=False)
class Verdict(Note):
    """What check found. `right` is None where nothing was attempted."""

    right: bool | None = None


def check(number: str, mine: Any) -> Verdict:
    """Compare a function with lmlab's own part. A wrong one is compared with the known mistakes, one and two at a time,
    and the one found is named. Nothing is raised for a wrong answer or one not attempted.

    ValueError if there is no such exercise.
    """
    asked = exercise(number)
    right, says = judge(asked, mine)
    if right is None:
        return Verdict(f"{number} is open. {says}")
    kept = record.note_try(number, right)
    opening = f"**{number}: right.** {asked.after}" if right else f"**{number}: not yet.** {says}"
    return Verdict(f"{opening} {kept}".rstrip(), right)


_given: Counter = Counter()


def hint(number: str) -> Note:
    """The next hint; after the last one, the first again."""
    asked = exercise(number)
    at = _given[number] % len(asked.hints)
    _given[number] += 1
    return Note(f"{number}, hint {at + 1} of {len(asked.hints)}: {asked.hints[at]}")


def solution(number: str) -> Note:
    """One way to do it, and what to notice."""
    asked = exercise(number)
    return Note(f"{asked.header}\n\n{code(asked.source)}\n\n{asked.after}")


class Unlike(Exception):
    """An answer that cannot be compared; its text says why."""


def judge(asked: Exercise, mine: Any) -> tuple[bool | None, str]:
    """(right, what to say); right is None for an answer that was not attempted."""
    if mine is None or mine is ...:
        return None, "Write your answer in place of the dots, then run the cell again."
    if not callable(mine):
        return False, f"Give the function itself: check({asked.number!r}, {asked.solution.__name__})."
    probes, answers = asked.probes(), []
    for arguments in probes:
        try:
            answer = mine(*map(copied, arguments))
        except NotImplementedError:
            return None, "Write your answer in its place, then run the cell again."
        except Exception as error:
            return False, raised(asked, error, arguments)
        if answer is None or answer is ...:
            return None, "Your function returns nothing so far: write its body, and mind the `return`."
        answers.append(answer)
    expected = results(asked, asked.truth, probes)
    try:
        answers = [tensor(answer) for answer in answers]
        for answer, wanted in zip(answers, expected, strict=True):
            if answer.shape != wanted.shape:
                raise Unlike(_shapes(asked, answer, wanted))
    except Unlike as error:
        return False, str(error)
    if agree(asked, answers, expected):
        against = asked.demands(mine, probes[0]) if asked.demands else ""
        return not against, against
    return False, known(asked, answers, probes) or difference(asked, answers, expected, probes)


def known(asked: Exercise, answers: list[torch.Tensor], probes: list[tuple]) -> str:
    """The known mistake, or two of them, that give these answers."""
    for n in (1, 2):
        for mistakes in itertools.combinations(asked.mistakes, n):
            with suppress(Exception):  # some mistakes cannot be made together
                if agree(asked, answers, results(asked, asked.mutant(*mistakes), probes)):
                    return f"Your result is what one gets {', and '.join(mistake.says for mistake in mistakes)}."
    return ""


def results(asked: Exercise, function: Callable, probes: list[tuple] | None = None) -> list[torch.Tensor]:
    return [tensor(function(*map(copied, arguments))) for arguments in probes or asked.probes()]


def tensor(answer: Any) -> torch.Tensor:
    """A number, a list of numbers or tensors, an array or a tensor, as float64 on the CPU."""
    try:
        if isinstance(answer, list | tuple) and any(isinstance(part, torch.Tensor) for part in answer):
            answer = torch.stack([torch.as_tensor(part) for part in answer])
        if not isinstance(answer, torch.Tensor):
            answer = torch.from_numpy(np.array(answer, order="C", copy=True))
        if answer.is_complex():
            raise Unlike("It holds complex numbers, where real ones are expected.")
        return answer.detach().cpu().to(torch.float64)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise Unlike(f"It is a {type(answer).__name__}, where numbers or a tensor are expected.") from error


def copied(argument: Any) -> Any:
    return argument.clone() if isinstance(argument, torch.Tensor) else argument


def near(asked: Exercise, answer: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Where an answer is right: within the exercise's tolerance of each value, or of the largest one's rounding."""
    return torch.isclose(answer, wanted, rtol=asked.tolerance, atol=asked.rounding * float(wanted.abs().max()))


def agree(asked: Exercise, answers: list[torch.Tensor], wanted: list[torch.Tensor]) -> bool:
    return all(a.shape == w.shape and bool(near(asked, a, w).all()) for a, w in zip(answers, wanted, strict=True))


def _shapes(asked: Exercise, answer: torch.Tensor, wanted: torch.Tensor) -> str:
    says = f"The shape is {tuple(answer.shape)}, where {tuple(wanted.shape)} is expected"
    if answer.ndim > 1 and answer.transpose(-1, -2).shape == wanted.shape:
        return f"{says}: the last two dimensions have changed places."
    return f"{says}: {asked.returns}."


def difference(asked: Exercise, answers: list[torch.Tensor], expected: list[torch.Tensor], probes: list[tuple]) -> str:
    """Where the answers differ, for a mistake that nobody has catalogued."""
    at = next(i for i in range(len(answers)) if not near(asked, answers[i], expected[i]).all())
    answer, wanted, call = answers[at], expected[at], f" for {given(asked, probes[at])}"
    if answer.isnan().any():
        return f"{int(answer.isnan().sum())} of {answer.numel()} values are not a number (NaN){call}."
    every, right = (torch.cat([part.flatten() for part in parts]) for parts in (answers, expected))
    ratio = every / right
    if right.all() and ratio.isfinite().all() and ratio[0] != 0 and torch.allclose(ratio, ratio[0], rtol=1e-3):
        return f"Your result is always {ratio[0]:.5g} times what it should be: a factor is missing or too many."
    if answer.ndim == 0:
        return f"{answer:.6g} is not right{call}; {wanted:.6g} is expected. No known mistake gives this."
    fine = near(asked, answer, wanted)
    place = (~fine).nonzero()[0].tolist()
    return (
        f"{int(fine.sum())} of {fine.numel()} values agree{call}; the first that does not, at {place}, is "
        f"{answer[tuple(place)]:.6g}, where {wanted[tuple(place)]:.6g} is expected. No known mistake gives this."
    )


def given(asked: Exercise, arguments: tuple) -> str:
    """The arguments by name: numbers as they are, of tensors the shape, functions left out."""
    said = []
    for name, argument in zip(inspect.signature(asked.solution).parameters, arguments, strict=True):
        if isinstance(argument, torch.Tensor):
            said.append(f"{name} of shape {tuple(argument.shape)}")
        elif not callable(argument):
            said.append(f"{name}={argument:g}")
    return ", ".join(said)


def raised(asked: Exercise, error: Exception, arguments: tuple) -> str:
    """An exception in the reader's own function: what, in which line, and what it was given."""
    _, *theirs = traceback.extract_tb(error.__traceback__)
    if not theirs:  # the call itself failed
        names = ", ".join(inspect.signature(asked.solution).parameters)
        return f"It cannot be called: {error}. It must take ({names})."
    line = f" in the line `{theirs[0].line}`" if theirs[0].line else ""
    return f"It raises {type(error).__name__}{line}: {error}. It was called with {given(asked, arguments)}."
