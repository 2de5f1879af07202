"""Checks of chapter 10a: the numbers behind the hints, agreement with the library, and answers by other definitions."""

import pytest

from medlearn import metrics
from medlearn.check.chapter10a import DICE, HAUSDORFF95, SHARES


def first(exercise, name=None):
    function = exercise.right if name is None else exercise.wrong[name].compute
    return exercise.answers(function)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, 0.976),
        ("factor_2_forgotten", 0.488),
        ("jaccard", 0.953),
        ("bool_plus_is_or", 1.906),
        ("mean_of_slices", 0.600),
        ("accuracy", 0.9875),
        ("precision", 0.981),
        ("smoothing_1000", 0.996),
    ],
)
def test_dice_of_a_stack(name, value):
    assert first(DICE, name) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, 9.12),
        ("only_pred_to_truth", 4.00),
        ("spacing_ignored", 9.06),
        ("spacing_xyz", 24.75),
        ("maximum", 10.23),
        ("volume_not_surface", 8.05),
    ],
)
def test_hausdorff_distance(name, value):
    assert first(HAUSDORFF95, name) == pytest.approx(value, abs=6e-3)


def test_right_answers_are_those_of_the_library():
    for pred, target in DICE.probes:
        assert DICE.right(pred, target) == metrics.dice(pred, target)
    for pred, target in SHARES.probes:
        library = [f(pred, target) for f in (metrics.accuracy, metrics.precision, metrics.sensitivity)]
        assert SHARES.right(pred, target) == pytest.approx(library)
    for pred, target, spacing in HAUSDORFF95.probes:
        assert HAUSDORFF95.right(pred, target, spacing) == metrics.hausdorff95(pred, target, spacing=spacing)


def test_another_definition_is_named_and_not_failed():
    for other in HAUSDORFF95.also.values():
        verdict = HAUSDORFF95.verdict(other.compute)
        assert verdict == f"right, by another definition. {other.hint}"
    assert HAUSDORFF95.answers(HAUSDORFF95.also["pooled"].compute)[0] == pytest.approx(8.65, abs=6e-3)
    assert HAUSDORFF95.verdict(lambda pred, target, spacing: 1.0).startswith("not yet. Expected 9.1")


@pytest.mark.parametrize(
    ("of_empty", "said"), [(lambda: 1.0, "Yours returned 1.0."), (lambda: 1 / 0, "ZeroDivisionError")]
)
def test_two_empty_masks_follow_the_rule(of_empty, said):
    def dice(pred, target):
        return DICE.right(pred, target) if (pred | target).any() else of_empty()

    verdict = DICE.verdict(dice)
    assert verdict.startswith(f"not yet. {DICE.hint}")
    assert said in verdict
    assert DICE.verdict(lambda p, t: 2 * (p & t).sum() / (p.sum() + t.sum())).startswith("right!")  # nan by NumPy
