"""Mask R-CNN: find every object, then outline it. A compact one, for pictures with many small objects.

A U-Net says of each pixel what it shows; where two nuclei touch it cannot say which of them the pixel belongs to.
Mask R-CNN first proposes boxes, then looks into each box on its own and draws one mask there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_positive
from . import boxes as bx
from .blocks import ConvNormAct, ResidualBlock, check_images, pad_to_multiple

STRIDES = (4, 8, 16)  # pixels between two cells of the three levels of the pyramid
RATIOS = (0.5, 1.0, 2.0)  # height / width of the anchors
BOX_SCALE = (10.0, 10.0, 5.0, 5.0)  # the second stage's offsets are small; this brings them near 1
BOX_CELLS, MASK_CELLS = 7, 14  # bins along each axis, cut out for the box head and for the mask head
MASK_SIZE = 2 * MASK_CELLS


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The objects found in one image, from the highest score down.

    Attributes
    ----------
    boxes : (N, 4) Tensor
        (y0, x0, y1, x1) in pixels, half-open; see `medlearn.nn.boxes`.
    classes : (N,) int64 Tensor
        1 … n_classes.
    scores : (N,) Tensor
        How sure the network is of the class, 0 to 1.
    masks : (N, H, W) bool Tensor
        May overlap.
    """

    boxes: Tensor
    classes: Tensor
    scores: Tensor
    masks: Tensor

    def to_labels(self) -> Tensor:
        """All masks in one (H, W) int64 map: k for object k = 1 … N, 0 for background; where two overlap, the surer."""
        numbers = torch.arange(len(self.masks), 0, -1, device=self.masks.device)
        if not len(numbers):
            return torch.zeros(self.masks.shape[1:], dtype=torch.int64, device=self.masks.device)
        surest = (self.masks * numbers[:, None, None]).amax(0)  # N for the first detection
        return torch.where(surest > 0, len(numbers) + 1 - surest, 0)


