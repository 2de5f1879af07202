"""Chapter 14b: telling touching nuclei apart, with a U-Net, with a U-Net and a watershed, and with Mask R-CNN.

Two networks learn from the same pictures of nuclei, in which every nucleus has a number. The U-Net answers two
questions about each pixel: is it nucleus, and how deep inside its nucleus does it lie? Its answers are read in three
ways: connected pieces of the mask; the mask cut by a watershed of its own distance map; the mask cut by a watershed of
the depth that was learned. Mask R-CNN answers with objects. Measured on held-out pictures: average precision from IoU
0.5 to 0.95, error of the count, Dice of the mask, parameters, time.

    python book/experiments/14b_instances.py --quick | --full      on phantoms
    python book/experiments/14b_instances.py --data FOLDER [--folds 4] [--fold 0] [--minutes 10] [--seed 0]
                                             [--network NAME]       on real nuclei

FOLDER holds pairs ``NN_image.png`` and ``NN_labels.png``, as from the Data Science Bowl 2018.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from experiment import circumstances, conduct
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

import medlearn as ml
from medlearn.metrics import average_precision

PIXEL_MM = 0.0005  # of the phantoms; that of the real pictures is not known, and called the same
TILE = 256  # pixels: real pictures are cut up for training
CROP = 0.625  # of a picture or tile enters a step
N_TRAINING, N_HELD_OUT = 24, 12
THRESHOLDS = [round(0.5 + 0.05 * k, 2) for k in range(10)]  # IoU from which an object is found
SMALLEST = 12  # pixels; smaller pieces are dust
# a hill that rises by less above its saddle is no nucleus of its own: pixels of distance, share of the depth
LEAST_RISE = {"drawn": (0.75, 0.05), "real": (1.5, 0.2)}
AUGMENT = ml.Augment(
    rotation_deg=15, translation_mm=0.0, scale=0.3, shear=0.1, contrast=0.3, brightness=0.3, gamma=0.4, bias=0.2
)
LEARNING_RATES = {"U-Net": 5e-3, "Mask R-CNN": 2e-3}
METHODS = ("U-Net, pieces", "U-Net, distance, watershed", "U-Net, depth, watershed", "Mask R-CNN")


# What the networks learn


def relative_depth(labels: np.ndarray) -> np.ndarray:
    """How deep inside its own nucleus each pixel lies, 1 where it is deepest; 0 in the background."""
    depth = np.zeros(labels.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
            own = labels[box] == number
            distance = ndimage.distance_transform_edt(own)
            depth[box][own] = (distance / distance.max())[own]
    return depth


def turn(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A quarter, a half, three quarters of a turn, or none: under the microscope no direction is special."""
    turns = int(torch.randint(4, ()))
    return torch.rot90(images, turns, (-2, -1)), torch.rot90(labels, turns, (-2, -1))


def unet_objective(model, images, labels):
    """Dice and cross-entropy of the mask, cross-entropy of the depth."""
    images, labels = turn(images, labels)
    logits = model(images).float()  # (B, 2, H, W): mask, depth
    depth = np.stack([relative_depth(own) for own in labels.cpu().numpy().astype(np.int32)])
    mask_loss = ml.dice_ce_loss(logits[:, :1], (labels > 0).long())
    return mask_loss + 2 * F.binary_cross_entropy_with_logits(logits[:, 1], torch.from_numpy(depth).to(logits.device))


def rcnn_objective(model, images, labels):
    """The five losses of Mask R-CNN."""
    return model.loss(*turn(images, labels))


def make_unet(**settings) -> torch.nn.Module:
    """An untrained U-Net for two yes-or-no questions; to both, "no" is the usual answer."""
    unet = ml.UNet(out_channels=2, **settings)
    torch.nn.init.constant_(unet.head.bias, -2.0)  # by itself it would take the first logit for that of the background
    return unet


