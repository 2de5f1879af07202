"""The four vision tasks on slices of a chest with lung nodules: for each its question, answer, loss and measure.

*Classification* asks whether there is a nodule, *localization* also where the largest one is (one box), *detection*
where all of them are (any number of boxes), *segmentation* which pixels belong to one. The networks share their
backbone (`medlearn.nn.vision`) and are trained by `medlearn.fit`, each with the objective of its task. The targets of
all four come from one map in which every nodule has a number.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from .augment import Augment
from .checkpoint import pretrained, save_checkpoint
from .errors import check_choice
from .metrics import accuracy, average_precision, dice
from .nn.boxes import box_iou, clip_boxes, encode_boxes, instance_boxes, nms
from .nn.losses import dice_ce_loss
from .nn.vision import STRIDE, TASKS, VisionNet, grid_anchors, grid_boxes
from .phantom import chest, chest_nodules
from .preprocess import Preprocess
from .train import Run, TrainConfig, fit
from .volume import Case, Volume

PIXEL_MM = 1.75
SHAPE = (112, 88)  # pixels (y, x) about one lung
N_SLICES, SLICE_MM = 48, 5.0
SMALLEST_MM2 = 80.0  # a disk of 10 mm: smaller spots in one slice look like vessels cut across
LUNG_WINDOW = (-1100.0, 200.0)  # HU
CONFIG = TrainConfig(
    epochs=12,
    batch_size=16,
    learning_rate=2e-3,
    ema_decay=0.97,
    foreground=0.0,
    augment=Augment(
        rotation_deg=10, translation_mm=6, scale=0.1, shear=0, contrast=0.1, brightness=0.1, gamma=0, bias=0
    ),
    precision="fp32",
)


# Data


def lung_slices(seeds: Sequence[int]) -> list[Case]:
    """Slices of one lung each, in pairs: one shows a nodule, the other lung at the same height has none.

    Nodule or not is then the only thing that tells the two halves of the set apart: patients, heights, noise and sides
    are the same. Slices in which some nodule is merely grazed, with less than 80 mm² of it to be seen, are left out; so
    are patients without nodules, and pairs with nodules in both lungs.

    Parameters
    ----------
    seeds : sequence of int
        Patients of `medlearn.phantom.chest`. Each takes about a second, the first time.

    Returns
    -------
    list of Case
        Id ``chest-0007-031-left``. Image float32 (y, x), 112×88 pixels of 1.75 mm, the lung window of −1100 to 200 HU
        scaled to 0 to 1; mask uint8, every nodule with a number of its own, 0 elsewhere.
    """
    return [case for seed in seeds for case in _patient(int(seed))]


@functools.lru_cache(maxsize=1024)
def _patient(seed: int) -> tuple[Case, ...]:
    if not chest_nodules(seed):
        return ()
    patient = chest(seed, shape=(N_SLICES, SHAPE[0], 2 * SHAPE[1]), spacing=(SLICE_MM, PIXEL_MM, PIXEL_MM))
    slices = []
    for z in np.flatnonzero(patient.mask.array.any(axis=(1, 2))):
        lungs = [_lung(patient, z, side) for side in ("right", "left")]
        sizes = [np.bincount(lung.mask.array.ravel())[1:] * PIXEL_MM**2 for lung in lungs]
        grazed = min(np.concatenate(sizes)) < SMALLEST_MM2
        if not grazed and 0 in map(len, sizes):
            slices += lungs
    return tuple(slices)


def _lung(patient: Case, z: int, side: str) -> Case:
    """One half of a slice; the array runs from the patient's right to the left."""
    half = np.s_[z, :, : SHAPE[1]] if side == "right" else np.s_[z, :, SHAPE[1] :]
    low, high = LUNG_WINDOW
    image = np.clip((patient.image.array[half].astype(np.float32) - low) / (high - low), 0, 1)
    numbers, _ = ndimage.label(patient.mask.array[half], np.ones((3, 3)))

    def picture(array):
        return Volume(array=array, spacing=(PIXEL_MM, PIXEL_MM), axes="yx")

    return Case(f"{patient.id}-{z:03d}-{side}", picture(image), picture(numbers.astype(np.uint8)))


# Objectives: model, images (B, 1, H, W), labels (B, H, W) with a number for each object -> loss


