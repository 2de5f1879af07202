"""The ladder of chapter 5: how far rules get in segmenting the prostate, and what beats them without looking.

Seven rungs on phantoms that the shipped network has never seen: two by gray value, two by growing, two by position
alone, and the network. Where a rule has a number to choose, it is chosen with the truth of the very case: these are
upper limits of what the rule can do, not results. The ellipsoid and the mean shape of a case come from the other cases.
"""

import json

import numpy as np
from experiment import conduct

import medlearn as ml
from medlearn import classical

QUICK, FULL = range(60, 66), range(60, 84)  # seeds; the network was trained on seeds below 60
QUANTILES = np.linspace(0, 1, 129)


def ladder(images, masks) -> dict[str, list[float]]:
    """Dice of every case on every rung that needs no network.

    Parameters
    ----------
    images, masks : sequences of (z, y, x) arrays
        Of one shape; masks are boolean.
    """
    pairs = list(zip(images, masks, strict=True))
    return {
        "Otsu, the bright side": [ml.dice(image > classical.otsu_threshold(image), mask) for image, mask in pairs],
        "best interval of gray values": [best_interval(image, mask) for image, mask in pairs],
        "growing from the center of the image": [best_growth(i, m, np.array(m.shape) // 2) for i, m in pairs],
        "growing from the center of the truth": [best_growth(i, m, center_of(m)) for i, m in pairs],
        "one fixed ellipsoid": [ml.dice(ellipsoid(masks, without=k), mask) for k, mask in enumerate(masks)],
        "mean shape of the others": mean_shapes(masks),
    }


def best_interval(image, mask) -> float:
    """Dice of the best interval of gray values; its ends are quantiles of the gland's own gray values."""
    ends = np.unique(np.quantile(image[mask], QUANTILES).round())
    ends[-1] += 1  # the last bin holds its upper end
    everywhere, inside = (np.append(0, np.cumsum(np.histogram(v, ends)[0])) for v in (image, image[mask]))
    first, last = np.triu_indices(len(ends), 1)
    overlap, size = inside[last] - inside[first], everywhere[last] - everywhere[first]
    return float(np.max(2 * overlap / (size + np.count_nonzero(mask))))


def best_growth(image, mask, seed) -> float:
    """Dice of the best region around a seed; the tolerances are quantiles of the gland's differences from the seed."""
    differences = np.abs(image[mask].astype(float) - image[tuple(seed)])
    tolerances = np.unique(np.quantile(differences, np.linspace(0, 1, 25)))
    return max(ml.dice(classical.region_grow(image, seed, tolerance=t), mask) for t in tolerances)


def center_of(mask):
    """Voxel in the middle of a mask."""
    return np.argwhere(mask).mean(0).round().astype(int)


def ellipsoid(masks, *, without: int):
    """An ellipsoid with the mean center and the mean extent of all masks but one."""
    places = [np.argwhere(mask) for k, mask in enumerate(masks) if k != without]
    center = np.mean([place.mean(0) for place in places], axis=0)
    half_axes = np.sqrt(5) * np.mean([place.std(0) for place in places], axis=0)  # as in a full ellipsoid
    axes = np.ogrid[tuple(slice(n) for n in masks[without].shape)]
    return sum(((x - c) / a) ** 2 for x, c, a in zip(axes, center, half_axes, strict=True)) <= 1


def mean_shapes(masks, share=0.4) -> list[float]:
    """Dice of the voxels that lie inside at least this share of the other masks."""
    total = np.sum(masks, axis=0, dtype=np.int16)
    return [ml.dice(total - mask >= share * (len(masks) - 1), mask) for mask in masks]


def network(cases) -> list[float]:
    """Dice of the network that comes with the library."""
    model, preprocess = ml.pretrained("prostate-phantom")
    preds = [ml.to_labels(ml.predict(model, case.image, preprocess=preprocess), threshold=0.5) for case in cases]
    return [ml.dice(pred.array, case.mask.array) for pred, case in zip(preds, cases, strict=True)]


def experiment(quick: bool) -> dict:
    """Climb the ladder."""
    seeds = QUICK if quick else FULL
    grid = {"shape": (16, 128, 128), "spacing": (5.4, 1.25, 1.25)} if quick else {}
    cases = [ml.phantom.prostate(seed, **grid) for seed in seeds]
    dice = ladder([case.image.array for case in cases], [case.mask.array > 0 for case in cases])
    dice["network, U-Net"] = network(cases)
    return {
        "seeds": list(seeds),
        "shape": cases[0].image.shape,
        "spacing_mm": cases[0].image.spacing,
        "gland_share": round(float(np.median([case.mask.array.mean() for case in cases])), 4),
        "mean_dice": {rung: round(float(np.mean(scores)), 3) for rung, scores in dice.items()},
        "dice": {rung: [round(float(score), 4) for score in scores] for rung, scores in dice.items()},
    }


def main(argv=None) -> dict:
    """Run the experiment; print the mean Dice of every rung."""
    record = conduct(__file__, experiment, argv)
    print(json.dumps(record["mean_dice"], indent=1))
    return record


if __name__ == "__main__":
    main()
