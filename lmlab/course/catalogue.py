"""Where the lessons' exercises and predictions are found, by number: "05.2" is the second exercise of lesson 05."""

import difflib
from functools import cache
from importlib import import_module

from lmlab.course.exercises import Exercise, Prediction

LESSONS = {"03": ("rope", "rope_further"), "05": ("mla", "mla_further")}  # lesson -> modules in lmlab.course


@cache
def _of(kind: type) -> dict:
    modules = [import_module(f"lmlab.course.{name}") for names in LESSONS.values() for name in names]
    found = [thing for module in modules for thing in vars(module).values() if isinstance(thing, kind)]
    return {thing.number: thing for thing in sorted(found, key=lambda thing: thing.number)}


def exercises() -> list[Exercise]:
    return [*_of(Exercise).values()]


def predictions() -> list[Prediction]:
    return [*_of(Prediction).values()]


def exercise(number: str) -> Exercise:
    """ValueError names the nearest when there is no such exercise."""
    return _find(Exercise, "exercise", number)


def prediction(number: str) -> Prediction:
    """ValueError names the nearest when there is no such prediction."""
    return _find(Prediction, "prediction", number)


def _find(kind: type, word: str, number: str):
    found = _of(kind)
    if number not in found:
        near = difflib.get_close_matches(str(number), [*found], n=2) or [*found]
        raise ValueError(f"there is no {word} {number!r}; there is {', '.join(near)}")
    return found[number]
