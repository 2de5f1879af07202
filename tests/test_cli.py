"""Every command as a user runs it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from blobs import blob_case

import medlearn as ml


def medlearn(*arguments, timeout=300):
    command = [sys.executable, "-m", "medlearn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, encoding="utf-8")


def succeed(*arguments):
    result = medlearn(*arguments)
    assert result.returncode == 0, result.stderr
    return result


def fail(*arguments):
    """Wrong input: status 2, one clear message, no traceback."""
    result = medlearn(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "用户 data"
    folder.mkdir()
    for seed in range(5):
        case = blob_case(seed)
        ml.save(case.image, folder / f"Case{seed:02d}.mhd")
        ml.save(case.mask, folder / f"Case{seed:02d}_segmentation.mhd")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    out = folder.parent / "run"
    succeed("train", folder, "--out", out, "--fold", 0, "--epochs", 40, "--precision", "fp32", "--seed", 3)
    return out


def test_help_of_every_command():
    text = succeed("--help").stdout
    for command in (
        "lab",
        "doctor",
        "info",
        "convert",
        "series",
        "deidentify",
        "train",
        "predict",
        "evaluate",
        "submit",
    ):
        assert command in text
        page = succeed(command, "--help").stdout
        assert page.startswith(f"usage: medlearn {command}")
    assert succeed("--version").stdout.strip() == f"medlearn {ml.__version__}"


def test_unknown_commands_and_options():
    assert "usage: medlearn" in fail()
    assert "invalid choice" in fail("teach")
    assert "unrecognized arguments: --fast" in fail("doctor", "--fast")


def test_doctor_finds_what_is_installed():
    text = succeed("doctor").stdout
    for topic in ("python", "torch", "jupyterlab", "accelerator", "disk", "built-in phantom"):
        assert topic in text
    assert "!!" not in text


def test_info(folder):
    text = succeed("info", folder / "Case00.mhd").stdout
    assert "6 × 48 × 48" in text
    assert "3 × 1 × 1 mm" in text
    facts = json.loads(succeed("info", folder / "Case00.mhd", "--json").stdout)
    assert facts["shape"] == [6, 48, 48]
    assert facts["origin"] == [-20.0, 5.0, 30.0]
    assert "there is no file" in fail("info", folder / "Case99.mhd")
    assert "Case00.raw" in fail("info", folder / "Case00.raw")


def test_convert_there_and_back(folder, tmp_path):
    for name in ("a.nrrd", "a.nii.gz", "a.mha"):
        succeed("convert", folder / "Case00.mhd", tmp_path / name)
        np.testing.assert_array_equal(ml.load(tmp_path / name).array, blob_case(0).image.array)
    assert "b.png" in fail("convert", folder / "Case00.mhd", tmp_path / "b.png")
    assert "b.xyz" in fail("convert", folder / "Case00.mhd", tmp_path / "b.xyz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mha", "a.nii.gz", "a.nrrd"]


def test_train_predict_evaluate(folder, run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    assert config["held_out_cases"] == ["Case00"]  # five folds of five cases
    assert config["training_cases"] == ["Case01", "Case02", "Case03", "Case04"]
    assert config["train"]["seed"] == 3
    assert config["complete"]

    succeed("predict", run, folder, "--held-out", "--probabilities", "--out", tmp_path / "pred")
    names = sorted(path.name for path in (tmp_path / "pred").iterdir())
    assert names == [
        "Case00_probabilities.mha",
        "Case00_segmentation.mhd",
        "Case00_segmentation.raw",
        "predictions.json",
    ]
    pred = ml.load(tmp_path / "pred" / "Case00_segmentation.mhd")
    assert pred.grid_distance(blob_case(0).image) == 0
    probabilities = ml.load(tmp_path / "pred" / "Case00_probabilities.mha")
    np.testing.assert_array_equal(probabilities.array >= 0.5, pred.array == 1)

    text = succeed("evaluate", tmp_path / "pred", folder, "--out", tmp_path / "report").stdout
    assert "1 cases, held out" in text
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["cases"][0]["dice"] == pytest.approx(ml.dice(pred.array, blob_case(0).mask.array))
    assert content["cases"][0]["dice"] > 0.9


def test_predict_a_whole_folder_goes_on_after_a_broken_file(folder, run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("Case01.mhd", "Case01.raw", "Case02.mhd"):  # Case02 lacks its voxels
        (data / name).write_bytes((folder / name).read_bytes())
    result = medlearn("predict", run, data, "--out", tmp_path / "pred")
    assert result.returncode == 1
    assert "Case02" in result.stderr
    assert (tmp_path / "pred" / "Case01_segmentation.mhd").exists()
    assert "no prediction: Case02" in fail("evaluate", tmp_path / "pred", folder, "--out", tmp_path / "report")


def test_predict_one_file(folder, run, tmp_path):
    ml.save(ml.load(folder / "Case03.mhd"), tmp_path / "scan.nii.gz")
    succeed("predict", run, tmp_path / "scan.nii.gz", "--out", tmp_path / "pred")
    assert (tmp_path / "pred" / "scan_segmentation.nii.gz").exists()
    assert "no reference mask for: scan" in fail("evaluate", tmp_path / "pred", folder, "--out", tmp_path / "r")


def test_dicom_in_and_out(folder, run, tmp_path):
    case = blob_case(1)
    ml.dicom.save_series(case.image, tmp_path / "scan")
    lines = succeed("series", tmp_path / "scan").stdout.splitlines()
    assert len(lines) == 2
    assert "6 image(s)  6×48×48 voxels of 3×1×1 mm" in lines[1]
    succeed("convert", tmp_path / "scan", tmp_path / "scan.nrrd", "--series", lines[0])
    np.testing.assert_array_equal(ml.load(tmp_path / "scan.nrrd").array, case.image.array)
    assert "no-such-uid" in fail("convert", tmp_path / "scan", tmp_path / "b.nrrd", "--series", "no-such-uid")
    assert "6 files of 1 series" in succeed("deidentify", tmp_path / "scan", tmp_path / "safe").stdout
    assert ml.load(tmp_path / "safe").shape == case.image.shape
    succeed("predict", run, tmp_path / "scan", "--out", tmp_path / "pred")
    assert ml.load(tmp_path / "pred" / "scan_segmentation.nii.gz").shape == case.image.shape


def test_evaluate_tells_seen_from_held_out(folder, run, tmp_path):
    succeed("predict", run, folder, "--out", tmp_path / "pred")
    text = succeed("evaluate", tmp_path / "pred", folder, "--out", tmp_path / "report").stdout
    assert "1 cases, held out" in text
    assert "4 cases, seen in training" in text


def test_interrupt_and_resume(folder, tmp_path):
    """Ctrl-C ends training with status 130 and a usable run; --resume ends with the weights of an undisturbed run."""
    arguments = ["train", folder, "--epochs", "40", "--precision", "fp32", "--val", "Case02,Case04"]
    succeed(*arguments, "--out", tmp_path / "straight")

    command = [sys.executable, "-m", "medlearn", *map(str, arguments), "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        history = tmp_path / "run" / "history.csv"
        deadline = time.monotonic() + 120
        while not history.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.stderr.read()
    assert process.returncode == 130
    assert not json.loads((tmp_path / "run" / "config.json").read_text())["complete"]
    succeed("predict", tmp_path / "run", folder / "Case00.mhd", "--out", tmp_path / "pred")

    succeed("train", folder, "--out", tmp_path / "run", "--resume")
    a, b = (ml.Run(tmp_path / name).model.state_dict() for name in ("straight", "run"))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert "other settings" in fail("train", folder, "--out", tmp_path / "run", "--resume", "--epochs", 50)


def test_the_budget_of_half_a_minute(tmp_path):
    started = time.monotonic()
    # The small network: with the other one a prediction takes seconds where the processors are shared, more or less.
    options = ["--preset", "unet2d-small", "--val", "phantom-0001", "--minutes", 0.5]
    succeed("train", "phantom:6", *options, "--out", tmp_path / "run")
    total = time.monotonic() - started
    seconds = ml.Run(tmp_path / "run").history["seconds"].iloc[-1]
    assert abs(seconds - 30) <= 5
    assert total < 30 + 5 + 60  # imports, reading and timing of arithmetic come before the clock


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fold", "7"], "--fold must lie between 0 and 4"),
        (["--val", "Case77"], "unknown cases: Case77"),
        (["--labels", "gland"], "NAME=VALUE"),
        (["--labels", "gland=one"], "NAME=VALUE"),
        (["--labels", "gland=9"], "gland = 9"),
        (["--epochs", "0"], "epochs must be a positive number"),
        (["--minutes", "1", "--epochs", "1"], "not allowed with"),
        (["--preset", "unet5d"], "--preset must be one of 'unet2d'"),
        (["--device", "quantum"], "Try device='auto'"),
        (["--precision", "fp8"], "precision must be one of"),
        (["--resume"], "is not a training run"),
    ],
)
def test_train_refuses_wrong_input(folder, tmp_path, arguments, message):
    assert message in fail("train", folder, "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()


def test_train_refuses_bad_cases_unless_told_to_skip_them(folder, run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in folder.iterdir():
        (data / path.name).write_bytes(path.read_bytes())
    (data / "Case03_segmentation.raw").write_bytes(b"short")
    message = fail("train", data, "--out", tmp_path / "run", "--epochs", 1)
    assert "Case03" in message
    assert not (tmp_path / "run").exists()
    result = succeed("train", data, "--out", tmp_path / "run", "--epochs", 1, "--skip-bad")
    assert "left out: Case03" in result.stderr
    assert "no case is held out" in result.stderr
    assert len(ml.Run(tmp_path / "run").config["training_cases"]) == 4
    assert "exists" in fail("train", data, "--out", tmp_path / "run", "--epochs", 1, "--skip-bad")
    assert "held no case out" in fail("predict", tmp_path / "run", data, "--held-out", "--out", tmp_path / "p")


def test_predict_and_evaluate_refuse_wrong_input(folder, run, tmp_path):
    assert "not a training run" in fail("predict", tmp_path, folder, "--out", tmp_path / "p")
    assert "no such folder" in fail("predict", run, tmp_path / "nowhere", "--out", tmp_path / "p")
    assert "lacks held-out cases" in fail("predict", run, "phantom:1", "--held-out", "--out", tmp_path / "p")
    assert "predictions.json" in fail("evaluate", folder, folder, "--out", tmp_path / "r")


def test_lab_copies_the_notebooks_once(tmp_path):
    from medlearn.lab import copy_notebooks

    new = copy_notebooks(tmp_path)
    assert "00_quick_start.ipynb" in {path.name for path in new}
    (tmp_path / "00_quick_start.ipynb").write_text("a student's own work")
    assert copy_notebooks(tmp_path) == []
    assert (tmp_path / "00_quick_start.ipynb").read_text() == "a student's own work"


def test_lab_disables_what_asks_other_servers_unless_it_was_enabled(tmp_path, monkeypatch):
    from medlearn import lab

    commands = []
    monkeypatch.setattr(lab.subprocess, "run", lambda command, **_: commands.append(command))
    config = tmp_path / "page_config.json"
    lab.disable_network_extensions(config)
    news, imjoy = lab._NETWORK_EXTENSIONS
    assert commands.pop()[-3:] == ["disable", news, imjoy]
    config.write_text(json.dumps({"disabledExtensions": {imjoy: False}}))  # by `jupyter labextension enable`
    lab.disable_network_extensions(config)
    assert commands.pop()[-2:] == ["disable", news]
    config.write_text(json.dumps({"disabledExtensions": {imjoy: True, news: True}}))
    lab.disable_network_extensions(config)
    assert not commands


def test_lab_serves_jupyterlab(tmp_path):
    command = [sys.executable, "-m", "medlearn", "lab", "--folder", str(tmp_path / "work")]
    command += ["--no-browser", "--port", "18899", "--ServerApp.token=", "--allow-root"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    log = Path(tmp_path / "log")
    with log.open("w") as file, subprocess.Popen(command, stderr=file, stdout=file, env=environment) as process:
        try:
            deadline = time.monotonic() + 60
            while "18899/lab" not in log.read_text() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.2)
            assert "18899/lab" in log.read_text(), log.read_text()
        finally:
            process.terminate()


def test_submit_writes_one_checked_archive(tmp_path):
    (tmp_path / "pred").mkdir()
    mask = ml.Volume(array=np.pad(np.ones((1, 2, 2), np.uint8), 1), spacing=(3, 1, 1))
    ml.save(mask, tmp_path / "pred" / "Case00_segmentation.nii.gz")
    description = {"requested": ["Case00"], "files": {"Case00": "Case00_segmentation.nii.gz"}, "labels": {"gland": [1]}}
    (tmp_path / "pred" / "predictions.json").write_text(json.dumps(description))
    assert "1 case" in succeed("submit", tmp_path / "pred", "--out", tmp_path / "out.zip").stdout
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert sorted(archive.namelist()) == ["Case00_segmentation.mhd", "Case00_segmentation.raw"]
    assert "out.zip exists" in fail("submit", tmp_path / "pred", "--out", tmp_path / "out.zip")