NETWORKS = {
    "small": {"U-Net": partial(make_unet, widths=(16, 32, 64, 128)), "Mask R-CNN": ml.MaskRCNN},
    "large": {"U-Net": partial(make_unet, widths=(16, 32, 64, 128, 256)), "Mask R-CNN": ml.MaskRCNN},
}


def train(name: str, model: torch.nn.Module, cases, **settings):
    """Train by `medlearn.fit` with the network's own objective; the network, its recipe, steps and seconds."""
    objective = {"U-Net": unet_objective, "Mask R-CNN": rcnn_objective}[name]
    common = {"batch_size": 4, "foreground": 0.0, "crop": CROP, "validations": 1, "augment": AUGMENT}
    config = ml.TrainConfig(**({"learning_rate": LEARNING_RATES[name]} | common | settings))
    with tempfile.TemporaryDirectory() as folder:
        run = ml.fit(model, cases, config=config, objective=objective, out=Path(folder) / "run", progress=False)
        last = run.history.iloc[-1]
        return run.model, run.preprocess, int(last["step"]), round(float(last["seconds"]), 1)


# What they answer


def scored(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Objects of a label map, (N, y, x), without dust, and how sure the network is of each: the mean probability."""
    numbers, sizes = np.unique(labels[labels > 0], return_counts=True)
    numbers = numbers[sizes >= SMALLEST]
    return labels == numbers[:, None, None], np.asarray(ndimage.mean(probability, labels, numbers), float).reshape(-1)


def cut(mask: np.ndarray, height: np.ndarray, least: float) -> np.ndarray:
    """Divide a mask between the hills of a height map that rise by `least` above their saddles."""
    hills, _ = ndimage.label(h_maxima(np.where(mask, height, 0), least), np.ones((3, 3)))
    return watershed(-height, hills, mask=mask)


def read_unet(model, image: torch.Tensor, kind: str) -> dict[str, tuple]:
    """Masks and scores, in the three ways; `kind` is a key of `LEAST_RISE`."""
    pixels, share = LEAST_RISE[kind]
    mask_probability, depth = (part.numpy() for part in model(image).float().sigmoid()[0])
    mask = mask_probability > 0.5
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1)
    ways = (
        ndimage.label(mask)[0],
        cut(mask, distance, pixels),
        cut(mask, ndimage.gaussian_filter(depth, 1), share),
    )
    return {method: (*scored(labels, mask_probability), 0.0) for method, labels in zip(METHODS, ways, strict=False)}


def read_rcnn(model, image: torch.Tensor, kind: str) -> dict[str, tuple]:
    """Masks and scores; those below one half count for the average precision only."""
    found = model.detect(image, score_threshold=0.05, max_detections=500, n_proposals=1000)[0]
    return {METHODS[3]: (found.masks.numpy(), found.scores.numpy(), 0.5)}


@dataclass(frozen=True)
class Compared:
    """What is kept of an answer to one picture, beside the truth."""

    pred: np.ndarray  # (N, P) bool: the objects, on the P pixels that belong to any object
    scores: np.ndarray  # (N,)
    truth: np.ndarray  # (M, P) bool
    counted: int  # objects that are sure enough to be counted
    dice: float  # of all of them together

    @classmethod
    def of(cls, masks: np.ndarray, scores: np.ndarray, least: float, labels: np.ndarray) -> "Compared":
        """Compare masks (N, y, x) with a label map; those with a score of `least` are counted."""
        truth = labels == np.unique(labels[labels > 0])[:, None, None]
        sure, somewhere = scores >= least, masks.any(0) | (labels > 0)
        dice = ml.dice(masks[sure].any(0), labels > 0)
        return cls(masks[:, somewhere], scores, truth[:, somewhere], int(sure.sum()), dice)


def measure(pictures: Sequence[Compared]) -> dict:
    """Average precision at every threshold, objects counted, error of the count, mean Dice."""
    columns = [[getattr(p, name) for p in pictures] for name in ("pred", "scores", "truth")]
    pred, true = np.array([(p.counted, len(p.truth)) for p in pictures]).T
    return {
        "ap": [round(average_precision(*columns, iou_threshold=t), 4) for t in THRESHOLDS],
        "counted": pred.tolist(),
        "count_error": round(float(np.mean(np.abs(pred - true) / true)), 4),
        "dice": round(float(np.mean([p.dice for p in pictures])), 4),
    }


@torch.inference_mode()
def answer(name: str, model, preprocess, cases, *, kind: str) -> tuple[dict[str, list[Compared]], float]:
    """All ways to read a network, for each case, beside the truth; and the median time of an answer in ms."""
    read, answers, times = {"U-Net": read_unet, "Mask R-CNN": read_rcnn}[name], {}, []
    model.eval()
    for case in cases:
        started = time.perf_counter()
        size = case.image.array.shape
        own = ml.Preprocess(preprocess.spacing, tuple(-(-n // 32) * 32 for n in size))
        image = torch.from_numpy(own.image(case.image))[None]
        found = read(model, image, kind)
        times.append(1000 * (time.perf_counter() - started))
        middle = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(own.canvas, size, strict=True))
        for method, (masks, scores, least) in found.items():
            compared = Compared.of(masks[:, *middle], scores, least, case.mask.array)
            answers.setdefault(method, []).append(compared)
    return answers, round(float(np.median(times)), 1)


# The two experiments


def compare(training, held_out, *, seeds, steps: dict) -> dict:
    """Both networks with every seed, on phantoms."""
    results = {}
    for seed in seeds:
        torch.manual_seed(seed)
        for name, model in {name: build() for name, build in NETWORKS["small"].items()}.items():
            settings = {"epochs": 1, "samples_per_epoch": 4 * steps[name], "precision": "fp32", "seed": seed}
            model, preprocess, _, seconds = train(name, model, training, **settings)
            answers, predict_ms = answer(name, model, preprocess, held_out, kind="drawn")
            for method, own in answers.items():
                row = measure(own) | {"seconds": seconds, "predict_ms": predict_ms}
                kept = results.setdefault(method, {"parameters": sum(p.numel() for p in model.parameters())})
                for key, value in row.items():
                    kept.setdefault(key, []).append(value)
                print(f"seed {seed} {method:28}", *(f"{k} {v}" for k, v in row.items() if k != "counted"), flush=True)
    return results


def experiment(quick: bool) -> dict:
    """Train on some pictures of drawn nuclei, measure on others."""
    n_training, n_held_out, seeds, shape = (2, 2, [0], (96, 96)) if quick else (N_TRAINING, N_HELD_OUT, [0, 1, 2], None)
    steps = {"U-Net": 2, "Mask R-CNN": 2} if quick else {"U-Net": 200, "Mask R-CNN": 200}
    training = [ml.phantom.nuclei(seed, shape=shape or (192, 192)) for seed in range(n_training)]
    held_out = [ml.phantom.nuclei(1000 + seed, shape=shape or (256, 256)) for seed in range(n_held_out)]
    methods = compare(training, held_out, seeds=seeds, steps=steps)
    return {
        "seeds": seeds,
        "steps": steps,
        "pictures": {"training": n_training, "held_out": n_held_out},
        "nuclei": [len(np.unique(case.mask.array)) - 1 for case in held_out],
        "iou": THRESHOLDS,
        "methods": methods,
    }


def picture(array: np.ndarray) -> ml.Volume:
    """An array (y, x) with the size of a pixel."""
    return ml.Volume(array=array, spacing=(PIXEL_MM, PIXEL_MM), axes="yx")


def load(folder: Path) -> list[ml.Case]:
    """Real nuclei, bright on dark, with numbers; stained ones, dark on bright, are inverted."""
    cases = []
    for path in sorted(folder.glob("*_image.png")):
        name = path.name.removesuffix("_image.png")
        gray = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., 2].astype(np.float32)  # red, which hematoxylin absorbs
        gray = 255 - gray if np.median(gray) > 127 else gray
        low, high = np.percentile(gray, [1, 99.8])
        gray = np.sqrt(np.clip((gray - low) / (high - low), 0, 1))  # a nucleus may be ten times as bright as another
        labels = cv2.imread(str(path.with_name(f"{name}_labels.png")), cv2.IMREAD_UNCHANGED)
        cases.append(ml.Case(name, picture(gray), picture(labels.astype(np.uint16))))
    if not cases:
        raise FileNotFoundError(f"no NN_image.png in {folder}")
    return cases


def tiles(case: ml.Case, n: int) -> list[ml.Case]:
    """`n` squares that cover a picture, again and again where it has fewer; their nuclei are numbered anew."""
    starts = [
        np.linspace(0, size - TILE, -(-size // TILE)).round().astype(int) if size > TILE else [0]
        for size in case.image.array.shape
    ]
    found = []
    for y in starts[0]:
        for x in starts[1]:
            window = np.s_[y : y + TILE, x : x + TILE]
            labels = case.mask.array[window]
            own = np.searchsorted(np.unique(labels[labels > 0]), labels) + 1
            image = picture(np.ascontiguousarray(case.image.array[window]))
            found.append(ml.Case(f"{case.id}-{y}-{x}", image, picture((own * (labels > 0)).astype(np.uint8))))
    return [found[i % len(found)] for i in range(n)]


def real(folder: Path, *, folds: int, fold: int, minutes: float, seed: int, only: str | None = None) -> dict:
    """Train on real nuclei for so many minutes, of which Mask R-CNN gets two thirds; measure on a fold of pictures.

    Where `only` names one network, the other one is left out; the minutes of the one stay the same. Pictures are sorted
    by their size, which tells much about where they come from: so every kind is spread over the folds.
    """
    cases = sorted(load(folder), key=lambda case: (case.image.array.shape, case.id))
    held_out = [case for i, case in enumerate(cases) if i % folds == fold]
    training = [tile for i, case in enumerate(cases) if i % folds != fold for tile in tiles(case, 16)]
    results = {}
    for name, build in NETWORKS["large"].items():
        if only not in (None, name):
            continue
        torch.manual_seed(seed)
        model = build()
        own_minutes = minutes * {"U-Net": 1 / 3, "Mask R-CNN": 2 / 3}[name]
        settings = {"minutes": own_minutes, "learning_rate": 2e-3, "augment": replace(AUGMENT, scale=0.6), "seed": seed}
        model, preprocess, steps, seconds = train(name, model, training, **settings)
        answers, predict_ms = answer(name, model, preprocess, held_out, kind="real")
        for method, own in answers.items():
            results[method] = measure(own) | {"steps": steps, "seconds": seconds, "predict_ms": predict_ms}
            results[method]["ap50_of_each"] = [measure([one])["ap"][0] for one in own]
            print(f"{method:28}", *(f"{key} {value}" for key, value in results[method].items()), flush=True)
    pictures = {"training": len(cases) - len(held_out), "held_out": [case.id for case in held_out]}
    nuclei = [len(np.unique(case.mask.array)) - 1 for case in held_out]
    return {**circumstances(), "seeds": [seed], "minutes": minutes, "pictures": pictures, "nuclei": nuclei} | {
        "iou": THRESHOLDS,
        "methods": results,
    }


def main(argv=None) -> dict:
    """Run the experiment; on real nuclei where a folder is named."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", choices=list(NETWORKS["large"]))
    own, rest = parser.parse_known_args(argv)
    if own.data is None:
        return conduct(__file__, experiment, rest)
    settings = {"folds": own.folds, "fold": own.fold, "minutes": own.minutes, "seed": own.seed}
    record = real(own.data, **settings, only=own.network)
    print(json.dumps(record))
    return record


if __name__ == "__main__":
    main()
