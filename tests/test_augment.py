from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medlearn.augment import _FOLD_FREE, Augment, _white_noise, jacobian_determinant, spline_field, warp
from medlearn.widgets import AugmentExplorer
from medlearn.widgets.augment_explorer import ELASTIC_GRID_MM, GEOMETRY, HELD_BACK, STRENGTHS

NONE = replace(Augment().scaled(0), flip=0)
SPACING = (1.0, 0.5)
SPACING_3D = (3.6, 0.7, 0.6)


def uniform(n, seed=0, augment=NONE, shape=(32, 48), spacing=SPACING):
    n_random = augment.n_random(shape, spacing)
    return torch.rand(n, n_random, generator=torch.Generator().manual_seed(seed))


def bars(n=2, size=(32, 48)):
    """Images in which a bright rectangle sits under its label."""
    labels = torch.zeros(n, *size, dtype=torch.uint8)
    labels[:, 10:18, 8:20] = 1
    return labels[:, None].float() * 3 - 1, labels


def test_no_strength_changes_nothing():
    images, labels = bars()
    new_images, new_labels = NONE(images, labels, uniform(2), SPACING)
    torch.testing.assert_close(new_images, images, atol=1e-5, rtol=0)
    assert torch.equal(new_labels, labels)


def test_flip_exchanges_left_and_right_and_nothing_else():
    images, labels = bars()
    new_images, new_labels = replace(NONE, flip=1.0)(images, labels, uniform(2), SPACING)
    torch.testing.assert_close(new_images, images.flip(-1), atol=1e-4, rtol=0)
    assert torch.equal(new_labels, labels.flip(-1))


def test_image_and_labels_move_together():
    images, labels = bars(16)
    augment = replace(Augment(), contrast=0, brightness=0, gamma=0, bias=0)
    new_images, new_labels = augment(images, labels, uniform(16), SPACING)
    assert new_labels.dtype == torch.uint8
    assert not torch.equal(new_labels, labels)
    for image, label in zip(new_images[:, 0], new_labels, strict=True):
        inside = image > 0.5  # half-way between dark and bright
        overlap = 2 * (inside & (label == 1)).sum() / (inside.sum() + label.sum())
        assert overlap > 0.9


def test_a_crop_is_what_the_whole_slice_would_show_around_its_center():
    """A crop in the middle of a slice turns about the same point, and sees what lies beyond it."""
    augment = replace(NONE, rotation_deg=30.0, shear=0.2, scale=0.3, flip=0.5)
    images, labels = bars(8)
    images = images + torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    random = uniform(8, augment=augment)
    whole, whole_labels = augment(images, labels, random, SPACING)
    part, part_labels = augment(images, labels, random, SPACING, crop=(16, 32))
    torch.testing.assert_close(part, whole[:, :, 8:24, 8:40], atol=1e-4, rtol=0)
    assert (part_labels != whole_labels[:, 8:24, 8:40]).float().mean() < 0.002  # ties of nearest neighbors


def test_a_crop_elsewhere_is_cut_out():
    images, labels = bars(1)
    center = torch.tensor([[2 * 14 / 48 - 1, 2 * 12 / 32 - 1]])  # of rows 4 to 20, columns 4 to 24
    part, part_labels = NONE(images, labels, uniform(1, shape=(16, 20)), SPACING, crop=(16, 20), center=center)
    torch.testing.assert_close(part, images[:, :, 4:20, 4:24], atol=1e-4, rtol=0)
    assert torch.equal(part_labels, labels[:, 4:20, 4:24])


def test_translation_is_in_mm():
    images, labels = bars(1)
    augment = replace(NONE, translation_mm=4.0)
    random = torch.full_like(uniform(1), 0.5)
    random[0, 5], random[0, 6] = 1.0, 0.0  # +4 mm along x, -4 mm along y: content moves 8 px left and 4 px down
    _, moved = augment(images, labels, random, SPACING)
    assert torch.equal(moved[0, 14:22, 0:12], torch.ones(8, 12, dtype=torch.uint8))
    assert moved.sum() == labels.sum()