class MaskRCNN(nn.Module):
    """Boxes, classes and masks of the objects in a picture.

    A residual encoder and a feature pyramid of strides 4, 8 and 16; a region proposal network with anchors of two
    sizes and three shapes on each level; `roi_align`; a head of two layers for class and box, and one of two
    convolutions and an upsampling for the mask. It has no `forward`: call `loss` for training and `detect` for results.

    Parameters
    ----------
    in_channels : int
    n_classes : int
        Kinds of objects, background not counted.
    widths : sequence of 4 int
        Channels of the encoder at strides 2, 4, 8 and 16.
    channels : int
        Channels of the pyramid and of the mask head.
    hidden : int
        Units of the box head's layers.
    anchor_sizes : 3 pairs of float
        Square roots of the anchors' areas in pixels, for each level of the pyramid. Anchors should look like the
        objects: an object that is half as large as the smallest is hardly proposed.
    n_proposals : int
        Boxes of one image that are looked into.
    norm : {"group", "instance", "batch"} or None
        Of the encoder. Batches are small here, so group normalization is the default.

    Notes
    -----
    He et al. (2017), arXiv:1703.06870, on Ren et al. (2015), arXiv:1506.01497, and Lin et al. (2017),
    arXiv:1612.03144. What is smaller than there: the encoder, the heads, and boxes are not predicted for each class.

    Proposals that are learned from are drawn with torch's generator, which `medlearn.fit` seeds at every step; the same
    seed gives the same loss.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1,
        n_classes: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        channels: int = 64,
        hidden: int = 256,
        anchor_sizes: Sequence[Sequence[float]] = ((8, 16), (24, 32), (48, 64)),
        n_proposals: int = 250,
        norm: str | None = "group",
    ):
        super().__init__()
        if len(widths) != 4:
            raise ValueError(f"widths must name the channels at strides 2, 4, 8 and 16; got {tuple(widths)}")
        if len(anchor_sizes) != len(STRIDES) or {len(sizes) for sizes in anchor_sizes} != {2}:
            raise ValueError(f"anchor_sizes must be 3 pairs, for strides 4, 8 and 16; got {anchor_sizes!r}")
        check_positive("n_classes", n_classes)
        self.config = {
            "kind": "mask_rcnn",
            "in_channels": in_channels,
            "n_classes": n_classes,
            "widths": list(widths),
            "channels": channels,
            "hidden": hidden,
            "anchor_sizes": [list(sizes) for sizes in anchor_sizes],
            "n_proposals": n_proposals,
            "norm": norm,
        }
        self.backbone = FeaturePyramid(in_channels, widths, channels, norm)
        self.proposals = ProposalHead(channels, n_anchors=2 * len(RATIOS))
        self.box_head = BoxHead(channels, hidden, n_classes)
        self.mask_head = MaskHead(channels, n_classes)

    def loss(self, images: Tensor, instance_labels: Tensor, classes: Sequence[Tensor] | None = None) -> Tensor:
        """Sum of the five `losses`; a scalar."""
        return sum(self.losses(images, instance_labels, classes).values())

    def losses(
        self, images: Tensor, instance_labels: Tensor, classes: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The five losses by name: is there an object, where, of which class, where exactly, and its mask.

        Parameters
        ----------
        images : (B, C, H, W) Tensor
        instance_labels : (B, H, W) integer Tensor
            0 is background, every other number one object. An image without object is fine.
        classes : sequence of (n,) integer Tensors, optional
            For each image the classes, 1 … n_classes, of its objects in ascending order of their numbers. By default
            all are of class 1.

        Raises
        ------
        ValueError
            If shapes do not fit, or classes are missing or out of range.
        """
        check_images(images, 2, self.config["in_channels"])
        if instance_labels.shape != images.shape[:1] + images.shape[2:]:
            raise ValueError(
                "instance_labels must be (B, H, W) like images (B, C, H, W); got "
                f"{tuple(instance_labels.shape)} and {tuple(images.shape)}"
            )
        targets = [_Targets.of(labels) for labels in instance_labels]
        classes = self._check_classes(classes, targets)
        pyramid = self.backbone(pad_to_multiple(images, STRIDES[-1:] * 2))
        logits, offsets, anchors = self._propose(pyramid)
        parts = {"objectness": [], "proposal": [], "class": [], "box": [], "mask": []}
        for i, target in enumerate(targets):
            found = proposal_losses(logits[i], offsets[i], anchors, target.boxes)
            parts["objectness"].append(found[0])
            parts["proposal"].append(found[1])
            proposed = self._best_proposals(logits[i], offsets[i], anchors, images.shape[2:])
            rois, matched = sample_rois(torch.cat([proposed, target.boxes]), target.boxes)  # the truth itself, too
            levels = [level[i] for level in pyramid]
            for name, value in self._head_losses(levels, rois, matched, target, classes[i]).items():
                parts[name].append(value)
        return {name: torch.stack(values).mean() for name, values in parts.items()}

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        score_threshold: float = 0.5,
        iou_threshold: float = 0.5,
        max_detections: int = 200,
        n_proposals: int | None = None,
    ) -> list[Detections]:
        """Find the objects of each image.

        Parameters
        ----------
        images : (B, C, H, W) Tensor
        score_threshold : float
            Smallest score; lower it to measure average precision.
        iou_threshold : float
            Of two boxes of one class that overlap by more, the surer is kept.
        max_detections : int
            At most so many for each image.
        n_proposals : int, optional
            Boxes of one image that are looked into; as many as in training where it is not given. An image that is
            larger than those of the training, with more objects, wants more.

        Returns
        -------
        list of Detections, one for each image
        """
        check_images(images, 2, self.config["in_channels"])
        pyramid = self.backbone(pad_to_multiple(images, STRIDES[-1:] * 2))
        logits, offsets, anchors = self._propose(pyramid)
        found = []
        for i in range(len(images)):
            levels, size = [level[i] for level in pyramid], images.shape[2:]
            rois = self._best_proposals(logits[i], offsets[i], anchors, size, n_proposals)
            boxes, classes, scores = self._classify(levels, rois, size, score_threshold, iou_threshold)
            boxes, classes, scores = boxes[:max_detections], classes[:max_detections], scores[:max_detections]
            masks = self.mask_head(cut_out(levels, boxes, MASK_CELLS, samples=1)).float()
            masks = masks[torch.arange(len(masks), device=masks.device), classes - 1]
            found.append(Detections(boxes, classes, scores, paste_masks(masks, boxes, size)))
        return found

    def _propose(self, pyramid: list[Tensor]) -> tuple[list[list[Tensor]], list[list[Tensor]], list[Tensor]]:
        """Logits and offsets by image and level, anchors by level."""
        outputs = [self.proposals(level) for level in pyramid]
        anchors = [
            make_anchors(level.shape[2:], stride, sizes, level.device)
            for level, stride, sizes in zip(pyramid, STRIDES, self.config["anchor_sizes"], strict=True)
        ]
        logits, offsets = zip(*outputs, strict=True)
        return list(zip(*logits, strict=True)), list(zip(*offsets, strict=True)), anchors

    @torch.no_grad()
    def _best_proposals(self, logits, offsets, anchors, size, n: int | None = None) -> Tensor:
        """The best boxes of one image, without duplicates; nothing is learned through their coordinates."""
        n = self.config["n_proposals"] if n is None else n
        boxes, scores = [], []
        for level_logits, level_offsets, level_anchors in zip(logits, offsets, anchors, strict=True):
            best = level_logits.topk(min(2 * n, len(level_logits))).indices
            decoded = bx.clip_boxes(bx.decode_boxes(level_offsets[best], level_anchors[best]), size)
            best, decoded = best[large_enough(decoded)], decoded[large_enough(decoded)]
            kept = bx.nms(decoded, level_logits[best], 0.7)
            boxes.append(decoded[kept])
            scores.append(level_logits[best[kept]])
        best = torch.cat(scores).argsort(descending=True, stable=True)[:n]
        return torch.cat(boxes)[best]

    def _head_losses(self, levels, rois, matched, target: "_Targets", classes: Tensor) -> dict[str, Tensor]:
        positive = matched >= 0
        truth = torch.zeros_like(matched)
        truth[positive] = classes[matched[positive]]
        class_logits, offsets = self.box_head(cut_out(levels, rois, BOX_CELLS))
        rois, matched, truth_of_positive = rois[positive], matched[positive], truth[positive]
        wanted = bx.encode_boxes(target.boxes[matched], rois) * rois.new_tensor(BOX_SCALE)
        mask_logits = self.mask_head(cut_out(levels, rois, MASK_CELLS, samples=1)).float()
        mask_logits = mask_logits[torch.arange(len(rois), device=rois.device), truth_of_positive - 1]
        wanted_masks = target.masks_in(rois, matched)
        n = max(len(truth), 1)
        mask_loss = F.binary_cross_entropy_with_logits(mask_logits, wanted_masks, reduction="sum")
        return {
            "class": F.cross_entropy(class_logits.float(), truth, reduction="sum") / n,
            "box": F.smooth_l1_loss(offsets.float()[positive], wanted, reduction="sum") / n,
            "mask": mask_loss / max(wanted_masks.numel(), 1),
        }

    def _classify(self, levels, rois, size, score_threshold, iou_threshold) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, classes and scores of one image, the best first."""
        class_logits, offsets = self.box_head(cut_out(levels, rois, BOX_CELLS))
        boxes = bx.clip_boxes(bx.decode_boxes(offsets.float() / rois.new_tensor(BOX_SCALE), rois), size)
        scores = class_logits.float().softmax(1)[:, 1:]
        valid = (scores >= score_threshold) & large_enough(boxes)[:, None]
        which, kind = torch.nonzero(valid, as_tuple=True)
        boxes, scores = boxes[which], scores[which, kind]
        # Boxes of different classes must not suppress each other: for this step move the classes apart.
        apart = boxes + kind[:, None] * (2.0 * max(size))
        kept = bx.nms(apart, scores, iou_threshold)
        return boxes[kept], kind[kept] + 1, scores[kept]

    def _check_classes(self, classes, targets) -> list[Tensor]:
        if classes is None:
            if self.config["n_classes"] > 1:
                raise ValueError(f"classes must be given, since there are {self.config['n_classes']} of them")
            return [torch.ones_like(target.ids) for target in targets]
        if [len(c) for c in classes] != [len(target.ids) for target in targets]:
            raise ValueError(
                "classes must name one class for each object of each image; got "
                f"{[len(c) for c in classes]} for {[len(target.ids) for target in targets]} objects"
            )
        classes = [torch.as_tensor(c, device=t.ids.device).long() for c, t in zip(classes, targets, strict=True)]
        if any(len(c) and not 1 <= c.min() <= c.max() <= self.config["n_classes"] for c in classes):
            raise ValueError(f"classes must be 1 … {self.config['n_classes']}; got {[c.tolist() for c in classes]}")
        return classes


class FeaturePyramid(nn.Module):
    """An encoder whose three coarsest maps are merged from the coarsest to the finest: (B, channels, H/s, W/s)."""

    def __init__(self, in_channels: int, widths: Sequence[int], channels: int, norm: str | None):
        super().__init__()
        self.stem = ConvNormAct(2, in_channels, widths[0], norm, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(2, fine, coarse, norm, stride=2), ResidualBlock(2, coarse, coarse, norm))
            for fine, coarse in pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in widths[1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        x, laterals = self.stem(images), []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            laterals.append(lateral(x))
        merged = [laterals.pop()]
        while laterals:
            merged.insert(0, laterals.pop() + F.interpolate(merged[0], scale_factor=2.0))
        return [smooth(level) for smooth, level in zip(self.smooth, merged, strict=True)]


class ProposalHead(nn.Module):
    """For every anchor of one level: is it an object, and how must it move? The same weights on all levels."""

    def __init__(self, channels: int, n_anchors: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.logits = nn.Conv2d(channels, n_anchors, 1)
        self.offsets = nn.Conv2d(channels, 4 * n_anchors, 1)
        start_small(self.logits, self.offsets)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N) and offsets (B, N, 4) in float32, in the order of `make_anchors`."""
        x = F.relu(self.conv(level))
        logits, offsets = (f(x).float().permute(0, 2, 3, 1) for f in (self.logits, self.offsets))  # (B, H, W, …)
        return logits.flatten(1), offsets.reshape(len(x), -1, 4)


