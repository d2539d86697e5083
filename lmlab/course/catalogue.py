"""Where the lessons' exercises and predictions are found, by number: "05.2" is the second exercise of lesson 05."""

from functools import cache
from importlib import import_module

from lmlab.course.exercises import Exercise, Prediction

LESSONS = {  # lesson -> modules in lmlab.course
    "01": ("residual", "residual_further"),
    "02": ("attention", "attention_further"),
    "03": ("rope", "rope_further"),
    "05": ("mla", "mla_further"),
    "08": ("whole_models", "whole_models_further"),
    "09": ("generation", "generation_further"),
    "10": ("pretraining", "pretraining_further"),
}


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
    """ValueError names those of the lesson when there is no such exercise."""
    return _find(Exercise, "exercise", number)


def prediction(number: str) -> Prediction:
    """ValueError names those there are when there is no such prediction."""
    return _find(Prediction, "prediction", number)


def _find(kind: type, word: str, number: str):
    found = _of(kind)
    if number not in found:
        lesson = [known for known in found if known.startswith(str(number)[:2])]
        raise ValueError(f"there is no {word} {number!r}; there are {', '.join(lesson or found)}")
    return found[number]
