"""Exercises of chapter 5: answers worked by hand, and what no named mistake covers."""

import numpy as np

from medlearn.check import chapter05


def test_otsu_on_three_pixels():
    histogram = np.bincount([1, 2, 9])
    assert chapter05._otsu(histogram) == 2


def test_region_on_a_ramp_counts_what_the_exercise_says():
    probe = chapter05.GROW.probes[0]
    sizes = {name: int(wrong.compute(*probe).sum()) for name, wrong in chapter05.GROW.wrong.items()}
    assert int(chapter05.GROW.right(*probe).sum()) == 11 * 32  # 50, 52, ... 70
    assert sizes["compares_with_neighbour"] == 32 * 128 - 8  # everything but the island
    assert sizes["not_connected"] == 11 * 32 + 8
    assert sizes["uint8_wraparound"] == 6 * 32  # 60, 62, ... 70
    assert sizes["exclusive"] == 9 * 32  # 52 ... 68


def test_tolerance_that_follows_the_truth_of_the_test_cases_is_found_out():
    def peeks(train, test, tolerances):
        sizes = [mask.sum() for _, mask in test]
        return (tolerances[0] if max(sizes) > 60 else tolerances[-1]), 0.5

    assert chapter05.TOLERANCE.verdict(peeks) == f"not yet. {chapter05.TOLERANCE.leak}"


def test_other_wrong_answers_get_the_first_difference():
    def honest_but_wrong(train, test, tolerances):
        return tolerances[0], 0.5

    verdict = chapter05.TOLERANCE.verdict(honest_but_wrong)
    assert "Expected 36 at index 0, got 4 (probe 1 of 3)." in verdict
    assert "Expected an array of shape (2,), got one number" in chapter05.TOLERANCE.verdict(lambda *probe: 3)
    assert "got a str" in chapter05.TOLERANCE.verdict(lambda *probe: "often")
