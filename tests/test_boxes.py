"""Boxes: answers worked by hand, and the definitions written out as loops."""

import math

import numpy as np
import pytest
import torch

from medlearn.nn.boxes import (
    BACKGROUND,
    NEITHER,
    box_area,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    instance_boxes,
    match,
    nms,
    roi_align,
)

NONE = torch.zeros(0, 4)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def random_boxes(n, seed=0):
    low, size = torch.rand(2, n, 2, generator=torch.Generator().manual_seed(seed)) * 20
    return torch.cat([low, low + size + 0.5], 1)


def test_iou_by_hand():
    first = boxes((0, 0, 4, 4), (0, 0, 2, 2))
    second = boxes((2, 2, 4, 6), (0, 0, 4, 4), (4, 0, 6, 4), (2, 2, 2, 2))
    expected = [[4 / 20, 1, 0, 0], [0, 4 / 16, 0, 0]]  # boxes that touch do not overlap
    torch.testing.assert_close(box_iou(first, second), torch.tensor(expected))
    assert box_iou(boxes((1, 1, 1, 1)), boxes((1, 1, 1, 1))).item() == 0
    assert box_iou(NONE, second).shape == (0, 4)
    assert box_area(boxes((0, 0, 4, 3), (3, 3, 1, 9))).tolist() == [12, 0]


def test_clipping():
    assert clip_boxes(boxes((-1, 2, 9, 30)), (8, 20)).tolist() == [[0, 2, 8, 20]]


def test_boxes_of_objects():
    labels = torch.tensor([[0, 7, 7, 0], [0, 7, 0, 0], [3, 0, 0, 9]])
    ids, found = instance_boxes(labels)
    assert ids.tolist() == [3, 7, 9]
    assert found.tolist() == [[2, 0, 3, 1], [0, 1, 2, 3], [2, 3, 3, 4]]
    ids, found = instance_boxes(torch.zeros(4, 4, dtype=torch.int32))
    assert (len(ids), found.shape) == (0, (0, 4))


def test_matching_by_hand():
    iou = torch.tensor([[0.8, 0.1], [0.5, 0.4], [0.1, 0.2], [0.0, 0.45], [0.0, 0.0]])
    assert match(iou, background_below=0.3, object_from=0.7).tolist() == [0, NEITHER, BACKGROUND, NEITHER, BACKGROUND]
    found = match(iou, background_below=0.3, object_from=0.7, every_target=True)
    assert found.tolist() == [0, NEITHER, BACKGROUND, 1, BACKGROUND]
    assert match(iou[:, :0], background_below=0.3, object_from=0.7).tolist() == [BACKGROUND] * 5
    missed = torch.zeros(3, 1)  # a target that no anchor touches gets none
    assert match(missed, background_below=0.3, object_from=0.7, every_target=True).tolist() == [BACKGROUND] * 3


def test_offsets_by_hand():
    anchor, box = boxes((0, 0, 4, 8)), boxes((1, 2, 9, 6))  # centers (2, 4) and (5, 4)
    expected = torch.tensor([[3 / 4, 0, math.log(2), math.log(0.5)]])
    torch.testing.assert_close(encode_boxes(box, anchor), expected)


def test_decoding_inverts_encoding():
    torch.testing.assert_close(
        decode_boxes(encode_boxes(random_boxes(50), random_boxes(50, 1)), random_boxes(50, 1)), random_boxes(50)
    )
    assert torch.isfinite(decode_boxes(torch.full((1, 4), 1000.0), boxes((0, 0, 8, 8)))).all()


def nms_by_definition(boxes, scores, iou_threshold):
    left, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if box_iou(boxes[[best]], boxes[[i]]) <= iou_threshold]
    return kept


