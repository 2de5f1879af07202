from dataclasses import replace

import pytest
import torch

from medlearn.augment import Augment, warp

NONE = Augment(rotation_deg=0, translation_mm=0, scale=0, shear=0, flip=0, contrast=0, brightness=0, gamma=0, bias=0)
SPACING = (1.0, 0.5)


def uniform(n, seed=0):
    return torch.rand(n, Augment.n_random, generator=torch.Generator().manual_seed(seed))


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


def test_translation_is_in_mm():
    images, labels = bars(1)
    augment = replace(NONE, translation_mm=4.0)
    random = torch.full((1, Augment.n_random), 0.5)
    random[0, 5], random[0, 6] = 1.0, 0.0  # +4 mm along x, -4 mm along y: content moves 8 px left and 4 px down
    _, moved = augment(images, labels, random, SPACING)
    assert torch.equal(moved[0, 14:22, 0:12], torch.ones(8, 12, dtype=torch.uint8))
    assert moved.sum() == labels.sum()


def test_rotation_keeps_shape_in_mm_on_anisotropic_pixels():
    """A quarter turn of a bar of 12 mm × 4 mm has 4 mm × 12 mm, though its pixel counts differ."""
    labels = torch.zeros(1, 33, 65, dtype=torch.uint8)  # 33 mm × 32.5 mm
    labels[0, 14:18, 20:44] = 1  # 4 rows of 1 mm, 24 columns of 0.5 mm
    random = torch.full((1, Augment.n_random), 0.5)
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_agrees_with_cpu():
    images, labels = bars(4)
    random = uniform(4)
    ours, _ = Augment()(images, labels, random, SPACING)
    theirs, _ = Augment()(images.cuda(), labels.cuda(), random.cuda(), SPACING)
    torch.testing.assert_close(theirs.cpu(), ours, atol=1e-3, rtol=1e-3)