class BoxHead(nn.Module):
    """What is in each box, and how must the box move? (N, C, 7, 7) → (N, 1 + n_classes) and (N, 4)."""

    def __init__(self, channels: int, hidden: int, n_classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * BOX_CELLS**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.logits = nn.Linear(hidden, 1 + n_classes)
        self.offsets = nn.Linear(hidden, 4)
        start_small(self.logits, self.offsets)

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(cut)
        return self.logits(x), self.offsets(x)


class MaskHead(nn.Sequential):
    """One mask for each class in each box, (N, C, 14, 14) → (N, n_classes, 28, 28): the classes do not compete."""

    def __init__(self, channels: int, n_classes: int):
        convolutions = [
            layer for _ in range(2) for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True))
        ]
        super().__init__(
            *convolutions,
            nn.ConvTranspose2d(channels, channels, 2, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, n_classes, 1),
        )
        for layer in self:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)


def start_small(*layers: nn.Module) -> None:
    """Begin with no opinion: every anchor is equally likely an object, and stays where it is."""
    for layer in layers:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)


def make_anchors(size: Sequence[int], stride: int, anchor_sizes: Sequence[float], device=None) -> Tensor:
    """Anchors of one level, (H · W · A, 4): at the middle of every cell each size with each of `RATIOS`."""
    scale = torch.tensor(anchor_sizes, dtype=torch.float32, device=device)[:, None]
    ratio = torch.tensor(RATIOS, device=device).sqrt()
    half = torch.stack([scale * ratio, scale / ratio], -1).reshape(-1, 2) / 2  # (A, 2): height, width
    y, x = (stride * (torch.arange(n, device=device) + 0.5) for n in size)
    center = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)[:, :, None]  # (H, W, 1, 2)
    return torch.cat([center - half, center + half], -1).reshape(-1, 4)


