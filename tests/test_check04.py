"""Chapter 4's exercises: answers worked by hand. `test_check.py` proves that all mistakes can be told apart."""

import hashlib

import numpy as np
import pytest

import medlearn.check as check
from medlearn.check import chapter04


def test_right_file_is_told_from_damaged_ones():
    data = b"abc"  # its SHA-256 is an example of the standard, FIPS 180-4
    published = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert chapter04.FILE.right("x", data, published)
    assert not chapter04.FILE.right("x", b"abd", published)
    assert chapter04.FILE.right("x", data, "md5:" + hashlib.md5(data).hexdigest().upper())


def test_truncated_probe_is_longer_than_what_the_mistake_reads():
    assert all(len(data) <= 1 << 16 for _, data, _ in chapter04.FILE.probes[:3])
    assert len(chapter04.FILE.probes[3][1]) > 1 << 16


def test_terms_worked_by_hand():
    entries = [
        {"license": "CC BY-NC 4.0", "verified": True, "changed": True},
        {"license": "CC BY 4.0", "verified": False, "changed": False},
        {"license": "CC BY-ND 4.0", "verified": True, "changed": True},
        {"license": "CC BY-SA 4.0", "verified": True, "changed": True},
    ]
    assert chapter04.TERMS.right(entries, False) == [True, False, False, True]
    assert chapter04.TERMS.right(entries, True) == [False, False, False, True]


def test_share_worked_by_hand():
    masks = [np.zeros((2, 5, 5), np.uint8) for _ in range(3)]
    masks[0][0, 0, 0], masks[1][1, 0, :3], masks[2][:] = 1, 2, 1  # 2 %, 6 % and 100 %
    assert chapter04.SHARE.right(masks, [(3, 1, 1)] * 3) == pytest.approx(6)


def test_folds_keep_every_patient_together():
    for files, patient_of, n_folds in chapter04.FOLDS.probes:
        folds = chapter04.FOLDS.right(files, patient_of, n_folds)
        places = {}
        for file, fold in zip(files, folds, strict=True):
            places.setdefault(patient_of[file.removeprefix("flipped_").split("_")[0]], set()).add(fold)
        assert all(len(place) == 1 for place in places.values())
        assert set(folds) == set(range(n_folds))


def test_folds_worked_by_hand():
    files = ["Case02_z001.png", "flipped_Case01_z003.png", "Case00_z000.png", "Case01_z003.png"]
    patient_of = {"Case00": "B", "Case01": "C", "Case02": "A"}
    assert chapter04.FOLDS.right(files, patient_of, 2) == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("name", "exercise"),
    [
        ("is_right_file", chapter04.FILE),
        ("may_share", chapter04.TERMS),
        ("gland_share", chapter04.SHARE),
        ("patient_folds", chapter04.FOLDS),
    ],
)
def test_public_checks_print_and_return_none(name, exercise, capsys):
    assert getattr(check, name)(exercise.right) is None
    assert capsys.readouterr().out == f"Exercise {exercise.number}: right! {exercise.praise}\n"
