import json
import math
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from blobs import blob_case
from scipy import ndimage, stats
from scipy.spatial import cKDTree

import medlearn as ml
from medlearn.cli import main
from medlearn.report import (
    Predictions,
    compare_tables,
    evaluate_cases,
    failures,
    format_report,
    read_table,
    summarize,
    worst_cases,
    write_report,
)
from medlearn.statistics import bootstrap_interval


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
    np.testing.assert_array_equal(back["dice"], table["dice"])
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


def test_failures_are_counted_and_named(folders):
    table = evaluate_cases(Predictions.open(folders[0]), ml.cases(folders[1]))
    assert failures(table).tolist() == ["", "", "empty prediction"]
    assert "1 of them failed, and count in the means:\n  blob-02: empty prediction" in format_report(table)
    both_empty = table.assign(dice=1.0, hausdorff95=math.nan, relative_volume_difference=math.nan)
    assert not failures(both_empty).any()
    assert failures(table.assign(dice=0.0, relative_volume_difference=0.1)).eq("no overlap").all()
    nothing_to_find = table.assign(dice=0.0, relative_volume_difference=math.inf)
    assert failures(nothing_to_find).eq("empty reference, but a prediction").all()


def made_up(n=8, *, seed=0, group="held out", parts=("whole",)):
    """A table of numbers that nobody measured, to test what is done with them."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for part in parts:
            dice, volume = rng.uniform(0.7, 0.95), 30.0 + i
            row = {"case": f"case {i}", "label": "gland", "part": part, "group": group, "dice": dice}
            row |= {"hausdorff95": rng.uniform(1, 9), "average_boundary_distance": rng.uniform(0.2, 2)}
            row |= {"relative_volume_difference": rng.uniform(-0.2, 0.2), "surface_dice": rng.uniform(0.5, 1)}
            row |= {"pred_volume_ml": volume * (1 + row["relative_volume_difference"]), "target_volume_ml": volume}
            rows.append(row)
    return pd.DataFrame(rows)


def test_means_have_bootstrap_intervals_and_groups_stay_apart():
    table = pd.concat([made_up(8), made_up(5, seed=1, group="seen in training")], ignore_index=True)
    table.loc[0, "hausdorff95"], table.loc[1, "hausdorff95"] = math.inf, math.nan
    summary = summarize(table).set_index(["group", "measure"])
    held_out = table[table["group"] == "held out"]
    row = summary.loc[("held out", "dice")]
    assert row["mean"] == pytest.approx(held_out["dice"].mean())
    assert (row["low"], row["high"]) == bootstrap_interval(held_out["dice"])
    assert row["cases"] == 8
    row = summary.loc[("held out", "hausdorff95")]
    assert (row["undefined"], row["infinite"], row["mean"], row["high"]) == (1, 1, math.inf, math.inf)
    assert math.isfinite(row["median"])
    assert len(summary) == 2 * 5


def test_a_table_comes_back_as_it_was_written(tmp_path):
    table = made_up(4)
    table["case"] = ["007", "NA", 'a "b", <c>', "µ $x$"]
    table.loc[1, "hausdorff95"], table.loc[2, "hausdorff95"] = math.inf, math.nan
    write_report(table, tmp_path)
    pd.testing.assert_frame_equal(read_table(tmp_path)[table.columns], table, check_dtype=False, check_exact=True)
    table.drop(columns="part").to_csv(tmp_path / "cases.csv", index=False)  # as the first version wrote it
    assert read_table(tmp_path)["part"].eq("whole").all()


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no cases\.csv"):
        read_table(tmp_path)
    (tmp_path / "cases.csv").write_text("name,score\na,1\n")
    with pytest.raises(ValueError, match="no table of cases"):
        read_table(tmp_path)


def test_comparison_of_two_runs_agrees_with_scipy():
    ours, other = made_up(12, seed=1), made_up(12, seed=2).sample(frac=1, random_state=0)
    found = compare_tables(ours, other).set_index("measure")
    theirs = other.set_index("case").loc[ours["case"]].reset_index()
    differences = ours["dice"] - theirs["dice"]
    row = found.loc["dice"]
    assert row["mean_difference"] == pytest.approx(differences.mean())
    assert row["p_value"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert (row["n_better"], row["n_worse"]) == ((differences > 0).sum(), (differences < 0).sum())
    distances = ours["hausdorff95"] - theirs["hausdorff95"]
    assert found.loc["hausdorff95", "n_better"] == (distances < 0).sum()
    sizes = ours["relative_volume_difference"].abs() - theirs["relative_volume_difference"].abs()
    assert found.loc["relative_volume_difference", "mean_difference"] == pytest.approx(sizes.mean())
    assert found.loc["relative_volume_difference", "n_better"] == (sizes < 0).sum()


def test_comparison_keeps_failures_and_counts_what_it_leaves_out():
    ours, other = made_up(6, seed=1), made_up(6, seed=2)
    other.loc[0, "hausdorff95"], other.loc[1, "hausdorff95"] = math.inf, math.nan
    row = compare_tables(ours, other).set_index("measure").loc["hausdorff95"]
    assert (row["n"], row["undefined"], row["mean_difference"]) == (5, 1, -math.inf)
    nothing = compare_tables(ours, other.assign(hausdorff95=math.nan)).set_index("measure").loc["hausdorff95"]
    assert (nothing["n"], nothing["undefined"]) == (0, 6)
    assert math.isnan(nothing["p_value"])


def test_runs_that_cannot_be_compared_are_refused():
    table = made_up(4)
    with pytest.raises(ValueError, match=r"only in this one: case 3 \(gland, whole\)"):
        compare_tables(table, table[:3])
    with pytest.raises(ValueError, match=r"only in the other one: case 3"):
        compare_tables(table[:3], table)
    seen = table.assign(group=["seen in training", *["held out"] * 3])
    with pytest.raises(ValueError, match=r"seen in training by the other: case 0 \(gland, whole\)"):
        compare_tables(table, seen)
    with pytest.raises(ValueError, match="differ in volume: case 0"):
        compare_tables(table, table.assign(target_volume_ml=[29.0, 31, 32, 33]))


class Page(HTMLParser):
    """What a page asks for, its tags and its text."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tags, self.words, self.ids, self.alternatives = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.addresses += [attributes[a] for a in ("src", "href", "xlink:href", "action") if a in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.alternatives += [attributes.get("aria-label")] if tag == "svg" else []

    def handle_data(self, data):
        self.words.append(data)


