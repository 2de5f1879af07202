"""Checks of chapter 12a: the numbers behind the hints, and agreement with PyTorch."""

import numpy as np
import pytest
import torch

from medlearn.check.chapter12a import ADAMW, CHECKPOINT, DIAGNOSE, DRAWS, SPLIT


def three_steps(function):
    """Three steps down w² from 1, at a rate and a decay of 0.1."""
    w, m, v = 1.0, 0.0, 0.0
    for t in (1, 2, 3):
        w, m, v = function(w, 2 * w, m, v, t, 0.1, 0.1)
    return w


@pytest.mark.parametrize(
    ("name", "value"),
    [(None, 0.6751), ("no_bias_correction", -0.177), ("l2_in_gradient", 0.7016), ("root_forgotten", 0.8176)],
)
def test_three_steps_of_adamw(name, value):
    function = ADAMW.right if name is None else ADAMW.wrong[name].compute
    assert three_steps(function) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(
    ("kind", "name"), [(torch.optim.AdamW, None), (torch.optim.Adam, "l2_in_gradient")], ids=["AdamW", "Adam"]
)
def test_torch_takes_the_same_steps(kind, name):
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = kind([w], lr=0.1, weight_decay=0.1)
    function = ADAMW.right if name is None else ADAMW.wrong[name].compute
    own, m, v = w.detach().numpy().copy(), np.zeros(2), np.zeros(2)
    for t in range(1, 6):
        gradient = 2 * np.array([1.0, 50.0]) * own
        w.grad = torch.from_numpy(2 * np.array([1.0, 50.0]) * w.detach().numpy())
        optimizer.step()
        own, m, v = function(own, gradient, m, v, t, 0.1, 0.1)
        np.testing.assert_allclose(w.detach().numpy(), own, rtol=1e-9)


def test_a_first_step_without_correction_is_too_long():
    w, gradient, m, v, *rest = ADAMW.probes[0]
    right, wrong = (f(w, gradient, m, v, *rest)[0] for f in (ADAMW.right, ADAMW.wrong["no_bias_correction"].compute))
    shrunk = w * (1 - 0.1 * 0.1)
    np.testing.assert_allclose((wrong - shrunk) / (right - shrunk), 3.16, atol=0.01)


def test_draws_of_the_rank_8_network():
    first, second = DRAWS.answers(DRAWS.right)
    assert first == (3_000_000, 2400, 4687, 45)
    assert second[2] == 1562


def test_split_keeps_patients_together():
    for patient_of, scan_of, n_validation, n_test in SPLIT.probes:
        parts = SPLIT.right(patient_of, scan_of, n_validation, n_test)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(patient_of)))
        patients = [set(patient_of[part]) for part in parts]
        assert (len(patients[1]), len(patients[2])) == (n_validation, n_test)
        assert sum(map(len, patients)) == len(set(patient_of)), "somebody is on two sides"
        assert any(len(set(scan_of[patient_of == p])) > 1 for p in patient_of), "somebody came twice"


def test_the_best_test_score_is_never_lower_than_the_honest_one():
    for honest, lucky in zip(
        CHECKPOINT.answers(CHECKPOINT.right), CHECKPOINT.answers(CHECKPOINT.wrong["best_test"].compute), strict=True
    ):
        assert lucky[1] > honest[1]


def test_each_seed_shows_every_cause_once():
    answers = DIAGNOSE.answers(DIAGNOSE.right)
    assert sorted(answers[:6]) == sorted(answers[6:]) == [1, 2, 3, 4, 5, 6]
