"""Our measures against MONAI's on random blobs, isotropic and not, inside the array and touching its border."""

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from medlearn.metrics import average_boundary_distance, dice, hausdorff95

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own deprecations, when it is imported
    from monai.metrics import compute_average_surface_distance, compute_dice, compute_hausdorff_distance

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:monai")

SPACINGS = {2: [(1.0, 1.0), (0.5, 2.0)], 3: [(1.0, 1.0, 1.0), (3.6, 0.625, 0.5)]}


def blobs(seed, ndim):
    """Two overlapping random masks; without a margin they reach the border on every side."""
    rng = np.random.default_rng(seed)
    shape = (12, 40, 36)[-ndim:]
    noise = ndimage.gaussian_filter(rng.normal(size=(3, *shape)), (0, *(2,) * ndim), mode="wrap")
    pred, target = (noise[:2] + noise[2]) > noise.std() * (seed % 3) / 2
    return pred, target


def batch(mask):
    return torch.from_numpy(mask)[None, None]


@pytest.mark.parametrize("spacing", [s for values in SPACINGS.values() for s in values], ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_monai(seed, spacing):
    pred, target = blobs(seed, len(spacing))
    if seed >= 3:  # away from the border
        pred, target = np.pad(pred, 2), np.pad(target, 2)
    else:
        assert all(mask.take(0, axis).any() for mask in (pred, target) for axis in range(mask.ndim))
    arguments = {"include_background": True, "spacing": spacing}
    expected = compute_hausdorff_distance(batch(pred), batch(target), percentile=95, **arguments)
    assert hausdorff95(pred, target, spacing=spacing) == pytest.approx(expected.item(), rel=1e-5)
    expected = compute_average_surface_distance(batch(pred), batch(target), symmetric=True, **arguments)
    assert average_boundary_distance(pred, target, spacing=spacing) == pytest.approx(expected.item(), rel=1e-5)
    assert dice(pred, target) == pytest.approx(compute_dice(batch(pred), batch(target)).item(), rel=1e-6)
