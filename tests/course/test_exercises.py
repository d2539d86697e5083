"""Every solution is right, every catalogued mistake is caught and named, and other right ways pass."""

import itertools

import pytest

from lmlab.course import catalogue
from lmlab.course.checking import agree, judge, results
from tests.course.answers import OTHER_WAYS

EXERCISES = catalogue.exercises()
MISTAKES = [pytest.param(e, m, id=f"{e.number} {m.says[:40]}") for e in EXERCISES for m in e.mistakes]


@pytest.fixture(params=EXERCISES, ids=lambda exercise: exercise.number)
def exercise(request):
    return request.param


def test_the_solution_is_right(exercise):
    assert judge(exercise, exercise.solution) == (True, "")


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_a_mistake_is_caught_and_named(exercise, mistake):
    assert judge(exercise, exercise.mutant(mistake)) == (False, f"Your result is what one gets {mistake.says}.")


def test_mistakes_can_be_told_apart(exercise):
    found = [results(exercise, exercise.mutant(mistake)) for mistake in exercise.mistakes]
    for a, b in itertools.combinations(found, 2):
        assert not agree(exercise, a, b)


def test_two_mistakes_at_once_are_named(exercise):
    pairs = 0
    for pair in itertools.combinations(exercise.mistakes, 2):
        try:
            right, says = judge(exercise, exercise.mutant(*pair))
        except ValueError:  # both concern the same text
            continue
        if right or "It raises" in says:  # some two mistakes undo each other, or cannot be made together
            continue
        pairs += 1
        assert says.startswith("Your result is what one gets ")
    assert pairs or exercise.number == "03.4"


@pytest.mark.parametrize("number", OTHER_WAYS)
def test_another_right_way_passes(number):
    assert OTHER_WAYS[number]
    for way in OTHER_WAYS[number]:
        assert judge(catalogue.exercise(number), way) == (True, ""), way.__name__


def test_each_is_whole(exercise):
    assert exercise.number in OTHER_WAYS
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) >= 2 and exercise.after and exercise.returns
    assert 1 <= exercise.difficulty <= 5 and 1 <= exercise.importance <= 5 and 1 <= exercise.minutes <= 20
    for mistake in exercise.mistakes:
        assert not mistake.says.endswith(".") and mistake.says[0].islower()
    assert exercise.source.startswith(f"def {exercise.solution.__name__}(")


@pytest.mark.parametrize("lesson", catalogue.LESSONS)
def test_a_lesson_has_its_exercises(lesson):
    numbers = [e.number for e in EXERCISES if e.number.startswith(lesson)]
    assert numbers == [f"{lesson}.{i}" for i in range(1, len(numbers) + 1)] and len(numbers) >= 4
    assert catalogue.prediction(f"{lesson}.0")


def test_unknown_numbers_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"no exercise '05\.9'; there are 05\.1, 05\.2, 05\.3"):
        catalogue.exercise("05.9")
    with pytest.raises(ValueError, match=r"no prediction 'x'; there are 01\.0, 02\.0, 03\.0, 05\.0"):
        catalogue.prediction("x")