def classification_objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of "is there an object somewhere?"; no target says where."""
    return _presence_loss(model(images), labels)


def localization_objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """That of classification, plus the distance between the box and that of the largest object, where there is one."""
    grid = model(images)
    largest, present = _largest_boxes(labels)
    if not present.any():
        return _presence_loss(grid, labels) + 0 * grid.sum()
    boxes = _mean_boxes(grid)[present]
    corners = F.smooth_l1_loss(boxes / STRIDE, largest[present] / STRIDE)
    overlap = box_iou(boxes, largest[present]).diagonal()
    return _presence_loss(grid, labels) + corners + (1 - overlap).mean()


def detection_objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Focal loss of "does the middle of an object lie here?" in every cell, and the boxes of the cells where it does.

    Of the cells inside a box only those near its middle have to answer yes; the others are left out.
    """
    grid = model(images).float()
    anchors = grid_anchors(grid.shape[2:], grid.device)
    target, offsets = zip(*(_cell_targets(one, anchors) for one in labels), strict=True)
    target, offsets = torch.stack(target), torch.stack(offsets)  # (B, h · w), (B, h · w, 4)
    logits, pred = grid[:, 0].flatten(1), grid[:, 1:].flatten(2).transpose(1, 2)
    is_object, known = (target == 1), (target >= 0).float()
    n = is_object.sum().clamp(min=1)
    probability = torch.where(is_object, logits.sigmoid(), 1 - logits.sigmoid())  # of the right answer
    loss = F.binary_cross_entropy_with_logits(logits, is_object.float(), reduction="none")
    found = ((1 - probability) ** 2 * known * loss).sum() / n
    placed = F.smooth_l1_loss(pred[is_object], offsets[is_object], beta=0.1, reduction="sum") / n
    return found + placed


