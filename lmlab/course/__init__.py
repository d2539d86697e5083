"""Exercises that say what went wrong, predictions to make before looking, and the library's own source to read."""

from lmlab.course.checking import check, hint, solution
from lmlab.course.predictions import predict
from lmlab.course.reading import show_source
from lmlab.course.record import progress

__all__ = ["check", "hint", "predict", "progress", "show_source", "solution"]
