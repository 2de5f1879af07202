"""`medlearn predict` with several runs, several processes and uncertainty."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.checkpoint import save_checkpoint
from medlearn.cli import main
from medlearn.preprocess import Preprocess
from medlearn.train.run import CONFIG_FILE, MODEL_FILE

IDS = ["Case00", "Case01", "Case02"]


def write_run(folder, seed, held_out, dropout=0.0, labels=("foreground",)):
    """An untrained network in the folder of a training."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = ml.UNet(ndim=2, widths=(4, 8), dropout=dropout)
    save_checkpoint(folder / MODEL_FILE, model, Preprocess((1.0, 1.0), (48, 48), labels=labels))
    config = {
        "labels": {name: [k] for k, name in enumerate(labels, start=1)},
        "held_out_cases": held_out,
        "training_cases": [i for i in IDS if i not in held_out],
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for seed, case_id in enumerate(IDS):
        ml.save(blob_case(seed).image, folder / f"{case_id}.mha")
    return folder


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """As `medlearn train --cross-validate --folds 3` leaves them."""
    folder = tmp_path_factory.mktemp("cv") / "run"
    for k, case_id in enumerate(IDS):
        write_run(folder / f"fold{k}", k, [case_id])
    return folder


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


def test_folds_as_an_ensemble(folds, images, tmp_path, capsys):
    assert predict(folds, images, "--ensemble", "--uncertainty", "--probabilities", "--out", tmp_path / "a") == 0
    assert "3 of 3 case(s) predicted" in capsys.readouterr().out
    runs = [ml.Run(folds / f"fold{k}") for k in range(3)]
    expected = ml.predict(runs, ml.load(images / "Case01.mha"))
    written = ml.load(tmp_path / "a" / "Case01_probabilities.mha")
    np.testing.assert_array_equal(written.array, expected.array)
    p = expected.array.astype(float)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    np.testing.assert_allclose(ml.load(tmp_path / "a" / "Case01_uncertainty.mha").array, entropy, atol=1e-5)
    content = json.loads((tmp_path / "a" / "predictions.json").read_text())
    assert content["training_cases"] == content["requested"] == IDS  # each was seen by two of the three

    assert predict(*(run.folder for run in runs), images, "--probabilities", "--out", tmp_path / "b") == 0
    assert (tmp_path / "b" / "Case01_probabilities.mha").read_bytes() == (
        tmp_path / "a" / "Case01_probabilities.mha"
    ).read_bytes()


def test_several_processes_write_what_one_does(folds, images, tmp_path):
    run = folds / "fold0"
    assert predict(run, images, "--no-flip", "--out", tmp_path / "one") == 0
    assert predict(run, images, "--no-flip", "--workers", 2, "--out", tmp_path / "two") == 0
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [*(f"{i}_segmentation.mha" for i in IDS), "predictions.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_cluster_takes_the_cases(folds, images, tmp_path, monkeypatch):
    """A stand-in for dask.distributed, with the two calls that are made of it."""

    class Client(SimpleNamespace):
        def __init__(self, address):
            super().__init__(address=address, pool=ThreadPoolExecutor(1))
            used.append(address)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.pool.shutdown()

        def get_executor(self):
            return self.pool

    used = []
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    assert (
        predict(folds / "fold1", images, "--held-out", "--scheduler", "tcp://host:8786", "--out", tmp_path / "a") == 0
    )
    assert used == ["tcp://host:8786"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["Case01_segmentation.mha", "predictions.json"]


def test_what_predict_refuses(folds, images, tmp_path, monkeypatch, capsys):
    def refused(*arguments):
        assert predict(*arguments, "--out", tmp_path / "never") == 2
        assert not (tmp_path / "never").exists()
        return capsys.readouterr().err

    run = folds / "fold0"
    assert "--ensemble averages them" in refused(folds, images)
    assert "holds no fold0" in refused(run, images, "--ensemble")
    assert "held no case out" in refused(folds, images, "--ensemble", "--held-out")
    assert "no dropout" in refused(run, images, "--uncertainty")
    assert "--precision" in refused(run, images, "--precision", "fp8")
    assert "overlap must be at least 0 and below 1" in refused(run, images, "--overlap", "1")
    assert "device 'abacus' cannot be used" in refused(run, images, "--device", "abacus")
    assert "workers must be at least 1" in refused(run, images, "--workers", 0)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install distributed" in refused(run, images, "--scheduler", "tcp://host:8786")
    other = write_run(tmp_path / "other", 0, [], labels=("a", "b"))
    assert "different labels" in refused(run, other, images)


def test_dropout_of_one_run(images, tmp_path):
    run = write_run(tmp_path / "run", 0, [], dropout=0.5)
    for name in ("a", "b"):
        assert predict(run, images / "Case00.mha", "--uncertainty", "--out", tmp_path / name) == 0
    first, second = (ml.load(tmp_path / name / "Case00_uncertainty.mha").array for name in ("a", "b"))
    np.testing.assert_array_equal(first, second)
    assert 0 < first.max() <= 1
