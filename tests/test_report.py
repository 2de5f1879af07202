import json
import math

import numpy as np
import pandas as pd
import pytest
from blobs import blob_case

import medlearn as ml
from medlearn.report import Predictions, evaluate_cases, format_report, summarize, write_report


@pytest.fixture
def folders(tmp_path):
    """References, and predictions that are one voxel too far left; the last one is empty."""
    references, predictions = tmp_path / "references", tmp_path / "predictions"
    references.mkdir()
    predictions.mkdir()
    for seed in range(3):
        case = blob_case(seed)
        ml.save(case.image, references / f"{case.id}.mha")
        ml.save(case.mask.map(lambda m: m * 2), references / f"{case.id}_segmentation.mha")
        pred = np.roll(case.mask.array, -1, axis=2) * (seed < 2)
        ml.save(case.mask.map(lambda m, pred=pred: pred), predictions / f"{case.id}_segmentation.mha")
    files = {f"blob-0{seed}": f"blob-0{seed}_segmentation.mha" for seed in range(3)}
    Predictions(predictions, list(files), files, {"gland": [2]}, ["blob-00"], "run").save()
    return predictions, references


def test_evaluation_of_a_folder(folders, tmp_path):
    predictions, references = folders
    table = evaluate_cases(Predictions.open(predictions), ml.cases(references))
    assert table["group"].tolist() == ["seen in training", "held out", "held out"]
    assert table["label"].unique().tolist() == ["gland"]
    mask = blob_case(1).mask
    moved = mask.map(np.roll, -1, axis=2)
    assert table["dice"][1] == ml.dice(moved.array, mask.array)
    assert table["hausdorff95"][1] == 1.0  # one voxel of 1 mm
    assert table["dice"][2] == 0
    assert table["hausdorff95"][2] == math.inf
    assert table["relative_volume_difference"][2] == -1

    text = write_report(table, tmp_path / "report").read_text()
    assert "2 cases, held out" in text
    assert "1 cases, seen in training" in text
    assert "-100.0" in text
    content = json.loads((tmp_path / "report" / "report.json").read_text())
    assert content["cases"][2]["hausdorff95"] is None
    back = pd.read_csv(tmp_path / "report" / "cases.csv")
    np.testing.assert_allclose(back["dice"], table["dice"], atol=1e-5)
    assert format_report(table) == text


def test_a_failed_case_does_not_drop_out_of_the_mean(folders):
    summary = summarize(evaluate_cases(Predictions.open(folders[0]), ml.cases(folders[1])))
    held_out = summary[summary["group"] == "held out"].set_index("measure")
    assert held_out.loc["hausdorff95", "mean"] == math.inf
    assert held_out.loc["hausdorff95", "worst"] == math.inf
    assert held_out.loc["dice", "worst"] == 0
    assert held_out.loc["relative_volume_difference", "worst"] == -1
    assert held_out.loc["dice", "cases"] == 2


def test_missing_predictions_and_references_are_named(folders):
    predictions, references = folders
    opened = Predictions.open(predictions)
    lacking = Predictions(predictions, [*opened.requested, "blob-07"], opened.files, opened.labels)
    with pytest.raises(FileNotFoundError, match="no prediction: blob-07"):
        evaluate_cases(lacking, ml.cases(references))
    (references / "blob-01_segmentation.mha").unlink()
    with pytest.raises(FileNotFoundError, match="no reference mask for: blob-01"):
        evaluate_cases(opened, ml.cases(references))
    with pytest.raises(FileNotFoundError, match=r"predictions\.json"):
        Predictions.open(references)


def test_a_prediction_on_another_grid_is_refused(folders):
    predictions, references = folders
    pred = ml.load(predictions / "blob-00_segmentation.mha")
    ml.save(ml.crop(pred, (0, 0, 0), (6, 48, 40)), predictions / "blob-00_segmentation.mha")
    with pytest.raises(ml.GridMismatchError):
        evaluate_cases(Predictions.open(predictions), ml.cases(references))