def test_rotation_keeps_shape_in_mm_on_anisotropic_pixels():
    """A quarter turn of a bar of 12 mm × 4 mm has 4 mm × 12 mm, though its pixel counts differ."""
    labels = torch.zeros(1, 33, 65, dtype=torch.uint8)  # 33 mm × 32.5 mm
    labels[0, 14:18, 20:44] = 1  # 4 rows of 1 mm, 24 columns of 0.5 mm
    random = torch.full_like(uniform(1), 0.5)
    random[0, 0] = 1.0
    _, turned = replace(NONE, rotation_deg=90.0)(labels[:, None].float(), labels, random, SPACING)
    rows, columns = turned[0].any(1).sum().item(), turned[0].any(0).sum().item()
    assert abs(rows - 12) <= 1
    assert abs(columns - 8) <= 1


def test_same_numbers_same_change_wherever_the_sample_stands():
    images, labels = bars(4)
    random = uniform(4)
    together, _ = Augment()(images, labels, random, SPACING)
    alone, _ = Augment()(images[2:3], labels[2:3], random[2:3], SPACING)
    torch.testing.assert_close(alone, together[2:3])


def test_intensity_leaves_order_of_gray_values_without_bias_field():
    images = torch.linspace(-2, 3, 64).view(1, 1, 8, 8)
    changed, _ = replace(NONE, gamma=0.5, contrast=0.3, brightness=0.3)(
        images, torch.zeros(1, 8, 8), uniform(1), SPACING
    )
    assert (changed.flatten().diff() > 0).all()
    assert not torch.allclose(changed, images, atol=0.01)


def test_bias_field_is_smooth_and_never_darkens_below_the_darkest():
    images = torch.ones(1, 1, 64, 64)
    images[0, 0, 0, 0] = 0  # the darkest value, where signal starts
    changed, _ = replace(NONE, bias=0.5)(images, torch.zeros(1, 64, 64), uniform(1), SPACING)
    field = changed[0, 0, 1:, 1:]
    assert field.max() / field.min() > 1.1
    assert field.diff(dim=0).abs().max() < 0.06
    assert changed.min() >= 0


def test_warp_labels_stay_labels():
    labels = torch.randint(0, 4, (1, 20, 20)) * 50
    matrix = torch.tensor([[[0.9, 0.2, 0.1], [-0.1, 1.1, 0.0]]])
    _, moved = warp(labels[:, None].float(), labels, matrix)
    assert set(moved.unique().tolist()) <= {0, 50, 100, 150}
    assert moved.dtype == labels.dtype


def ball(n=3, shape=(14, 56, 64), spacing=SPACING_3D):
    """Smooth images whose value 0 is the border of their label: where both were warped alike, it still is."""
    axes = [(np.arange(k) - (k - 1) / 2) * s for k, s in zip(shape, spacing, strict=True)]
    distance = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))  # mm
    images = torch.from_numpy(10 - distance).float().expand(n, 1, *shape)
    return images, (images[:, 0] > 0).to(torch.uint8)


@pytest.mark.parametrize("ndim", [2, 3])
def test_everything_at_once_keeps_image_and_labels_aligned(ndim):
    """Linear and nearest sampling differ by half a voxel at most, so the label's border stays within one of 0 mm."""
    shape, spacing = ((56, 64), SPACING_3D[1:]) if ndim == 2 else ((14, 56, 64), SPACING_3D)
    images, labels = ball(4, shape, spacing)
    augment = replace(Augment(elastic_mm=2.0), contrast=0, brightness=0, gamma=0, bias=0)
    random = uniform(4, 0, augment, shape, spacing)
    new_images, new_labels = augment(images, labels, random, spacing)
    assert set(new_labels.unique().tolist()) == {0, 1}
    assert not torch.equal(new_labels, labels)
    allowed = 0.6 * np.linalg.norm(spacing)  # mm; half a voxel's diagonal, and the change of scale
    assert new_images[:, 0][new_labels == 1].min() > -allowed
    inside = slice(2, -2)
    background = new_images[(slice(None), 0, *[inside] * ndim)][new_labels[(slice(None), *[inside] * ndim)] == 0]
    assert background.max() < allowed


