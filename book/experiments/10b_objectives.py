"""Chapter 10b: the same training with five objectives, several seeds. Which ones find the gland?

Only the objective and the seed change; patients, network, batches and number of steps stay. The seed decides the first
weights, the draws of the batches, and which of the patients are held out.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from experiment import conduct

import medlearn as ml
from medlearn.nn import losses

N_PATIENTS, N_HELD_OUT = 24, 8


def accuracy_surrogate(logits, labels):
    """Mean of |p − g|: one minus the accuracy, if p is 0 or 1."""
    return (logits[:, 0].sigmoid() - labels).abs().mean()


OBJECTIVES = {
    "cross-entropy": losses.cross_entropy_loss,
    "Dice, linear": losses.dice_loss,
    "Dice, squared": lambda logits, labels: losses.dice_loss(logits, labels, squared=True),
    "Dice + cross-entropy": losses.dice_ce_loss,
    "accuracy surrogate": accuracy_surrogate,
}


def train(objective, cases, held_out, *, seed: int, epochs: int) -> tuple[float, float]:
    """Mean Dice and accuracy on the held-out patients."""
    torch.manual_seed(seed)
    config = ml.TrainConfig(
        epochs=epochs,
        batch_size=16,
        learning_rate=0.01,
        ema_decay=0.9,
        foreground=0.0,
        augment=None,
        validations=1,
        precision="fp32",
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        run = ml.fit(
            ml.UNet(widths=(8, 16, 32)),
            cases,
            config=config,
            objective=lambda model, images, labels: objective(model(images), labels),
            out=Path(folder) / "run",
            progress=False,
        )
        preds = [ml.to_labels(ml.predict(run, case.image)).array > 0 for case in held_out]
    truths = [case.mask.array > 0 for case in held_out]
    pairs = list(zip(preds, truths, strict=True))
    return np.mean([ml.dice(*pair) for pair in pairs]), np.mean([pred == truth for pred, truth in pairs])


def experiment(quick: bool) -> dict:
    """Train every objective with every seed."""
    seeds, epochs, n_patients = ([0], 2, 6) if quick else (list(range(5)), 15, N_PATIENTS)
    n_held_out = 2 if quick else N_HELD_OUT
    patients = [ml.phantom.prostate(n, shape=(8, 48, 48), spacing=(9.0, 3.0, 3.0)) for n in range(n_patients)]
    dice, accuracy = {}, {}
    for name, objective in OBJECTIVES.items():
        found = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(n_patients)
            held_out, cases = ([patients[k] for k in part] for part in np.split(order, [n_held_out]))
            found.append(train(objective, cases, held_out, seed=seed, epochs=epochs))
        dice[name], accuracy[name] = (np.round(values, 4).tolist() for values in zip(*found, strict=True))
    return {
        "seeds": seeds,
        "epochs": epochs,
        "patients": {"training": n_patients - n_held_out, "held_out": n_held_out},
        "mean_dice": {name: round(float(np.mean(values)), 3) for name, values in dice.items()},
        "mean_accuracy": {name: round(float(np.mean(values)), 3) for name, values in accuracy.items()},
        "dice": dice,
        "accuracy": accuracy,
    }


def main(argv=None) -> dict:
    """Run the experiment; print the mean Dice of every objective."""
    record = conduct(__file__, experiment, argv)
    print(json.dumps(record["mean_dice"], indent=1))
    return record


if __name__ == "__main__":
    main()
