"""Exercise checks: every named mistake is told from all others, and only the right answer passes."""

import inspect
import itertools
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import medlearn.check as check
from medlearn.check import chapter00
from medlearn.check._core import Exercise, Wrong

CHAPTERS = [import_module(f"medlearn.check.{path.stem}") for path in Path(check.__file__).parent.glob("chapter*.py")]
EXERCISES = [value for chapter in CHAPTERS for value in vars(chapter).values() if isinstance(value, Exercise)]
EXERCISES.sort(key=lambda exercise: exercise.number)
MISTAKES = [
    pytest.param(exercise, name, id=f"{exercise.number}-{name}") for exercise in EXERCISES for name in exercise.wrong
]
exercises = pytest.mark.parametrize("exercise", EXERCISES, ids=[exercise.number for exercise in EXERCISES])


@exercises
def test_right_answer_passes(exercise):
    assert exercise.verdict(exercise.right).startswith("right!")


@exercises
def test_right_answer_and_all_mistakes_differ(exercise):
    functions = {"right": exercise.right} | {name: wrong.compute for name, wrong in exercise.wrong.items()}
    answers = {name: exercise.answers(function) for name, function in functions.items()}
    for first, second in itertools.combinations(answers, 2):
        assert not all(map(exercise.agrees, answers[first], answers[second])), f"{first} equals {second}"


@pytest.mark.parametrize(("exercise", "name"), MISTAKES)
def test_mistake_gets_its_own_hint(exercise, name):
    assert exercise.verdict(exercise.wrong[name].compute) == f"not yet. {exercise.wrong[name].hint}"


@exercises
def test_hints_differ(exercise):
    hints = [wrong.hint for wrong in exercise.wrong.values()]
    assert len(set(hints)) == len(hints)


@exercises
def test_no_constant_passes(exercise):
    for answer in exercise.answers(exercise.right):
        assert not exercise.verdict(lambda *probe, constant=answer: constant).startswith("right!")


@exercises
def test_unsolved_stub_is_not_an_error(exercise):
    def stub(*probe):
        raise NotImplementedError("write your code here")

    assert exercise.verdict(stub).startswith("not solved yet")
    assert "returned nothing" in exercise.verdict(lambda *probe: None)


@exercises
def test_error_names_the_line_of_the_student(exercise):
    def divide(*probe):
        zero = 0
        return 1 / zero

    line = inspect.getsourcelines(divide)[1] + 2
    verdict = exercise.verdict(divide)
    assert f"Line {line} of your cell, `return 1 / zero`, raised\n    ZeroDivisionError: division by zero" in verdict


def test_error_inside_a_library_names_the_line_that_called_it():
    def subtract(pred, target):
        return np.subtract(pred, target).sum()  # NumPy refuses this for booleans

    verdict = check.chapter00.DICE.verdict(subtract)
    assert "`return np.subtract(pred, target).sum()" in verdict
    assert "numpy boolean subtract" in verdict
    assert "site-packages" not in verdict


def test_wrong_number_of_arguments_is_explained():
    assert "TypeError" in chapter00.DICE.verdict(lambda pred: 1)


def test_result_of_a_call_instead_of_the_function():
    assert "without brackets; this is a float" in chapter00.DICE.verdict(0.5)


def test_changed_input_is_reported():
    def clears(mask, spacing):
        volume = (mask > 0).sum() * np.prod(spacing) / 1000
        mask[:] = 0
        return volume

    assert "changed its input" in chapter00.VOLUME.verdict(clears)
    assert chapter00.VOLUME.verdict(chapter00.VOLUME.right).startswith("right!")  # the probe itself is unharmed


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda a: a + 0.5 * (a == 3), "Expected 9 mm at index 1, got 3.5 mm (probe 1 of 1)."),
        (lambda a: a[:2], "Expected an array of shape (3,), got an array of shape (2,)."),
        (lambda a: 7, "Expected an array of shape (3,), got one number."),
        (lambda a: "seven", "Expected an array of shape (3,), got a str."),
        (lambda a: a * [1, 1, np.nan], "Expected 9 mm at index 1, got 3 mm"),
    ],
)
def test_unknown_mistake_shows_the_first_difference(function, says):
    exercise = Exercise("9.9", lambda a: a**2, {}, ((np.array([1.0, 3.0, 2.0]),),), praise="", unit="mm")
    assert says in exercise.verdict(function)


def test_nan_is_not_equal_to_a_number():
    exercise = Exercise("9.9", lambda a: a, {"double": Wrong(lambda a: 2 * a, "half")}, ((1.0,),), praise="")
    assert exercise.verdict(lambda a: np.nan) == "not yet. Expected 1, got nan (probe 1 of 1)."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((np.array([1.0, 2.0]), 4.0), "Expected 3, got 4 (probe 1 of 1)."),
        ((np.array([1.0, 5.0]), 3.0), "Expected 2 at index 1, got 5 (probe 1 of 1)."),
        (7, "Expected a tuple of 2 results, got one number."),
        ((1, 2, 3), "Expected a tuple of 2 results, got a tuple of 3."),
        ((None, 3.0), "Expected an array of shape (2,), got one number."),
    ],
)
def test_first_difference_of_several_results(answer, expected):
    exercise = Exercise("9.9", lambda a: (np.array([1.0, 2.0]), 3.0), {}, ((0,),), praise="")
    assert exercise.verdict(lambda a: answer) == f"not yet. {expected}"


def test_list_and_tuple_count_as_arrays():
    exercise = Exercise("9.9", lambda a: (a, 2 * a), {}, ((np.arange(3),),), praise="good")
    assert exercise.verdict(lambda a: (list(a), [2 * x for x in a])) == "right! good"


def test_public_checks_print_and_return_none(capsys):
    for name, exercise in (
        ("dice_by_hand", chapter00.DICE),
        ("gland_volume", chapter00.VOLUME),
        ("held_out_slices", chapter00.SPLIT),
    ):
        assert getattr(check, name)(exercise.right) is None
        assert capsys.readouterr().out == f"Exercise {exercise.number}: right! {exercise.praise}\n"