@pytest.mark.parametrize("ndim", [2, 3])
def test_elastic_displacement_has_the_standard_deviation_it_promises(ndim):
    shape, spacing = ((96, 96), (0.7, 0.6)) if ndim == 2 else ((12, 48, 48), (3.6, 1.4, 1.2))
    augment = replace(NONE, elastic_mm=1.5)
    random = uniform(200, 1, augment, shape, spacing)[:, -augment._parts(shape, spacing)["elastic"] :]
    half = torch.tensor([n * s / 2 for n, s in zip(shape, spacing, strict=True)][::-1])
    field = augment._displacement(random, shape, spacing) * half  # mm
    assert field.shape == (200, *shape, ndim)
    assert field.std().item() == pytest.approx(1.5, rel=0.05)
    assert abs(field.mean().item()) < 0.05


@pytest.mark.parametrize("ndim", [2, 3])
def test_elastic_displacement_never_folds(ndim):
    """The determinant of the Jacobian stays positive, however strong the displacement is made."""
    shape, spacing = ((64, 64), (0.7, 0.6)) if ndim == 2 else ((16, 40, 40), (2.0, 1.0, 1.0))
    augment = replace(NONE, elastic_mm=50.0)
    random = uniform(30, 2, augment, shape, spacing)[:, -augment._parts(shape, spacing)["elastic"] :]
    half = torch.tensor([n * s / 2 for n, s in zip(shape, spacing, strict=True)][::-1])
    field = (augment._displacement(random, shape, spacing) * half).flip(-1)  # mm, ([z,] y, x)
    slopes = torch.stack(torch.gradient(field, spacing=list(spacing), dim=list(range(1, ndim + 1))), dim=-1)
    jacobian = torch.linalg.det(slopes + torch.eye(ndim))
    assert jacobian.min() > 0
    assert jacobian.std() > 0.2  # and yet it is strong