def segmentation_objective(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Dice plus cross-entropy of "does this pixel belong to an object?"."""
    return dice_ce_loss(model(images), (labels > 0).long())


OBJECTIVES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "classification": classification_objective,
    "localization": localization_objective,
    "detection": detection_objective,
    "segmentation": segmentation_objective,
}


def presence_logits(grid: Tensor) -> Tensor:
    """One logit per image from those of the cells: a smooth maximum, so that one cell is enough to say yes."""
    return grid[:, 0].float().flatten(1).logsumexp(1)


def _presence_loss(grid: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(presence_logits(grid), (labels > 0).flatten(1).any(1).float())


def _mean_boxes(grid: Tensor) -> Tensor:
    """One box per image, (B, 4): the mean of what the cells propose, weighted by how sure they are."""
    weight = grid[:, 0].float().flatten(1).softmax(1)
    return (weight[..., None] * grid_boxes(grid)).sum(1)


def _largest_boxes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Box of the object with most pixels in each image, (B, 4), and whether there is one, (B,)."""
    boxes = torch.zeros(len(labels), 4, device=labels.device)
    for i, one in enumerate(labels):
        _, own = instance_boxes(one)
        if len(own):
            boxes[i] = own[_sizes(one).argmax()]
    return boxes, (labels > 0).flatten(1).any(1)


def _sizes(labels: Tensor) -> Tensor:
    """Pixels of each object, in the order of `instance_boxes`."""
    return torch.unique(labels[labels > 0], return_counts=True)[1]


def _cell_targets(labels: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Of one image: 1, 0 or -1 (not asked) for each cell, (h · w,), and offsets of the box, (h · w, 4)."""
    target, offsets = torch.zeros(len(anchors), device=anchors.device), torch.zeros_like(anchors)
    _, boxes = instance_boxes(labels)
    if not len(boxes):
        return target, offsets
    cells = (anchors[:, None, :2] + anchors[:, None, 2:]) / 2  # (h · w, 1, 2)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2  # (N, 2)
    away = (cells - middle).abs()  # (h · w, N, 2)
    target[(away < half).all(2).any(1)] = -1
    near = away.amax(2) <= STRIDE / 2 + 0.01  # the cell in which the middle lies
    near |= (away <= 0.35 * half).all(2)
    target[near.any(1)] = 1
    closest = away.amax(2).argmin(1)
    chosen = near.any(1)
    offsets[chosen] = encode_boxes(boxes[closest[chosen]], anchors[chosen])
    return target, offsets


# Training


def train(
    task: str,
    cases: Sequence[Case],
    *,
    out: str | Path,
    start: VisionNet | None = None,
    config: TrainConfig = CONFIG,
    **options,
) -> Run:
    """Train a `VisionNet` for one task: `medlearn.fit` with the objective of the task.

    Parameters
    ----------
    task : {"classification", "localization", "detection", "segmentation"}
    cases : sequence of Case
        As `lung_slices` makes them.
    out : path
        Folder of the run.
    start : VisionNet, optional
        A network, of any task, whose backbone the new one begins with. It is copied.
    config : TrainConfig
    **options
        Passed on to `medlearn.fit`.

    Returns
    -------
    Run
    """
    check_choice("task", task, TASKS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = VisionNet(task=task)
    if start is not None:
        model.backbone.load_state_dict(start.backbone.state_dict())
    return fit(model, cases, config=config, objective=OBJECTIVES[task], out=out, **options)


def load(task: str) -> tuple[VisionNet, Preprocess]:
    """Load the network of a task that comes with the library; ``medlearn/weights/README.md`` says how it was made."""
    check_choice("task", task, TASKS)
    return pretrained(f"nodule-{task}")


def save_half(path: str | Path, model: nn.Module, preprocess: Preprocess) -> Path:
    """Write a network with weights in half precision, half as large; `medlearn.load_checkpoint` reads it."""
    return save_checkpoint(path, copy.deepcopy(model).half(), preprocess)


# Answers


@dataclass(frozen=True)
class Answer:
    """What a network says about one image; what its task does not ask is None.

    Attributes
    ----------
    probability : float or None
        That there is an object.
    boxes : (N, 4) ndarray or None
        (y0, x0, y1, x1) in pixels, half-open; localization always names one.
    scores : (N,) ndarray or None
        How sure it is of each box, 0 to 1, falling.
    mask : (y, x) bool ndarray or None
    """

    probability: float | None = None
    boxes: np.ndarray | None = None
    scores: np.ndarray | None = None
    mask: np.ndarray | None = None


@torch.inference_mode()
def answer(model: VisionNet, preprocess: Preprocess, images: Sequence[Volume], *, batch_size: int = 32) -> list[Answer]:
    """Ask a network about images as `lung_slices` makes them."""
    model = model.eval()
    size = preprocess.canvas
    answers = []
    for start in range(0, len(images), batch_size):
        batch = np.stack([preprocess.image(image) for image in images[start : start + batch_size]])  # (B, 1, H, W)
        output = model(torch.from_numpy(batch)).float()
        answers += [_read(model.task, one[None], size) for one in output]
    return answers


def _read(task: str, output: Tensor, size: tuple[int, int]) -> Answer:
    """From the output of the network for one image to an answer."""
    if task == "segmentation":
        return Answer(mask=(output[0, 0] > 0).numpy())
    if task == "detection":
        boxes, scores = clip_boxes(grid_boxes(output)[0], size), output[0, 0].flatten().sigmoid()
        boxes, scores = boxes[scores > 0.05], scores[scores > 0.05]
        keep = nms(boxes, scores, 0.2)
        return Answer(boxes=boxes[keep].numpy(), scores=scores[keep].numpy())
    probability = float(presence_logits(output).sigmoid())
    if task == "classification":
        return Answer(probability=probability)
    boxes = clip_boxes(_mean_boxes(output)[0][None], size)
    return Answer(probability=probability, boxes=boxes.numpy(), scores=np.array([probability]))


# Measures


def measure(task: str, answers: Sequence[Answer], cases: Sequence[Case], *, iou_threshold: float = 0.3) -> dict:
    """Measure answers against the truth, with the measures that fit the task.

    Parameters
    ----------
    task : {"classification", "localization", "detection", "segmentation"}
    answers : sequence of Answer
    cases : sequence of Case
        Of the same images, with masks.
    iou_threshold : float
        From which overlap on a detected box is right.

    Returns
    -------
    dict
        classification: ``accuracy``. localization: ``accuracy``, and ``iou``, the mean overlap with the box of the
        largest object over the images that have one. detection: ``ap``, average precision of the boxes.
        segmentation: ``dice``, the mean over images with an object; ``false_positive``, the share of the others in
        which pixels were marked.
    """
    check_choice("task", task, TASKS)
    labels = [case.mask.array for case in cases]
    present = np.array([own.any() for own in labels])
    if task == "segmentation":
        dices = [dice(one.mask, own > 0) for one, own in zip(answers, labels, strict=True)]
        marked = np.array([one.mask.any() for one in answers])
        return {"dice": float(np.mean(np.array(dices)[present])), "false_positive": float(np.mean(marked[~present]))}
    if task == "detection":
        size = labels[0].shape
        pred = [box_masks(one.boxes, size) for one in answers]
        target = [box_masks(true_boxes(own), size) for own in labels]
        return {"ap": average_precision(pred, [one.scores for one in answers], target, iou_threshold=iou_threshold)}
    yes = np.array([one.probability > 0.5 for one in answers])
    result = {"accuracy": accuracy(yes, present)}
    if task == "localization":
        result["iou"] = float(
            np.mean([best_overlap(a, own) for a, own in zip(answers, labels, strict=True) if own.any()])
        )
    return result


def best_overlap(one: Answer, labels: np.ndarray) -> float:
    """IoU of the first box of an answer with the box of the largest object of a label map."""
    largest, _ = _largest_boxes(torch.from_numpy(labels.astype(np.int64))[None])
    return float(box_iou(torch.from_numpy(one.boxes[:1]).float(), largest)[0, 0])


def true_boxes(labels: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) of the objects of a label map (y, x)."""
    return instance_boxes(torch.from_numpy(labels.astype(np.int64)))[1].numpy()


def box_masks(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Masks (N, y, x) of boxes: the pixels whose middle lies inside."""
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5
    y0, x0, y1, x1 = boxes.T[:, :, None, None]
    return (y >= y0) & (y < y1) & (x >= x0) & (x < x1)
