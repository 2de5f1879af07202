"""Chapter 12a: a step of AdamW, six trainings to diagnose, the checkpoint to keep, an honest split, draws counted."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ._core import Exercise, Wrong

# 12a.1, AdamW


def _adamw(
    w, gradient, m, v, t, rate, decay, *, corrected=True, decoupled=True, root=True, square=True, scaled=True, eps=1e-8
):
    if not decoupled:
        gradient = gradient + decay * w
    m = 0.9 * m + 0.1 * gradient
    v = 0.999 * v + 0.001 * (gradient**2 if square else abs(gradient))
    m_hat, v_hat = (m / (1 - 0.9**t), v / (1 - 0.999**t)) if corrected else (m, v)
    step = m_hat / ((np.sqrt(v_hat) if root else v_hat) + eps)
    shrink = 1 - (rate if scaled else 1) * decay if decoupled else 1
    return shrink * w - rate * step, m, v


def _variant(**options) -> Callable:
    return lambda *probe: _adamw(*probe, **options)


def _walk(n_steps: int) -> tuple:
    """State after some right steps down Σ w² with curvatures 1 and 50, as the arguments of the next one."""
    w, m, v, curvature = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2), np.array([1.0, 50.0])
    for t in range(1, n_steps + 1):
        w, m, v = _adamw(w, 2 * curvature * w, m, v, t, 0.1, 0.1)
    return w, 2 * curvature * w, m, v, n_steps + 1, 0.1, 0.1


ADAMW = Exercise(
    number="12a.1",
    right=_adamw,
    probes=(_walk(0), _walk(1), _walk(2)),
    praise="Three such steps from w = 1 down w², at a rate and a decay of 0.1, end at 0.6751.",
    wrong={
        "no_bias_correction": Wrong(
            _variant(corrected=False),
            "Your first step is 3.2× too long. m and v begin at 0 and are too small at first, v more so than m: "
            "divide m by 1 − 0.9^t and v by 1 − 0.999^t.",
        ),
        "l2_in_gradient": Wrong(
            _variant(decoupled=False),
            "You added the decay to the gradient: that is Adam + L2. Decoupled decay, the W in AdamW, shrinks the "
            "weight by itself and does not pass through m and v.",
        ),
        "root_forgotten": Wrong(
            _variant(root=False),
            "You divided by v, the mean of SQUARED gradients. Take its root: then the units cancel, and the step does "
            "not depend on how steep the function is.",
        ),
        "not_squared": Wrong(
            _variant(square=False), "v is the running mean of the squared gradient. You averaged its magnitude."
        ),
        "decay_without_rate": Wrong(
            _variant(scaled=False),
            "You shrank the weight by the whole decay. It is rate × decay a step, so that the schedule slows both.",
        ),
        "upward": Wrong(
            lambda w, g, m, v, t, rate, decay: (
                2 * (1 - rate * decay) * w - _adamw(w, g, m, v, t, rate, decay)[0],
                *_adamw(w, g, m, v, t, rate, decay)[1:],
            ),
            "You went uphill. The gradient points up: subtract the step.",
        ),
    },
)

# 12a.2, the training doctor

CAUSES = {
    1: "healthy",
    2: "rate too low",
    3: "rate too high",
    4: "too few patients",
    5: "not a number",
    6: "leak",
}


def _recorded(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    stored = json.loads(Path(__file__).with_name("chapter12a.json").read_text(encoding="utf-8"))
    return {
        cause: tuple(np.array(runs[seed][name]) for name in ("running", "training", "held_out"))
        for cause, runs in stored.items()
    }


def recorded_runs() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Six recorded trainings under letters: Dice while training, of training patients, of held-out patients."""
    runs = _recorded(0)
    return {letter: runs[CAUSES[number]] for letter, number in zip("ABCDEF", (4, 1, 5, 2, 6, 3), strict=True)}