@pytest.mark.parametrize("ndim", [2, 3])
def test_displacement_says_where_the_image_was_taken_from(ndim):
    """An image that holds its own coordinates in mm shows the displacement after the warp."""
    shape, spacing = ((56, 64), SPACING_3D[1:]) if ndim == 2 else ((14, 56, 64), SPACING_3D)
    augment = replace(NONE, rotation_deg=20.0, scale=0.1, translation_mm=2.0, elastic_mm=1.0)
    random = uniform(2, 3, augment, shape, spacing)
    axes = [(torch.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1])  # (x, y[, z]) first
    moved, _ = augment(position.expand(2, *position.shape), torch.zeros(2, *shape), random, spacing)
    found = (moved - position).movedim(1, -1)
    inside = (slice(None), *[slice(n // 4, -n // 4) for n in shape])
    expected = augment.displacement(random, shape, spacing)
    torch.testing.assert_close(found[inside], expected[inside], atol=2e-3, rtol=0)
    assert expected.abs().max() > 3


def test_jacobian_determinant_of_known_maps():
    shape, spacing = (20, 30), (2.0, 0.5)
    y, x = torch.meshgrid(torch.arange(20) * 2.0, torch.arange(30) * 0.5, indexing="ij")
    for u, v, determinant in ((0 * x, 0 * y, 1.0), (0.2 * x, 0 * y, 1.2), (0.3 * y, 0 * y, 1.0), (-1.5 * x, y, -1.0)):
        found = jacobian_determinant(torch.stack([u, v], dim=-1)[None], spacing)
        assert found.shape == (1, *shape)
        torch.testing.assert_close(found, torch.full_like(found, determinant), atol=1e-5, rtol=0)


def test_spline_of_equal_control_points_is_constant_and_free_ones_fold():
    shape, spacing = (40, 50), (1.0, 1.2)
    assert torch.allclose(spline_field(torch.full((1, 2, 7, 9), 3.0), shape, spacing, 10.0), torch.tensor(3.0))
    points = 15 * torch.randn(1, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    field = [spline_field(p, shape, spacing, 10.0) for p in (points, points.clamp(-4, 4))]
    free, held = (jacobian_determinant(f, spacing).min().item() for f in field)
    assert free < 0 < held


def test_elastic_of_one_sample_depends_on_its_own_numbers_alone():
    images, labels = bars(4)
    augment = Augment(elastic_mm=2.0, noise=0.3, blur_mm=1.0, low_resolution=1.0)
    random = uniform(4, 0, augment)
    together, _ = augment(images, labels, random, SPACING)
    alone, _ = augment(images[1:2], labels[1:2], random[1:2], SPACING)
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1])


def test_noise_is_white_normal_and_of_the_strength_drawn():
    noise = _white_noise(torch.tensor([0.1, 0.1, 0.7]), torch.empty(3, 1, 200, 200))
    assert torch.equal(noise[0], noise[1])
    assert noise[2].std().item() == pytest.approx(1, abs=0.02)
    assert abs(noise.mean().item()) < 0.02
    assert abs((noise[0] * noise[2]).mean().item()) < 0.02
    assert abs((noise[0, 0, 1:] * noise[0, 0, :-1]).mean().item()) < 0.02
    assert (noise[2].abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    random = torch.full_like(uniform(1), 0.5)
    changed, _ = replace(NONE, noise=0.4)(torch.zeros(1, 1, 64, 64), torch.zeros(1, 64, 64), random, SPACING)
    assert changed.std().item() == pytest.approx(0.2, rel=0.05)


def test_blur_is_a_gaussian_in_mm():
    images = torch.zeros(1, 1, 33, 65)
    images[0, 0, 16, 32] = 1
    random = uniform(1)
    random[0, -4] = 0.5  # half of 4 mm
    blurred, _ = replace(NONE, blur_mm=4.0)(images, torch.zeros(1, 33, 65), random, SPACING)
    expected = ndimage.gaussian_filter(images[0, 0].numpy(), (2 / 1.0, 2 / 0.5), truncate=8)
    np.testing.assert_allclose(blurred[0, 0], expected, atol=1e-4)
    assert blurred.sum().item() == pytest.approx(1, abs=5e-3)


def test_low_resolution_removes_fine_stripes_and_keeps_slopes():
    stripes = torch.arange(48).remainder(2).float().expand(1, 1, 32, 48)
    slope = torch.arange(48).float().expand(1, 1, 32, 48) / 48
    random = uniform(1)
    random[0, -3] = 1.0
    coarse = replace(NONE, low_resolution=2.0)
    changed, _ = coarse(stripes, torch.zeros(1, 32, 48), random, SPACING)
    assert changed.std() < 0.15
    kept, _ = coarse(slope, torch.zeros(1, 32, 48), random, SPACING)
    torch.testing.assert_close(kept[..., 4:-4], slope[..., 4:-4], atol=1e-3, rtol=0)


def test_tilt_is_measured_in_mm():
    """A plate across z, tilted by 10 degrees about x, rises by tan 10° along y, in mm on anisotropic voxels."""
    shape = (25, 41, 11)
    z = (torch.arange(25) - 12).float() * SPACING_3D[0]
    images = z[:, None, None].expand(1, 1, *shape)
    random = torch.full((1, NONE.n_random(shape, SPACING_3D)), 0.5)
    random[0, 26] = 1.0
    tilted, _ = replace(NONE, tilt_deg=10.0)(images, torch.zeros(1, *shape), random, SPACING_3D)
    rise = tilted[0, 0, 12].diff(dim=0).abs().mean().item() / SPACING_3D[1]  # mm of z per mm of y
    assert rise == pytest.approx(np.sin(np.radians(10)), rel=0.01)


@pytest.mark.parametrize("ndim", [2, 3])
@given(
    strength=st.floats(0, 4), seed=st.integers(0, 1000), kind=st.sampled_from([torch.uint8, torch.int16, torch.int64])
)
@settings(max_examples=20, deadline=None)
def test_no_warp_invents_a_label(ndim, strength, seed, kind):
    """Every label of the result was in the sample, whatever the strength; outside of the image there is 0."""
    shape, spacing = ((24, 30), SPACING_3D[1:]) if ndim == 2 else ((6, 24, 30), SPACING_3D)
    augment = Augment(elastic_mm=3.0, noise=0.2, blur_mm=1.0, low_resolution=1.0).scaled(strength)
    random = uniform(3, seed, augment, shape, spacing)
    values = torch.tensor([[0, 1, 2], [5, 100, 255], [7, 9, 11]], dtype=kind)
    places = torch.randint(0, 3, (3, *shape), generator=torch.Generator().manual_seed(seed))
    labels = torch.stack([v[p] for v, p in zip(values, places, strict=True)])
    _, moved = augment(torch.zeros(3, 1, *shape), labels, random, spacing)
    assert moved.dtype == kind
    for one, allowed in zip(moved, values.tolist(), strict=True):
        assert set(one.unique().tolist()) <= {0, *allowed}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rotation_deg": -5}, "rotation_deg must be 0 or more, and finite; got -5"),
        ({"scale": float("nan")}, "scale must be 0 or more"),
        ({"flip": 1.5}, "flip is a probability, 0 to 1; got 1.5"),
        ({"elastic_grid_mm": 0}, "elastic_grid_mm"),
    ],
)
def test_impossible_strengths_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Augment(**values)


def test_what_does_not_fit_the_batch_is_named():
    images, labels = bars(2)
    with pytest.raises(ValueError, match=r"random must be \(B, 30\), what n_random.* tells; got \(2, 31\)"):
        NONE(images, labels, torch.rand(2, 31), SPACING)
    with pytest.raises(ValueError, match=r"got a shape \(32, 48\) and a spacing \(1.0,\)"):
        NONE(images, labels, torch.rand(2, 30), SPACING[:1])


def test_factors_have_a_uniform_logarithm():
    """What the documentation says of scale, contrast and gamma, at the quartiles of the uniform number."""
    random = torch.full((3, NONE.n_random((32, 48), SPACING)), 0.5)
    random[:, 8] = torch.tensor([0.0, 0.25, 1.0])  # of the contrast
    images = torch.ones(3, 1, 32, 48)
    changed, _ = replace(NONE, contrast=0.5)(images, torch.zeros(3, 32, 48), random, SPACING)
    expected = torch.tensor([1 / 1.5, 1.5**-0.5, 1.5])
    torch.testing.assert_close(changed[:, 0, 5, 5], expected)


def test_scaled_to_nothing_changes_nothing():
    augment = replace(Augment(elastic_mm=3.0, noise=0.3, blur_mm=2.0, low_resolution=1.0).scaled(0), flip=0)
    assert augment == NONE
    assert Augment(elastic_mm=3.0).scaled(0.5).elastic_mm == 1.5
    assert Augment().scaled(0.5).flip == Augment().flip


# --- the explorer -----------------------------------------------------------------------------------------------------


def test_every_slider_of_the_explorer_does_what_its_name_says():
    explorer = AugmentExplorer.example()
    still = dict.fromkeys(STRENGTHS, 0.0)
    rest = explorer._change(still)
    assert np.abs(rest.displacement).max() < 1e-4
    for name, (most, _) in STRENGTHS.items():
        changes = [explorer._change({**still, name: most, "number": n}) for n in range(4)]  # a single draw may be small
        moves = any(np.abs(change.displacement).max() > 1 for change in changes)
        assert moves == (name in GEOMETRY), name
        assert moves == any(not np.array_equal(change.labels, rest.labels) for change in changes), name
        assert max(np.abs(change.image - rest.image).max() for change in changes) > 0.05, name


def test_the_explorer_shows_every_change_but_those_along_z_and_the_flip():
    along_z, others = {"tilt_deg", "translation_z_mm", "scale_z"}, {"flip", "elastic_grid_mm"}
    assert set(STRENGTHS) == {f.name for f in fields(Augment)} - along_z - others
    assert (_FOLD_FREE, Augment().elastic_grid_mm) == (HELD_BACK, ELASTIC_GRID_MM)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_cpu():
    images, labels = bars(4)
    random = uniform(4)
    ours, _ = Augment()(images, labels, random, SPACING)
    theirs, _ = Augment()(images.cuda(), labels.cuda(), random.cuda(), SPACING)
    torch.testing.assert_close(theirs.cpu(), ours, atol=1e-3, rtol=1e-3)