def proposal_losses(logits, offsets, anchors, targets: Tensor, n: int = 256) -> tuple[Tensor, Tensor]:
    """Objectness and offsets of one image's anchors, on a draw of `n`, objects at most half of it."""
    logits, offsets, anchors = torch.cat(logits), torch.cat(offsets), torch.cat(anchors)
    iou = bx.box_iou(anchors, targets)
    matched = bx.match(iou, background_below=0.3, object_from=0.7, every_target=True)
    drawn = draw(matched, n, n // 2)
    positive = drawn[matched[drawn] >= 0]
    objectness = F.binary_cross_entropy_with_logits(logits[drawn], (matched[drawn] >= 0).float())
    wanted = bx.encode_boxes(targets[matched[positive]], anchors[positive])
    return objectness, F.smooth_l1_loss(offsets[positive], wanted, reduction="sum", beta=1 / 9) / len(drawn)


def sample_rois(rois: Tensor, targets: Tensor, n: int = 64) -> tuple[Tensor, Tensor]:
    """Boxes to learn from, at most half of them objects, and the target of each (or `BACKGROUND`)."""
    matched = bx.match(bx.box_iou(rois, targets), background_below=0.5, object_from=0.5)
    drawn = draw(matched, n, n // 2)
    return rois[drawn], matched[drawn]


def draw(matched: Tensor, n: int, n_objects: int) -> Tensor:
    """Indices of at most `n_objects` objects and of as much background as makes `n`, by chance."""
    chance = torch.rand(len(matched), device=matched.device)
    objects = torch.where(matched >= 0, chance, -1).topk(min(n_objects, int((matched >= 0).sum()))).indices
    background = matched == bx.BACKGROUND
    n_background = min(n - len(objects), int(background.sum()))
    return torch.cat([objects, torch.where(background, chance, -1).topk(n_background).indices])


def large_enough(boxes: Tensor) -> Tensor:
    """Whether each box is at least a pixel high and wide: what the border has cut to nothing is no box."""
    return (boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1


def cut_out(levels: list[Tensor], boxes: Tensor, size: int, *, samples: int = 2) -> Tensor:
    """`roi_align` each box from the level whose cells suit it: (N, C, size, size).

    Each level further up takes boxes twice as large; those of 64 pixels begin the second (equation 1 of Lin et al.,
    with 8 cells to the smallest side instead of 14, because objects here are small). A mask needs one point for each
    bin: its bins are mostly smaller than a cell.
    """
    level_of_box = (bx.box_area(boxes).sqrt() / 64).clamp(min=1e-6).log2().floor().long() + 1
    level_of_box = level_of_box.clamp(0, len(levels) - 1)
    parts, order = [], []
    for k, (level, stride) in enumerate(zip(levels, STRIDES, strict=True)):
        chosen = torch.nonzero(level_of_box == k)[:, 0]
        parts.append(bx.roi_align(level, boxes[chosen], size, stride=stride, samples=samples))
        order.append(chosen)
    return torch.cat(parts)[torch.cat(order).argsort()]


def paste_masks(logits: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Stretch (N, 28, 28) logits over their boxes and cut at probability ½: (N, H, W) bool."""
    height, width = size
    masks = torch.zeros((len(boxes), height, width), dtype=torch.bool, device=boxes.device)
    low, high = boxes[:, :2].floor().long().tolist(), boxes[:, 2:].ceil().long().tolist()
    for k, ((y0, x0), (y1, x1)) in enumerate(zip(low, high, strict=True)):  # only the few pixels of the box
        y = (torch.arange(y0, y1, device=boxes.device) + 0.5 - boxes[k, 0]) / (boxes[k, 2] - boxes[k, 0]) * 2 - 1
        x = (torch.arange(x0, x1, device=boxes.device) + 0.5 - boxes[k, 1]) / (boxes[k, 3] - boxes[k, 1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)
        stretched = F.grid_sample(logits[k][None, None], grid[None], padding_mode="border", align_corners=False)
        masks[k, y0:y1, x0:x1] = stretched[0, 0] > 0
    return masks


@dataclass(frozen=True, slots=True, eq=False)
class _Targets:
    """The objects of one image."""

    labels: Tensor  # (H, W)
    ids: Tensor  # (N,)
    boxes: Tensor  # (N, 4)

    @classmethod
    def of(cls, labels: Tensor) -> "_Targets":
        labels = labels.long()
        return cls(labels, *bx.instance_boxes(labels))

    def masks_in(self, rois: Tensor, matched: Tensor) -> Tensor:
        """What the mask head is to answer: 1 where a point of a box lies on the box's object, (N, 28, 28) float32."""
        y, x = (points.floor().long() for points in bx.bin_points(rois, MASK_SIZE))
        y, x = y.clamp(0, self.labels.shape[0] - 1), x.clamp(0, self.labels.shape[1] - 1)
        inside = self.labels[y[:, :, None], x[:, None, :]] == self.ids[matched][:, None, None]
        return inside.float()
