"""Boxes around objects: overlap, matching, offsets, suppression of duplicates, and cutting features out of a map.

A box is (y0, x0, y1, x1) in pixels and half-open: it holds the pixels with y0 ≤ y < y1 and x0 ≤ x < x1, its height is
y1 − y0, and the pixel (0, 0) alone is the box (0, 0, 1, 1). The center of pixel (y, x) lies at (y + ½, x + ½). Boxes
are float32 tensors (N, 4); coordinates need not be whole numbers. N may be 0 everywhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: What `match` says about an anchor that is no object
BACKGROUND, NEITHER = -1, -2


def box_area(boxes: Tensor) -> Tensor:
    """Area in pixels, (N,); 0 where a side is negative."""
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each of N boxes with each of M.

    Parameters
    ----------
    first : (N, 4) Tensor
    second : (M, 4) Tensor

    Returns
    -------
    (N, M) Tensor, 0 to 1
        0 where both boxes are empty.
    """
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(2)
    union = box_area(first)[:, None] + box_area(second) - intersection
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut boxes off at the border of an image of `size` (H, W)."""
    limit = boxes.new_tensor([*size, *size])
    return torch.minimum(boxes.clamp(min=0), limit)


def instance_boxes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest box around every object of a label map.

    Parameters
    ----------
    labels : (H, W) integer Tensor
        0 is background, every other number one object.

    Returns
    -------
    ids : (N,) Tensor
        The numbers that occur, ascending.
    boxes : (N, 4) Tensor
    """
    y, x = torch.nonzero(labels, as_tuple=True)
    ids, which = torch.unique(labels[y, x], return_inverse=True)
    pixels = torch.stack([y, x], 1).float()
    which = which[:, None].expand(-1, 2)
    low = pixels.new_zeros(len(ids), 2).scatter_reduce(0, which, pixels, "amin", include_self=False)
    high = pixels.new_zeros(len(ids), 2).scatter_reduce(0, which, pixels, "amax", include_self=False)
    return ids, torch.cat([low, high + 1], 1)


def match(iou: Tensor, *, background_below: float, object_from: float, every_target: bool = False) -> Tensor:
    """Say which target each anchor is to find.

    Parameters
    ----------
    iou : (N, M) Tensor
        Overlap of N anchors with M targets.
    background_below, object_from : float
        An anchor belongs to the target it overlaps most, if by `object_from` or more. It is background if it overlaps
        none by `background_below`. Between the two it is neither and is left out of the loss.
    every_target : bool
        Give each target the anchors that overlap it most, however little that is, unless they miss it altogether.

    Returns
    -------
    (N,) int64 Tensor
        Index of the target, `BACKGROUND` or `NEITHER`.

    Notes
    -----
    Ren et al. (2015), arXiv:1506.01497, section 3.1.2.
    """
    if iou.shape[1] == 0:
        return torch.full((len(iou),), BACKGROUND, device=iou.device)
    best, target = iou.max(1)
    matched = torch.where(best >= object_from, target, NEITHER)
    matched[best < background_below] = BACKGROUND
    if every_target and len(iou):
        best_of_target = iou.max(0).values.clamp(min=torch.finfo(iou.dtype).tiny)
        anchor, its_target = torch.nonzero(iou == best_of_target, as_tuple=True)
        matched[anchor] = its_target
    return matched


def encode_boxes(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Offsets (dy, dx, dh, dw) that turn `anchors` into `boxes`: shifts in units of the anchor, sizes as logarithms.

    Girshick et al. (2014), arXiv:1311.2524, appendix C. Both are (N, 4) and must not be empty boxes.
    """
    size, anchor_size = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat([shift / anchor_size, (size / anchor_size).log()], 1)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Apply offsets to anchors: the inverse of `encode_boxes`. No box becomes more than 50 times its anchor."""
    anchor_size = anchors[:, 2:] - anchors[:, :2]
    center = (anchors[:, :2] + anchors[:, 2:]) / 2 + offsets[:, :2] * anchor_size
    half = anchor_size * offsets[:, 2:].clamp(max=3.9).exp() / 2  # exp would overflow before training has settled
    return torch.cat([center - half, center + half], 1)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: of boxes that overlap keep the one with the highest score.

    From the highest score to the lowest, a box is kept unless it overlaps one that was kept by more than
    `iou_threshold`.

    Parameters
    ----------
    boxes : (N, 4) Tensor
    scores : (N,) Tensor
    iou_threshold : float

    Returns
    -------
    (K,) int64 Tensor
        Indices of the boxes that are kept, from the highest score down. Of equal scores the first comes first.

    Notes
    -----
    Memory and time grow with N². Instead of one box after the other, all are decided again and again from the last
    round's answer. The first box is right from the start, and a box is right one round after all better ones are; when
    nothing changes any more, the answer is that of the definition. On real detections this takes a few rounds.
    """
    order = scores.argsort(descending=True, stable=True)
    suppresses = (box_iou(boxes[order], boxes[order]) > iou_threshold).triu(diagonal=1)  # (i, j): i is better than j
    keep = torch.ones_like(order, dtype=torch.bool)
    while True:
        after = ~(suppresses & keep[:, None]).any(0)
        if torch.equal(after, keep):
            return order[keep]
        keep = after


def roi_align(features: Tensor, boxes: Tensor, size: int, *, stride: int, samples: int = 2) -> Tensor:
    """Cut boxes out of a feature map and bring them to one size, without rounding their borders: RoIAlign.

    A box is divided into `size` × `size` bins; a bin is the mean of `samples` × `samples` points at regular places
    inside it, each interpolated between the four nearest cells of the map.

    Parameters
    ----------
    features : (C, H, W) Tensor
        Of one image. Its cells are `stride` pixels wide: cell (0, 0) covers the pixels (0, 0) to (stride, stride).
    boxes : (N, 4) Tensor
        In pixels of the image. Points outside the map get the value at its border.
    size : int
        Bins along each axis.
    stride : int
    samples : int
        Points along each axis of a bin.

    Returns
    -------
    (N, C, size, size) float32 Tensor

    Notes
    -----
    He et al. (2017), arXiv:1703.06870, section 3. All points are read by one call of ``grid_sample``.
    """
    n, (height, width) = len(boxes), features.shape[1:]
    if n == 0:
        return features.new_zeros((0, len(features), size, size), dtype=torch.float32) + 0 * features.sum()
    y, x = bin_points(boxes, size * samples)  # (N, size · samples)
    y, x = 2 * y / (height * stride) - 1, 2 * x / (width * stride) - 1  # -1 … 1 from border to border
    points = y.shape[1]
    grid = torch.stack([x[:, None, :].expand(n, points, points), y[:, :, None].expand(n, points, points)], -1)
    cut = F.grid_sample(
        features[None].float(), grid.reshape(1, n * points, points, 2), padding_mode="border", align_corners=False
    )
    cut = cut.reshape(len(features), n, points, points).transpose(0, 1)
    return F.avg_pool2d(cut, samples)


def bin_points(boxes: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Coordinates y and x, each (N, n), of the middles of `n` equal parts of each box."""
    parts = (torch.arange(n, device=boxes.device) + 0.5) / n
    points = boxes[:, :2, None] + (boxes[:, 2:] - boxes[:, :2])[:, :, None] * parts
    return points[:, 0], points[:, 1]