NASTY = "<script>alert(\"$x$\")</script> & 'c'"


def test_the_page_stands_alone_and_shows_names_as_they_are(folders, tmp_path):
    predictions, references = Predictions.open(folders[0]), ml.cases(folders[1])
    names = {"blob-00": "blob-00", "blob-01": NASTY, "blob-02": "blob-02"}
    back = {name: case_id for case_id, name in names.items()}
    files = {names[i]: file for i, file in predictions.files.items()}
    predictions = replace(predictions, requested=list(files), files=files, labels={"<gland> $a_b$": [2]})
    references = replace(
        references,
        ids=tuple(back),
        read_image=lambda i: ml.cases(folders[1]).read_image(back[i]),
        read_mask=lambda i: ml.cases(folders[1]).read_mask(back[i]),
    )
    table = evaluate_cases(predictions, references)
    worst = worst_cases(table, predictions, references)
    write_report(table, tmp_path, worst=worst, comparison=compare_tables(table, table))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses), page.addresses
    assert not re.search(r"@import|url\((?!#|data:)", text)
    assert not {"script", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids)), "ids of the figures must differ"
    assert all(page.alternatives)
    assert len(page.alternatives) == page.tags.count("figure") > 10
    words = "".join(page.words)
    assert NASTY in words
    assert text.count(">&lt;gland&gt; $a_b$</text>") == 10  # below each box, not as a formula
    assert "infinite" in words
    assert not re.search(r"\b(nan|inf|NaN|None)\b", words)
    assert "Seen in training: 1 case" in words
    assert "1 of 2 cases failed" in words


