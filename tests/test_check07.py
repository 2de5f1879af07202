"""Chapter 7's exercises: answers worked by hand or by the library. `test_check.py` proves that all mistakes differ."""

import numpy as np
import pytest

from medlearn import denoise
from medlearn.check import chapter07


@pytest.mark.parametrize(("image", "spacing", "time_step"), chapter07.STEP.probes)
def test_step_is_that_of_the_library(image, spacing, time_step):
    expected = denoise.curvature_flow(image, spacing=spacing, n_iterations=1, time_step=time_step)
    np.testing.assert_allclose(chapter07.STEP.right(image, spacing, time_step), expected, rtol=1e-12)


@pytest.mark.parametrize("spacing", [probe[0] for probe in chapter07.LARGEST.probes])
def test_largest_step_is_the_one_that_the_library_allows(spacing):
    image = np.random.default_rng(0).normal(size=(6,) * len(spacing))
    limit = chapter07.LARGEST.right(spacing)
    denoise.curvature_flow(image, spacing=spacing, n_iterations=1, time_step=limit)
    with pytest.raises(ValueError, match="too large"):
        denoise.curvature_flow(image, spacing=spacing, n_iterations=1, time_step=1.001 * limit)


def test_choice_worked_by_hand():
    noise = np.array([10.0, 8.0, 6.0, 5.0])
    assert chapter07.CHOICE.right(noise, 6.0, 0.1, 2.0) == 2  # the disk would stand 10 steps
    assert chapter07.CHOICE.right(noise, 5.0, 0.1, 1.0) == 2  # t = 1/4, so 2.5 steps
    assert chapter07.CHOICE.right(noise, 1.0, 0.1, 1.2) == 3  # 3.6 steps; the wish is never met
