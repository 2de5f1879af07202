"""Every case predicted by a network that has not seen it: ``medlearn train --cross-validate``."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.cli import main
from medlearn.train import cross_validate
from medlearn.train.cross_validation import fold_ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for seed in range(5):
        case = blob_case(seed)
        ml.save(case.image, folder / f"Case{seed:02d}.mhd")
        ml.save(case.mask, folder / f"Case{seed:02d}_segmentation.mhd")
    return folder


def medlearn(*arguments):
    command = [sys.executable, "-m", "medlearn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, encoding="utf-8")


def validate(folder, out, *, epochs=2, **keywords):
    def make_model():
        made.append(torch.manual_seed(0))
        return ml.UNet(widths=(4, 8, 16))

    made = []
    settings = ml.TrainConfig(epochs=epochs, batch_size=8, precision="fp32", validations=1)
    runs = cross_validate(make_model, ml.cases(folder).check(), folds=3, config=settings, out=out, **keywords)
    return runs, len(made)


def test_folds_hold_out_every_case_once():
    ids = [f"c{i}" for i in range(7)]
    folds = [fold_ids(ids, k, 3) for k in range(3)]
    assert folds == [["c0", "c3", "c6"], ["c1", "c4"], ["c2", "c5"]]
    for wrong in ((3, 3), (-1, 3), (0, 8), (0, 1)):
        with pytest.raises(ValueError, match="--fold must lie"):
            fold_ids(ids, *wrong)


def test_finished_folds_are_left_alone_and_missing_ones_trained(folder, tmp_path):
    out = tmp_path / "cv"
    runs, made = validate(folder, out)
    assert made == 3
    assert [run.config["held_out_cases"] for run in runs] == [["Case00", "Case03"], ["Case01", "Case04"], ["Case02"]]
    for run in runs:
        assert set(run.config["training_cases"]) == set(ml.cases(folder).ids) - set(run.config["held_out_cases"])

    before = (out / "fold0" / "model.safetensors").stat().st_mtime_ns
    weights = runs[1].model.state_dict()
    (out / "fold1" / "state.pt").unlink()  # as if fold 1 had been killed in its first step
    config = json.loads((out / "fold1" / "config.json").read_text())
    (out / "fold1" / "config.json").write_text(json.dumps({**config, "complete": False}))
    with pytest.raises(FileExistsError, match="--resume"):
        validate(folder, out)
    runs, made = validate(folder, out, resume=True)
    assert made == 1
    assert (out / "fold0" / "model.safetensors").stat().st_mtime_ns == before
    for name, tensor in runs[1].model.state_dict().items():
        assert torch.equal(tensor, weights[name])


def test_resume_with_other_folds_is_refused(folder, tmp_path):
    validate(folder, tmp_path / "cv")
    with pytest.raises(ValueError, match=r"fold0 held out Case00, Case03, not Case00, Case02, Case04"):
        cross_validate(lambda: None, ml.cases(folder).check(), folds=2, out=tmp_path / "cv", resume=True)


def test_folds_are_not_mixed_from_different_settings(folder, tmp_path):
    validate(folder, tmp_path / "cv")
    with pytest.raises(ValueError, match=r"fold0 was trained with other settings.*: epochs: 2 became 3"):
        validate(folder, tmp_path / "cv", resume=True, epochs=3)


def test_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the command changes it
    out = tmp_path / "cv"
    arguments = ["train", folder, "--out", out, "--cross-validate", "--folds", 2]
    arguments += ["--preset", "unet2d-small", "--epochs", 30, "--precision", "fp32"]
    result = medlearn(*arguments)
    assert result.returncode == 0, result.stderr
    assert "5 cases, held out" in result.stdout
    table = pd.read_csv(out / "report" / "cases.csv")
    assert table["case"].tolist() == [f"Case{i:02d}" for i in range(5)]
    assert set(table["group"]) == {"held out"}
    assert table["dice"].mean() > 0.5
    page = (out / "report" / "report.html").read_text(encoding="utf-8")
    worst = table.sort_values("dice")["case"].head(3)
    assert all(f"of case {case_id}, foreground: outlines of reference and prediction" in page for case_id in worst)
    case_id, dice = table.loc[0, ["case", "dice"]]  # predicted by the network of fold 0, which has not seen it
    run = ml.Run(out / "fold0")
    assert case_id not in run.config["training_cases"]
    case = ml.cases(folder).read(case_id)
    pred = ml.to_labels(ml.predict(run, case.image))
    np.testing.assert_allclose(ml.dice(pred.array, case.mask.array > 0), dice, atol=1e-5)

    log = (out / "fold1" / "log.txt").read_text()
    assert main([*map(str, arguments), "--resume"]) == 0
    assert (out / "fold1" / "log.txt").read_text() == log  # not trained again
    pd.testing.assert_frame_equal(pd.read_csv(out / "report" / "cases.csv"), table)
    with pytest.raises(SystemExit):  # either all folds or one
        main([*map(str, arguments), "--fold", "1"])
    assert "not allowed with argument" in capsys.readouterr().err
