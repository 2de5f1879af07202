"""Chapter 11: does augmentation change the distribution, and does the network suffer from it?

For every strength of the dial two things are measured with the same draws of changes: how well a small classifier tells
augmented slices from real ones (patients it has never seen), and how well a U-Net finds the gland of held-out patients
when it was trained on two patients augmented that strongly. The seed decides the patients, the first weights and the
draws.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from experiment import conduct
from torch import nn

import medlearn as ml

RECIPE = ml.Augment(elastic_mm=3.0, flip=0.0)  # strength 1; the dial multiplies all of it, and a flip has no strength
SHAPE, SPACING = (8, 48, 48), (9.0, 3.0, 3.0)
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)
N_TRAINING, N_HELD_OUT, N_OTHERS = 2, 12, 24  # patients: for the U-Net, for testing both, for the classifier


def slices(cases) -> tuple[torch.Tensor, torch.Tensor]:
    """All slices of some cases, normalized per case: images (N, 1, H, W) and labels (N, H, W)."""
    images = [ml.normalize(case.image.array) for case in cases]
    labels = [case.mask.array > 0 for case in cases]
    return torch.tensor(np.concatenate(images))[:, None].float(), torch.tensor(np.concatenate(labels)).byte()


def draw(augment: ml.Augment, images, labels, generator: torch.Generator):
    """Augment a batch."""
    random = torch.rand(len(images), augment.n_random(SHAPE[1:], SPACING[1:]), generator=generator)
    return augment(images, labels, random, SPACING[1:])


def optimize(model: nn.Module, loss_of_step, n_steps: int, learning_rate: float) -> None:
    """Minimize by AdamW, with a rate that falls to zero as a cosine."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    model.train()
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss_of_step().backward()
        optimizer.step()
        scheduler.step()
    model.eval()


def gland_dice(model: nn.Module, cases) -> float:
    """Mean Dice over cases."""
    found = []
    for case in cases:
        images, labels = slices([case])
        with torch.no_grad():
            pred = model(images)[:, 0] > 0
        found.append(ml.dice(pred.numpy(), labels.numpy() > 0))
    return float(np.mean(found))


def train_unet(cases, augment: ml.Augment, *, seed: int, n_steps: int) -> nn.Module:
    """A U-Net trained on all slices of `cases`, each of them changed anew in every step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model, (images, labels) = ml.UNet(widths=(8, 16, 32)), slices(cases)

    def loss():
        new_images, new_labels = draw(augment, images, labels, generator)
        return ml.dice_ce_loss(model(new_images), new_labels)

    optimize(model, loss, n_steps, 0.01)
    return model


def detector() -> nn.Module:
    """A small classifier: real or augmented?"""
    layers = []
    for n_in, n_out in ((1, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))


def detectability(training, held_out, augment: ml.Augment, *, seed: int, n_steps: int) -> float:
    """AUC of a classifier that tells augmented from real slices of patients it has not seen."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    model, (images, labels) = detector(), slices(training)
    truth = torch.tensor([0.0, 1.0]).repeat_interleave(16)

    def loss():
        real, changed = torch.randint(len(images), (2, 16), generator=generator)
        changed_images, _ = draw(augment, images[changed], labels[changed], generator)
        return F.binary_cross_entropy_with_logits(model(torch.cat([images[real], changed_images]))[:, 0], truth)

    optimize(model, loss, n_steps, 0.003)
    real, labels = slices(held_out)
    changed, _ = draw(augment, real, labels, generator)
    with torch.no_grad():
        scores = [model(images)[:, 0].numpy() for images in (real, changed)]
    return area_under_curve(*scores)


def area_under_curve(negatives: np.ndarray, positives: np.ndarray) -> float:
    """Share of the pairs in which the positive has the higher score; ties count one half."""
    difference = positives[:, None] - negatives
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def experiment(quick: bool) -> dict:
    """Every strength with every seed."""
    strengths, seeds, n_steps = STRENGTHS, list(range(5)), (200, 100)
    if quick:
        strengths, seeds, n_steps = (0.0, 1.0), [0], (20, 10)
    n_held_out, n_others = (2, 2) if quick else (N_HELD_OUT, N_OTHERS)
    n_all = N_TRAINING + n_held_out + n_others
    patients = [ml.phantom.prostate(n, shape=SHAPE, spacing=SPACING) for n in range(n_all)]
    measures = {name: {} for name in ("dice_training", "dice_held_out", "auc")}
    for strength in strengths:
        augment = RECIPE.scaled(strength)
        found = []
        for seed in seeds:
            order = [patients[k] for k in np.random.default_rng(seed).permutation(n_all)]
            training, held_out, others = (
                order[:N_TRAINING],
                order[N_TRAINING : N_TRAINING + n_held_out],
                order[-n_others:],
            )
            model = train_unet(training, augment, seed=seed, n_steps=n_steps[0])
            auc = detectability(others, held_out, augment, seed=seed, n_steps=n_steps[1])
            found.append((gland_dice(model, training), gland_dice(model, held_out), auc))
        for name, values in zip(measures, zip(*found, strict=True), strict=True):
            measures[name][f"{strength:g}"] = np.round(values, 4).tolist()
    means = {name: {s: round(float(np.mean(v)), 3) for s, v in values.items()} for name, values in measures.items()}
    patients = {"training": N_TRAINING, "held_out": n_held_out, "classifier": n_others}
    steps = dict(zip(("unet", "classifier"), n_steps, strict=True))
    return {"seeds": seeds, "steps": steps, "patients": patients, "means": means, **measures}


def main(argv=None) -> dict:
    """Run the experiment; print the means of every strength."""
    record = conduct(__file__, experiment, argv)
    print(json.dumps(record["means"], indent=1))
    return record


if __name__ == "__main__":
    main()