def _diagnose(running, training, held_out):
    if max(running.max(), training.max()) < 0.05:
        return 2
    if running[-1] == 0 and running.max() > 0.3:
        return 5
    if held_out[: len(held_out) // 2].max() > 0.93:
        return 6
    if np.abs(np.diff(training)).mean() > 0.15:
        return 3
    return 4 if training[-1] - held_out[-1] > 0.2 else 1


def _taking(cause: int, other: int) -> Callable:
    """Right, but takes one cause for another."""
    return lambda *curves: other if _diagnose(*curves) == cause else _diagnose(*curves)


DIAGNOSE = Exercise(
    number="12a.2",
    right=_diagnose,
    probes=tuple(_recorded(seed)[CAUSES[number]] for seed in (0, 1) for number in (4, 1, 5, 2, 6, 3)),
    praise="Your rules also hold for six runs with another seed, which the figure does not show.",
    wrong={
        "below_means_leak": Wrong(
            _taking(1, 6),
            "You call a leak what is healthy. Held-out Dice ABOVE the running one is no leak: dropout and "
            "augmentation act in training only. The training patients in evaluation mode lie higher again.",
        ),
        "leak_is_healthy": Wrong(
            _taking(6, 1),
            "One run is too good to be true: nearly perfect on unseen patients within a few rounds. Never be glad "
            "before you have looked at what the network was shown.",
        ),
        "flat_is_dead": Wrong(
            _taking(2, 5),
            "A run that never left 0 is not a run that broke. It moves too slowly (or not at all: a frozen network, a "
            "sigmoid taken twice).",
        ),
        "dead_is_flat": Wrong(
            _taking(5, 2),
            "This run had learned something, and from one round to the next all three curves are exactly 0, for good. "
            "Small steps do not do that; weights that are not numbers do.",
        ),
        "dead_is_rate": Wrong(
            _taking(5, 3),
            "You took a cliff for a saw. After the cliff every value is exactly 0 and stays: the weights are nan. With "
            "too high a rate the curves come back.",
        ),
        "saw_is_overfitting": Wrong(
            _taking(3, 4),
            "Look at the whole curve, not only at its end: this one jumps up and down between rounds, on the training "
            "patients as well. That is the rate.",
        ),
        "overfitting_is_healthy": Wrong(
            _taking(4, 1),
            "Training patients nearly perfect, held-out ones far below: this gap is overfitting. Compare the last "
            "values of `training` and `held_out`.",
        ),
        "overfitting_is_leak": Wrong(
            _taking(4, 6),
            "Nearly perfect on TRAINING patients is learning by heart. A leak shows on the held-out ones.",
        ),
    },
)

# 12a.3, the checkpoint


def _chosen_by(curve: int, reported: int = 2) -> Callable:
    def compute(*curves):
        best = int(np.argmax(curves[curve]))
        return best, float(curves[reported][best])

    return compute


CHECKPOINT = Exercise(
    number="12a.3",
    right=_chosen_by(1),
    probes=(
        (
            np.array([0.41, 0.63, 0.78, 0.86, 0.91, 0.95]),
            np.array([0.38, 0.55, 0.71, 0.74, 0.72, 0.69]),
            np.array([0.35, 0.57, 0.70, 0.69, 0.73, 0.66]),
        ),
        (
            np.array([0.50, 0.72, 0.70, 0.88, 0.83]),
            np.array([0.44, 0.68, 0.71, 0.66, 0.65]),
            np.array([0.52, 0.66, 0.64, 0.65, 0.67]),
        ),
    ),
    praise="The validation patients chose, and the test patients were asked once.",
    wrong={
        "last_epoch": Wrong(
            lambda a, b, c: (len(b) - 1, float(c[-1])),
            "You took the last checkpoint. That is a fair rule if it was made before (medlearn's own, with averaged "
            "weights); the exercise asks for the one with the best validation Dice.",
        ),
        "best_training": Wrong(
            _chosen_by(0),
            "You chose by the training Dice. It rewards learning by heart: the best one is the most overfitted.",
        ),
        "best_test": Wrong(
            _chosen_by(2),
            "You chose by the test Dice. Then the test score is an estimate of your luck, and nobody is left to tell "
            "how good the network is.",
        ),
        "validation_reported": Wrong(
            _chosen_by(1, 1),
            "The right checkpoint, and the wrong score. The validation Dice of the checkpoint that it chose is "
            "optimistic: report the test Dice.",
        ),
        "training_reported": Wrong(
            _chosen_by(1, 0), "The right checkpoint, but you report how well it knows its own training patients."
        ),
    },
)

# 12a.4, the split


def _split_by(group, n_validation, n_test):
    groups = np.unique(group)
    test = groups[len(groups) - n_test :]
    validation = groups[len(groups) - n_test - n_validation : len(groups) - n_test]
    parts = np.isin(group, test), np.isin(group, validation)
    return np.flatnonzero(~parts[0] & ~parts[1]), np.flatnonzero(parts[1]), np.flatnonzero(parts[0])


def _split(patient_of, scan_of, n_validation, n_test):
    return _split_by(patient_of, n_validation, n_test)


def _of_right(compute: Callable) -> Callable:
    return lambda *probe: compute(*_split(*probe))


SPLIT = Exercise(
    number="12a.4",
    right=_split,
    probes=(
        (
            np.array([2, 0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 0, 4]),
            np.array([10, 11, 11, 12, 12, 12, 13, 14, 14, 15, 15, 16, 17]),
            1,
            2,
        ),
        (np.array([7, 5, 5, 9, 9, 7, 8, 8, 6]), np.array([0, 1, 1, 2, 2, 3, 4, 5, 6]), 2, 1),
    ),
    praise="No patient is on two sides, whatever the number of scans and slices.",
    wrong={
        "val_contains_train": Wrong(
            _of_right(lambda train, val, test: (train, np.sort(np.append(train, val)), test)),
            "Your validation set holds the training patients too. A checkpoint that is chosen by it is chosen for "
            "learning by heart. The rank-8 code chose so.",
        ),
        "train_contains_val": Wrong(
            _of_right(lambda train, val, test: (np.sort(np.append(train, val)), val, test)),
            "The network trains on the validation patients: they cannot tell any more when it overfits.",
        ),
        "split_by_slice": Wrong(
            lambda p, s, v, t: _split_by(np.arange(len(p)), v, t),
            "You split slices. Neighboring slices of one patient are nearly copies of each other.",
        ),
        "same_patient_twice": Wrong(
            lambda p, s, v, t: _split_by(s, v, t),
            "You split scans. A patient who came twice is now on two sides: same organ, same scars. Use `patient_of`.",
        ),
        "validation_and_test_swapped": Wrong(
            _of_right(lambda train, val, test: (train, test, val)),
            "Validation and test are exchanged: the LAST patients are the test set.",
        ),
        "numbers_of_patients": Wrong(
            lambda p, s, v, t: tuple(np.unique(p[part]) for part in _split(p, s, v, t)),
            "You returned patients. Return the indices of their slices: `np.flatnonzero(np.isin(patient_of, ...))`.",
        ),
    },
)

# 12a.5, draws


def _count(per_epoch, n_epochs, n_slices, n_patients, batch):
    draws = per_epoch * n_epochs
    return draws, draws / n_slices, per_epoch // batch, n_patients


def _with(position: int, other: Callable) -> Callable:
    def compute(*probe):
        right = list(_count(*probe))
        right[position] = other(*probe)
        return tuple(right)

    return compute


DRAWS = Exercise(
    number="12a.5",
    right=_count,
    probes=((150_000, 20, 1250, 45, 32), (50_000, 20, 1250, 45, 32)),
    praise="3.0 million draws, each slice 2,400 times, and still 45 patients. At 50,000 an epoch there are 1,562 steps "
    "in place of 4,687: that changes the budget, not the data.",
    wrong={
        "150000_patients": Wrong(
            _with(3, lambda per_epoch, *rest: per_epoch),
            "150,000 independent patients? They are draws, with changes, from the slices of 45 patients. What no "
            "patient shows, no draw shows.",
        ),
        "slices_are_patients": Wrong(
            _with(3, lambda per_epoch, n_epochs, n_slices, *rest: n_slices),
            "Slices of one patient are not independent of each other. Count patients.",
        ),
        "one_epoch_only": Wrong(
            _with(1, lambda per_epoch, n_epochs, n_slices, *rest: per_epoch / n_slices),
            "That is how often a slice is drawn in ONE epoch. Over the whole training it is n_epochs times as often.",
        ),
        "rounded_up": Wrong(
            _with(2, lambda per_epoch, n_epochs, n_slices, n_patients, batch: -(-per_epoch // batch)),
            "You counted the last batch, which is not full. The exercise asks for full batches: round down.",
        ),
        "steps_of_all_epochs": Wrong(
            _with(2, lambda per_epoch, n_epochs, n_slices, n_patients, batch: per_epoch * n_epochs // batch),
            "Those are the steps of the whole training. An epoch has per_epoch // batch_size of them.",
        ),
        "draws_are_steps": Wrong(
            _with(2, lambda per_epoch, *rest: per_epoch),
            "A step takes a whole batch of draws, not one: divide by the batch size.",
        ),
    },
)


def adamw_step(function: Callable) -> None:
    """Check exercise 12a.1: ``function(w, gradient, m, v, t, rate, decay)`` returns the new w, m and v."""
    ADAMW.check(function)


def diagnose(function: Callable) -> None:
    """Check exercise 12a.2: ``function(running, training, held_out)`` returns the number of the cause."""
    DIAGNOSE.check(function)


def choose_checkpoint(function: Callable) -> None:
    """Check exercise 12a.3: ``function(training, validation, test)`` returns the checkpoint and the score to report."""
    CHECKPOINT.check(function)


def patient_split(function: Callable) -> None:
    """Check exercise 12a.4: ``function(patient_of, scan_of, n_validation, n_test)`` returns three sets of slices."""
    SPLIT.check(function)


def count_draws(function: Callable) -> None:
    """Check exercise 12a.5: ``function(per_epoch, n_epochs, n_slices, n_patients, batch_size)`` counts four things."""
    DRAWS.check(function)
