"""Chapter 6's exercises agree with the library. `test_check.py` proves that all mistakes differ."""

import numpy as np
import pytest

from medlearn import contrast
from medlearn.check import chapter06


@pytest.mark.parametrize(("histogram", "limit"), chapter06.CLIP.probes)
def test_clipping_is_that_of_the_library(histogram, limit):
    clipped = chapter06.CLIP.right(histogram, limit)
    assert clipped.tolist() == contrast.clip_histogram(histogram, limit).tolist()
    assert clipped.sum() == histogram.sum()


@pytest.mark.parametrize("histogram", [probe[0] for probe in chapter06.MAPPING.probes])
def test_mapping_is_that_of_the_library(histogram):
    assert chapter06.MAPPING.right(histogram).tolist() == contrast.tile_mappings(histogram).tolist()


@pytest.mark.parametrize(("values", "width", "columns"), chapter06.BLEND.probes)
def test_blend_is_that_of_the_library(values, width, columns):
    row = np.zeros(width * len(values), np.uint8)
    expected = contrast.interpolate_mappings(row, values[:, None].astype(np.uint8))[columns]
    np.testing.assert_allclose(chapter06.BLEND.right(values, width, columns), expected, rtol=0, atol=0.501)  # rounded


def test_blend_worked_by_hand():
    assert chapter06.BLEND.right(np.array([10.0, 50.0, 90.0]), 8, np.array([0, 3, 11, 23])).tolist() == [10, 10, 45, 90]
