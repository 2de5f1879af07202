"""Our measures against MONAI's on random blobs, isotropic and not, inside the array and touching its border."""

import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage

from medlearn.metrics import (
    accuracy,
    average_boundary_distance,
    dice,
    hausdorff,
    hausdorff95,
    jaccard,
    panoptic_quality,
    precision,
    sensitivity,
    specificity,
    surface_dice,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI's own deprecations, when it is imported
    from monai.metrics import (
        compute_average_surface_distance,
        compute_confusion_matrix_metric,
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_panoptic_quality,
        compute_surface_dice,
        get_confusion_matrix,
    )
    from monai.metrics.utils import get_edge_surface_distance

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
    expected = compute_hausdorff_distance(batch(pred), batch(target), **arguments)
    assert hausdorff(pred, target, spacing=spacing) == pytest.approx(expected.item(), rel=1e-5)
    assert jaccard(pred, target) == pytest.approx(compute_iou(batch(pred), batch(target)).item(), rel=1e-6)


@pytest.mark.parametrize("spacing", [s for values in SPACINGS.values() for s in values], ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("full", [False, True])
def test_surface_dice_and_surface_elements_agree_with_monai(seed, spacing, full):
    pred, target = blobs(seed, len(spacing))
    if full:
        target = np.ones_like(pred)
    # MONAI compares in float32, so a tolerance that is itself a distance could fall on either side
    arguments = {"class_thresholds": [1.234], "include_background": True, "spacing": spacing}
    for definition, use_subvoxels in (("voxels", False), ("surface_area", True)):
        expected = compute_surface_dice(batch(pred), batch(target), use_subvoxels=use_subvoxels, **arguments)
        found = surface_dice(pred, target, spacing=spacing, tolerance_mm=1.234, definition=definition)
        assert found == pytest.approx(expected.item(), rel=1e-5)
    edges, distances, areas = get_edge_surface_distance(
        *map(torch.from_numpy, (pred, target)), spacing=spacing, use_subvoxels=True, symmetric=True
    )
    expected = max(
        weighted_percentile(d.numpy(), area[edge].numpy())
        for edge, d, area in zip(edges, distances, areas, strict=True)
    )
    assert hausdorff95(pred, target, spacing=spacing, definition="surface_area") == pytest.approx(expected, rel=1e-5)


def weighted_percentile(distances, areas):
    """Smallest distance within which lie 95 % of the area, by trying each."""
    areas = areas.astype(float)
    return min(d for d in np.unique(distances) if areas[distances <= d].sum() >= 0.95 * areas.sum())


@pytest.mark.parametrize("seed", range(4))
def test_shares_agree_with_monai(seed):
    pred, target = blobs(seed, 3)
    counts = get_confusion_matrix(batch(pred).float(), batch(target).float())
    for measure in (accuracy, sensitivity, specificity, precision):
        expected = compute_confusion_matrix_metric(measure.__name__, counts).item()
        assert measure(pred, target) == pytest.approx(expected, rel=1e-6)


def test_one_empty_mask_agrees_with_monai():
    mask, empty = blobs(0, 3)[0], np.zeros((12, 40, 36), bool)
    for pred, target in ((mask, empty), (empty, mask)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a mask is empty
            expected = compute_hausdorff_distance(batch(pred), batch(target), include_background=True)
        assert hausdorff(pred, target, spacing=(1, 1, 1)) == expected.item() == np.inf


@pytest.mark.parametrize("seed", range(4))
def test_panoptic_quality_agrees_with_monai(seed):
    target, other = blobs(seed, 2)
    eroded = ndimage.binary_erosion(target, border_value=1) | (other & ~ndimage.binary_dilation(target, iterations=2))
    pred, target = ndimage.label(eroded)[0], ndimage.label(target)[0]
    found = panoptic_quality(pred, target)
    assert found.true_positives
    for name in ("pq", "sq", "rq"):
        expected = compute_panoptic_quality(torch.from_numpy(pred), torch.from_numpy(target), metric_name=name)
        assert getattr(found, name) == pytest.approx(expected.item(), rel=1e-5)