def test_the_same_report_gives_the_same_page(tmp_path):
    for name in "ab":
        write_report(made_up(), tmp_path / name)
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_extreme_reports_can_be_written(tmp_path):
    one = made_up(1).assign(group="seen in training")
    write_report(one, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Every case was seen in training" in text
    assert "needs at least two cases" in text
    failed = made_up(2).assign(dice=0.0, hausdorff95=math.inf, average_boundary_distance=math.inf, pred_volume_ml=0.0)
    write_report(failed.assign(relative_volume_difference=-1.0), tmp_path)
    assert "2 of 2 cases failed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    undefined = dict.fromkeys(["hausdorff95", "average_boundary_distance", "relative_volume_difference"], math.nan)
    write_report(made_up(2).assign(dice=1.0, surface_dice=math.nan, **undefined), tmp_path)
    assert "not defined" in (tmp_path / "report.html").read_text(encoding="utf-8")
    pictures = made_up(3).assign(pred_volume_ml=math.nan, target_volume_ml=math.nan)
    write_report(pictures, tmp_path)
    assert "Pictures have no volume" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_worst_cases_and_their_slices(folders):
    predictions, references = Predictions.open(folders[0]), ml.cases(folders[1])
    table = evaluate_cases(predictions, references)
    worst = worst_cases(table, predictions, references)
    assert [(case.group, case.case) for case in worst] == [
        ("held out", "blob-02"),
        ("held out", "blob-01"),
        ("seen in training", "blob-00"),
    ]
    areas = blob_case(2).mask.array.sum((1, 2))
    assert areas[worst[0].z] == areas.max()  # the prediction is empty
    np.testing.assert_array_equal(worst[0].image.array, blob_case(2).image.array)
    assert len(worst_cases(table, predictions, references, n=1)) == 2


def test_worst_cases_without_a_usable_image(folders, tmp_path):
    predictions, references = Predictions.open(folders[0]), ml.cases(folders[1])
    table = evaluate_cases(predictions, references)

    def missing(case_id):
        raise FileNotFoundError(case_id)

    for read_image in (None, missing, lambda i: ml.crop(blob_case(0).image, (0, 0, 0), (6, 40, 40))):
        worst = worst_cases(table, predictions, replace(references, read_image=read_image), n=1)
        assert worst[0].image is None
    write_report(table, tmp_path, worst=worst)
    assert "no image on this grid" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_single_voxel_and_a_huge_slice_are_drawn(folders, tmp_path):
    predictions, references = Predictions.open(folders[0]), ml.cases(folders[1])
    case = worst_cases(evaluate_cases(predictions, references), predictions, references, n=1)[0]
    one = np.zeros(case.target.shape, bool)
    one[3, 47, 0] = True
    every = ml.Volume(array=np.pad(np.ones((1, 1400, 1400), bool), ((0, 0), (99, 1), (1, 99))), spacing=(1.0, 1.0, 1.0))
    noise = every.map(lambda a: np.where(a, np.random.default_rng(0).normal(size=a.shape), np.nan))
    huge = replace(case, target=every, pred=every.map(np.roll, 20, axis=2), image=noise, z=0)
    small = replace(case, target=case.target.map(lambda _: one), z=3)
    write_report(made_up(), tmp_path, worst=[small, huge])
    assert (tmp_path / "report.html").stat().st_size < 2_000_000  # 8 MB with all pixels


def test_pictures_are_drawn(tmp_path):
    case = blob_case(0)
    image, mask = (
        ml.Volume(array=np.ascontiguousarray(v.array[3]), spacing=(1.0, 1.0), axes="yx").map(np.uint8)
        for v in (case.image, case.mask)
    )
    for name, volume in (("images/a.png", image), ("masks/a.png", mask), ("pred/a.png", mask.map(np.roll, 2, axis=1))):
        (tmp_path / name).parent.mkdir()
        ml.save(volume, tmp_path / name)
    predictions, references = Predictions(tmp_path / "pred", ["a"], {"a": "a.png"}, {"x": [1]}), ml.cases(tmp_path)
    table = evaluate_cases(predictions, references)
    worst = worst_cases(table, predictions, references)
    assert worst[0].z == 0
    assert worst[0].image is not None
    write_report(table, tmp_path / "report", worst=worst)


def tall_folders(tmp_path, monkeypatch):
    """Twelve slices, two cases; two runs that are one and two voxels off."""
    references = tmp_path / "references"
    references.mkdir()
    for seed in range(2):
        case = blob_case(seed, shape=(12, 48, 48))
        ml.save(case.image, references / f"{case.id}.mha")
        ml.save(case.mask, references / f"{case.id}_segmentation.mha")
        for shift in (1, 2):
            folder = tmp_path / f"run{shift}"
            folder.mkdir(exist_ok=True)
            ml.save(case.mask.map(np.roll, shift, axis=2), folder / f"{case.id}.mha")
    files = {f"blob-0{seed}": f"blob-0{seed}.mha" for seed in range(2)}
    for shift in (1, 2):
        Predictions(tmp_path / f"run{shift}", list(files), files, {"gland": [1]}).save()
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # the command replaces it
    return references


def test_the_command_with_parts_and_comparison(tmp_path, monkeypatch, capsys):
    references = tall_folders(tmp_path, monkeypatch)
    arguments = [str(references), "--parts", "--out"]
    assert main(["evaluate", str(tmp_path / "run2"), *arguments, str(tmp_path / "b")]) == 0
    other = ["--compare", str(tmp_path / "b")]
    assert main(["evaluate", str(tmp_path / "run1"), *arguments, str(tmp_path / "a"), *other]) == 0
    text = capsys.readouterr().out
    assert "compared with the other report, held out" in text
    table = read_table(tmp_path / "a")
    assert table["part"].tolist() == ["whole", "base", "mid", "apex"] * 2
    mask = ml.load(references / "blob-01_segmentation.mha")
    parts = ml.promise12.evaluate(ml.load(tmp_path / "run1" / "blob-01.mha"), mask)
    for part, metrics in parts.items():
        row = table[(table["case"] == "blob-01") & (table["part"] == part)].iloc[0]
        assert (row["dice"], row["hausdorff95"]) == (metrics.dice, metrics.hausdorff95)
    content = json.loads((tmp_path / "a" / "report.json").read_text())
    assert {row["part"] for row in content["comparison"]} == {"whole", "base", "mid", "apex"}
    dice = next(row for row in content["comparison"] if row["measure"] == "dice" and row["part"] == "whole")
    assert (dice["n_better"], dice["n"], dice["p_value"]) == (2, 2, 0.5)
    page = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "Compared with the other report" in page
    assert page.count("(Wilcoxon)") == 1
    assert (
        main(["evaluate", str(tmp_path / "run1"), *arguments, str(tmp_path / "c"), "--compare", str(references)]) == 2
    )
    assert "comes from `medlearn evaluate`" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_reference_without_thirds_is_named(folders):
    predictions, references = Predictions.open(folders[0]), ml.cases(folders[1])
    flat = replace(
        references, read_mask=lambda i: references.read_mask(i).map(lambda m: m * (np.arange(6) == 3)[:, None, None])
    )
    with pytest.raises(ValueError, match=r"case blob-00, label gland has no base, middle and apex .*3 slices"):
        evaluate_cases(predictions, flat, parts=True)


def surface_points(mask, spacing):
    inside = ndimage.binary_erosion(mask, border_value=0)
    return np.argwhere(mask & ~inside) * spacing


def test_real_masks_against_independent_computations(real_data, tmp_path):
    """Shifted and eroded references; Dice and distances by SimpleITK and by nearest neighbors of surface points."""
    references = ml.cases(real_data / "promise12").select(["Case03", "Case17"])
    changes = {
        "Case03": lambda m: np.roll(m, (1, 2, -3), (0, 1, 2)),
        "Case17": lambda m: ndimage.binary_erosion(m, iterations=2).astype(np.uint8),
    }
    for case_id, change in changes.items():
        ml.save(references.read_mask(case_id).map(change), tmp_path / f"{case_id}.mha")
    files = {case_id: f"{case_id}.mha" for case_id in changes}
    predictions = Predictions(tmp_path, list(files), files, {"gland": [1]})
    write_report(evaluate_cases(predictions, references), tmp_path / "report")
    for row in read_table(tmp_path / "report").itertuples():
        pred = sitk.ReadImage(tmp_path / f"{row.case}.mha")
        target = sitk.ReadImage(real_data / "promise12" / f"{row.case}_segmentation.mhd", pred.GetPixelID())
        overlap, distance = sitk.LabelOverlapMeasuresImageFilter(), sitk.HausdorffDistanceImageFilter()
        overlap.Execute(pred, target)
        distance.Execute(pred, target)
        assert row.dice == pytest.approx(overlap.GetDiceCoefficient())
        assert row.jaccard == pytest.approx(overlap.GetJaccardCoefficient())
        arrays = [sitk.GetArrayFromImage(image) > 0 for image in (pred, target)]
        spacing = np.array(target.GetSpacing()[::-1])
        p, t = (surface_points(array, spacing) for array in arrays)
        there, back = cKDTree(t).query(p)[0], cKDTree(p).query(t)[0]
        assert row.hausdorff95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
        assert row.hausdorff == pytest.approx(max(there.max(), back.max()))
        assert row.average_boundary_distance == pytest.approx(np.concatenate([there, back]).mean())
        near = (there <= 1).sum() + (back <= 1).sum()
        assert row.surface_dice == pytest.approx(near / (len(there) + len(back)))
        n_pred, n_target = (array.sum() for array in arrays)
        assert row.relative_volume_difference == pytest.approx(n_pred / n_target - 1)
        assert row.target_volume_ml == pytest.approx(n_target * spacing.prod() / 1000)