def test_suppression_by_hand():
    row = boxes((0, 0, 4, 4), (0, 1, 4, 5), (0, 2, 4, 6), (0, 9, 4, 13))
    # the first suppresses the second (IoU 12/20), which then cannot suppress the third (IoU with the first 8/24)
    assert nms(row, torch.tensor([0.9, 0.8, 0.7, 0.1]), 0.5).tolist() == [0, 2, 3]
    assert nms(row, torch.tensor([0.1, 0.8, 0.7, 0.9]), 0.5).tolist() == [3, 1]
    assert nms(row[[0, 0]], torch.tensor([0.5, 0.5]), 1.0).tolist() == [0, 1]  # "more than"
    assert nms(NONE, torch.zeros(0), 0.5).tolist() == []


@pytest.mark.parametrize("iou_threshold", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_suppression_is_that_of_the_definition(seed, iou_threshold):
    found, scores = random_boxes(60, seed), torch.rand(60, generator=torch.Generator().manual_seed(seed))
    assert nms(found, scores, iou_threshold).tolist() == nms_by_definition(found, scores, iou_threshold)


def test_long_chains_are_suppressed_in_turn():
    """Each box overlaps only the next: every other one stays, which takes as many rounds as there are boxes."""
    n = 40
    chain = torch.stack([torch.tensor([0, 2.0 * k, 4, 2.0 * k + 3]) for k in range(n)])
    assert nms(chain, torch.linspace(1, 0, n), 0.1).tolist() == list(range(0, n, 2))


def roi_align_by_definition(features, box, size, stride, samples):
    """Bin by bin, point by point, with the interpolation written out."""
    channels, height, width = features.shape
    out = np.zeros((channels, size, size))
    y0, x0, y1, x1 = box
    for i, j in np.ndindex(size, size):
        for a, b in np.ndindex(samples, samples):
            y = (
                y0 + (y1 - y0) * (i + (a + 0.5) / samples) / size
            ) / stride - 0.5  # in cells, from the middle of (0, 0)
            x = (x0 + (x1 - x0) * (j + (b + 0.5) / samples) / size) / stride - 0.5
            y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = features[:, top, left] * (1 - x + left) + features[:, top, right] * (x - left)
            lower = features[:, bottom, left] * (1 - x + left) + features[:, bottom, right] * (x - left)
            out[:, i, j] += (upper * (1 - y + top) + lower * (y - top)) / samples**2
    return out


def test_roi_align_of_a_ramp():
    """On a map whose value is the image coordinate, a bin's mean is the coordinate of its middle."""
    y, x = torch.meshgrid(torch.arange(8) * 4 + 2.0, torch.arange(10) * 4 + 2.0, indexing="ij")
    found = roi_align(torch.stack([y, x]), boxes((5, 7, 15, 31)), 2, stride=4)
    torch.testing.assert_close(found[0, 0], torch.tensor([[7.5, 7.5], [12.5, 12.5]]))
    torch.testing.assert_close(found[0, 1], torch.tensor([[13.0, 25.0], [13.0, 25.0]]))


@pytest.mark.parametrize(("size", "stride", "samples"), [(3, 1, 1), (2, 4, 2), (7, 8, 3)])
def test_roi_align_is_that_of_the_definition(size, stride, samples):
    torch.manual_seed(0)
    features = torch.randn(3, 6, 9)
    rois = torch.cat([random_boxes(6) * stride / 4, boxes((-3, -2, 60, 90))])  # the last reaches over every border
    found = roi_align(features, rois, size, stride=stride, samples=samples)
    expected = [roi_align_by_definition(features.numpy(), r, size, stride, samples) for r in rois.tolist()]
    torch.testing.assert_close(found, torch.tensor(np.stack(expected), dtype=torch.float32), rtol=1e-4, atol=1e-4)
    assert roi_align(features, NONE, size, stride=stride).shape == (0, 3, size, size)


def test_roi_align_has_gradients():
    features = torch.randn(2, 4, 4, dtype=torch.float32, requires_grad=True)
    roi_align(features, boxes((0, 0, 4, 4)), 2, stride=1).sum().backward()
    torch.testing.assert_close(features.grad, torch.full_like(features, 4 / 16))  # every cell counts alike
