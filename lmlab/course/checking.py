"""check, hint, solution: an answer is compared with the real part, and a wrong one with the known mistakes."""

import itertools
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

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
    """Compare an answer, a function or a value, with lmlab's own part. A wrong one is compared with the known mistakes,
    one and two at a time, and the one found is named. Nothing is raised for a wrong answer or one not attempted.

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
    answers = []
    if not callable(mine) and any(asked.probes()):
        return False, f"Give the function itself: check({asked.number!r}, {asked.solution.__name__})."
    for arguments in asked.probes():
        try:
            answer = mine(*map(copied, arguments)) if callable(mine) else mine
        except NotImplementedError:
            return None, "Write your answer in its place, then run the cell again."
        except Exception as error:
            return False, raised(error, arguments)
        if answer is None or answer is ...:
            return None, "Your function returns nothing so far: write its body, and mind the `return`."
        answers.append(answer)
    expected = results(asked, asked.truth)
    try:
        answers = [number(answer) for answer in answers]
        for answer, wanted in zip(answers, expected, strict=True):
            if answer.shape != wanted.shape:
                raise Unlike(_shapes(answer, wanted))
    except Unlike as error:
        return False, str(error)
    if agree(answers, expected, asked.tolerance):
        return True, ""
    return False, diagnosis(asked, answers, expected)


def diagnosis(asked: Exercise, answers: list[torch.Tensor], expected: list[torch.Tensor]) -> str:
    """The known mistake, or two of them, that give these answers; else where the answers differ."""
    for n in (1, 2):
        for mistakes in itertools.combinations(asked.mistakes, n):
            with suppress(Exception):  # some mistakes cannot be made together
                if agree(answers, results(asked, asked.mutant(*mistakes)), asked.tolerance):
                    return f"Your result is what one gets {', and '.join(mistake.says for mistake in mistakes)}."
    return difference(answers, expected, asked.tolerance)


def results(asked: Exercise, function: Callable) -> list[torch.Tensor]:
    return [number(function(*map(copied, arguments))) for arguments in asked.probes()]


def number(answer: Any) -> torch.Tensor:
    """A number, a list, an array or a tensor, as float64."""
    try:
        return torch.as_tensor(answer).detach().to(torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise Unlike(f"It is a {type(answer).__name__}, where numbers or a tensor are expected.") from error


def copied(argument: Any) -> Any:
    return argument.clone() if isinstance(argument, torch.Tensor) else argument


def agree(answers: list[torch.Tensor], wanted: list[torch.Tensor], tolerance: float) -> bool:
    return all(
        a.shape == w.shape and torch.allclose(a, w, rtol=tolerance, atol=tolerance * float(w.abs().max()))
        for a, w in zip(answers, wanted, strict=True)
    )


def _shapes(answer: torch.Tensor, wanted: torch.Tensor) -> str:
    says = f"The shape is {tuple(answer.shape)}, where {tuple(wanted.shape)} is expected"
    if answer.ndim > 1 and answer.transpose(-1, -2).shape == wanted.shape:
        says += ": the last two dimensions have changed places"
    return says + "."


def difference(answers: list[torch.Tensor], expected: list[torch.Tensor], tolerance: float) -> str:
    """Where the answers differ, for a mistake that nobody has catalogued."""
    every, wanted = (torch.cat([part.flatten() for part in parts]) for parts in (answers, expected))
    if every.isnan().any():
        return f"{int(every.isnan().sum())} of {every.numel()} values are not a number (NaN)."
    ratio = (every / wanted)[wanted != 0]
    if ratio.numel() > 1 and torch.allclose(ratio, ratio[0], rtol=1e-3):
        return f"Every value is {ratio[0]:.5g} times what it should be: a factor is missing or too many."
    at = next(i for i in range(len(answers)) if not agree(answers[i : i + 1], expected[i : i + 1], tolerance))
    answer, wanted = answers[at], expected[at]
    if answer.ndim == 0:
        return f"{answer:.6g} is not right; {wanted:.6g} is expected. No known mistake gives this."
    near = torch.isclose(answer, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max()))
    place = (~near).nonzero()[0].tolist()
    return (
        f"{int(near.sum())} of {near.numel()} values agree; the first that does not, at {place}, is "
        f"{answer[tuple(place)]:.6g}, where {wanted[tuple(place)]:.6g} is expected. No known mistake gives this."
    )


def raised(error: Exception, arguments: tuple) -> str:
    """An exception in the reader's own function: what, in which line, and what it was given."""
    ours, *theirs = traceback.extract_tb(error.__traceback__)
    frame = theirs[0] if theirs else ours
    given = ", ".join(f"{tuple(a.shape)}" if isinstance(a, torch.Tensor) else f"{a!r:.40}" for a in arguments)
    line = f" in the line `{frame.line}`" if frame.line else ""
    return (
        f"It raises {type(error).__name__}{line}: {error}. It was called with {given or 'nothing'} (shapes of tensors)."
    )
