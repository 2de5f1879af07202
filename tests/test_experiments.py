"""The experiments of the book: each runs at its quick size, and what a chapter quotes is what was measured."""

import ast
import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import medlearn
from medlearn.datasets import cases as load_cases

BOOK = Path(__file__).resolve().parents[1] / "book"
sys.path.insert(0, str(BOOK / "experiments"))  # scripts of the book, not a part of the library

import experiment as frame  # noqa: E402

NAMES = sorted(path.stem for path in (BOOK / "experiments").glob("[0-9]*_*.py"))
CIRCUMSTANCES = {"experiment", "size", "date", "commit", "hardware", "versions", "seeds"}


@pytest.mark.parametrize("name", NAMES)
def test_quick_run_writes_what_was_stored(name, tmp_path, capsys):
    record = import_module(name).main(["--quick", "--out", str(tmp_path / "record.json")])
    written = json.loads((tmp_path / "record.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(record))
    assert written["size"] == "quick"
    assert capsys.readouterr().out, "the quick run is made to be looked at"

    stored = json.loads((BOOK / "results" / f"{name}.json").read_text("utf-8"))
    assert stored["size"] == "full"
    assert stored["experiment"] == name
    assert set(stored) >= CIRCUMSTANCES
    assert set(stored) == set(written), "the stored results come from another version of the script"


@pytest.mark.parametrize("name", NAMES)
def test_size_must_be_chosen(name, capsys):
    with pytest.raises(SystemExit):
        import_module(name).main([])
    assert "--quick --full" in capsys.readouterr().err


def test_quick_run_leaves_the_stored_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "RESULTS", tmp_path)
    script = str(tmp_path / "99_nothing.py")
    frame.conduct(script, lambda quick: {"seeds": [0], "quick": quick}, ["--quick"])
    assert list(tmp_path.iterdir()) == []
    record = frame.conduct(script, lambda quick: {"seeds": [0], "quick": quick}, ["--full"])
    assert json.loads((tmp_path / "99_nothing.json").read_text("utf-8")) == record
    assert (record["size"], record["quick"], record["seeds"]) == ("full", False, [0])
    assert [path.name for path in tmp_path.iterdir()] == ["99_nothing.json"]


def test_results_without_seeds_or_with_nan_are_refused(tmp_path):
    out = tmp_path / "record.json"
    with pytest.raises(ValueError, match="seeds"):
        frame.conduct("99_nothing.py", lambda quick: {}, ["--quick", "--out", str(out)])
    with pytest.raises(ValueError, match="nan"):
        frame.conduct("99_nothing.py", lambda quick: {"seeds": [np.nan]}, ["--quick", "--out", str(out)])
    assert not out.exists()


# chapter 5, the ladder


def literal(chapter: str, name: str) -> dict:
    """A dictionary that stands in a code cell of a chapter."""
    source = (BOOK / "chapters" / f"{chapter}.md").read_text("utf-8")
    return ast.literal_eval(source.split(f"\n{name} = ")[1].split("\n}\n")[0] + "\n}")


@pytest.fixture(scope="module")
def quoted() -> dict[str, tuple[float, float]]:
    """Mean Dice of every rung as chapter 5 quotes it: on real cases, on phantoms."""
    return literal("05_rules", "ladder")


def test_chapter_5_quotes_the_stored_ladder(quoted):
    stored = json.loads((BOOK / "results" / "05_ladder.json").read_text("utf-8"))
    assert {rung: phantom for rung, (_, phantom) in quoted.items()} == {
        rung: pytest.approx(mean, abs=0.0051) for rung, mean in stored["mean_dice"].items()
    }
    chapter = (BOOK / "chapters" / "05_rules.md").read_text("utf-8")
    assert f"{len(stored['seeds'])} phantoms" in chapter
    assert min(stored["seeds"]) >= 60, "the shipped network has seen phantoms 0 to 59"


def test_ladder_on_real_cases(real_data, quoted):
    """Every rule stays below the ellipsoid that never looks, and all rungs are where chapter 5 says they are."""
    cases = load_cases(real_data / "promise12")
    images, masks = zip(*((case.image.array, case.mask.array > 0) for case in cases), strict=True)
    means = {rung: np.mean(dice) for rung, dice in import_module("05_ladder").ladder(images, masks).items()}
    blind = min(means["one fixed ellipsoid"], means["mean shape of the others"])
    rules = [mean for rung, mean in means.items() if rung not in ("one fixed ellipsoid", "mean shape of the others")]
    assert len(rules) == 4
    assert max(rules) < blind - 0.2
    for rung, mean in means.items():
        assert mean == pytest.approx(quoted[rung][0], abs=0.03), rung


# chapter 10b, the objectives


def test_chapter_10b_quotes_the_stored_objectives():
    stored = json.loads((BOOK / "results" / "10b_objectives.json").read_text("utf-8"))
    assert literal("10b_losses", "objective_dice") == {
        name: pytest.approx(values, abs=0.0051) for name, values in stored["dice"].items()
    }
    assert len(stored["seeds"]) == 5
    assert stored["patients"] == {"training": 16, "held_out": 8}


# chapter 13, the table


def test_chapter_13_quotes_the_stored_table():
    stored = json.loads((BOOK / "results" / "13_table.json").read_text("utf-8"))
    quoted = literal("13_evaluation", "ladder")
    for kind, rows in (("phantoms", quoted["24 phantoms"]), ("real", quoted["35 real cases"])):
        assert list(rows.values()) == [
            pytest.approx((m["mean_dice"]["whole"], *m["interval"], m["worst_dice"]), abs=0.00051)
            for m in stored[kind]["methods"].values()
        ]
    assert len(stored["seeds"]) == 24
    assert min(stored["seeds"]) >= 60, "the shipped network has seen phantoms 0 to 59"
    assert stored["real"]["cases"] == 35
    chapter = (BOOK / "chapters" / "13_evaluation.md").read_text("utf-8").replace("−", "-").replace("\n", " ")
    for step in (stored[kind]["steps"]["voxel MLP"] for kind in ("phantoms", "real")):
        assert f"{step['difference']:.3f}" in chapter
        assert all(f"{end:.3f}" in chapter for end in step["interval"])
        assert f"better in {step['better_in']} of" in chapter


# chapter 11, the dial


@pytest.mark.parametrize(
    ("quoted_as", "stored_as"),
    [("dial_held_out", "dice_held_out"), ("dial_training", "dice_training"), ("dial_auc", "auc")],
)
def test_chapter_11_quotes_the_stored_dial(quoted_as, stored_as):
    stored = json.loads((BOOK / "results" / "11_augmentation.json").read_text("utf-8"))
    assert literal("11_augmentation", quoted_as) == {
        float(strength): pytest.approx(values, abs=0.0051) for strength, values in stored[stored_as].items()
    }
    assert len(stored["seeds"]) == 5
    assert stored["patients"] == {"training": 2, "held_out": 12, "classifier": 24}


def test_chapter_11_claims_what_the_stored_dial_shows():
    stored = json.loads((BOOK / "results" / "11_augmentation.json").read_text("utf-8"))
    held_out, auc = stored["dice_held_out"], stored["auc"]
    assert all(some > none for some, none in zip(held_out["1"], held_out["0"], strict=True)), "with every seed"
    assert min(min(auc[strength]) for strength in auc if strength != "0") > 0.9
    assert np.mean(held_out["4"]) < np.mean(held_out["2"]) - 0.2


# chapter 14a, the families


def test_chapter_14a_quotes_the_stored_families():
    stored = json.loads((BOOK / "results" / "14_families.json").read_text("utf-8"))
    quoted = literal("14a_volumes", "families")
    assert set(quoted) == set(stored["families"])
    for name, row in quoted.items():
        measured = stored["families"][name]
        steps, time = measured["equal_steps"], measured["equal_time"]
        assert (row["parameters"], row["memory_mib"]) == (measured["parameters"], measured["step_memory_mib"])
        for key, values in (("equal_steps", steps["whole"]), ("worst", steps["worst"]), ("apex", steps["apex"])):
            assert row[key] == pytest.approx(values, abs=0.0051), (name, key)
        assert row["equal_time"] == pytest.approx(time["whole"], abs=0.0051), name
        assert row["seconds"] == pytest.approx(np.mean(steps["seconds"]), abs=0.06), name
        assert row["steps"] == pytest.approx(np.mean(time["steps"]), abs=0.51), name
    assert len(stored["seeds"]) == 3


# chapter 12a, the training doctor


@pytest.fixture(scope="module")
def doctor() -> dict:
    """The stored grid and the six runs."""
    return json.loads((BOOK / "results" / "12a_doctor.json").read_text("utf-8"))


def test_chapter_12a_quotes_the_stored_run(doctor):
    quoted, stored = literal("12a_training", "overfitting"), doctor["runs"]["too few patients"][0]
    assert set(quoted) == {"held_out_loss", "held_out"}
    for name, values in quoted.items():
        assert values == pytest.approx(stored[name], abs=0.00051), name
    assert all(len(run[name]) == 20 for runs in doctor["runs"].values() for run in runs for name in run)
    assert stored["held_out_loss"][-1] > 0.125, "the loss of the guess that never looks, which the chapter prints"
    n_settings = np.prod([len(values) for values in doctor["grid"]["axes"].values()])
    assert f"{n_settings} trainings" in (BOOK / "chapters" / "12a_training.md").read_text("utf-8")


def test_chapter_12a_claims_what_the_stored_grid_shows(doctor):
    """At width 8; mean over the last three marks and both draws."""
    axes, curves = doctor["grid"]["axes"], doctor["grid"]["curves"]
    ends = {name: np.array(values, float)[..., 1, :, -3:].mean((0, -1)) for name, values in curves.items()}
    training, held_out = ends["training"], ends["held_out"]  # (cases, rate, augmentation)
    assert (axes["cases"][-1], axes["rate"][2], axes["width"][1], doctor["grid"]["steps"][-1]) == (20, 0.01, 8, 128)
    assert (np.diff(training[:, 2, 0]) < 0).all(), "with more patients the training Dice comes down"
    assert held_out[-1, 2, 0] > held_out[0, 2, 0] + 0.2
    gain = held_out[:, 2, 1] - held_out[:, 2, 0]
    assert gain.argmax() == 0, "augmentation lifts the one patient most"
    assert gain[-2:].max() < 0
    assert held_out[-1, 0, 0] < held_out[-1, 1, 0], "a rate of 1e-4 has not finished"
    assert held_out[-1, 3:, 0].max() < held_out[-1, 1:3, 0].min(), "nor do the large rates end well"


# chapter 12b, the ablation


@pytest.fixture(scope="module")
def ablation() -> dict:
    """The stored ablation on phantoms."""
    return json.loads((BOOK / "results" / "12b_ablation.json").read_text("utf-8"))


def test_chapter_12b_quotes_the_stored_ablation(ablation):
    quoted = literal("12b_case_study", "ablation")
    assert list(quoted) == list(ablation["means"])
    for name, (mean, difference, low, high, of_seeds, seconds) in quoted.items():
        assert mean == pytest.approx(ablation["means"][name], abs=0.00051), name
        assert seconds == pytest.approx(np.mean(ablation["seconds"][name]), abs=0.051), name
        if name != "recipe":
            found = ablation["effects"][name]
            assert [difference, low, high] == pytest.approx([found["difference"], *found["interval"]], abs=0.00051)
            assert of_seeds == pytest.approx(found["of_seeds"], abs=0.00051), name
    assert len(ablation["seeds"]) == 3
    assert ablation["patients"] == {"training": 24, "held_out": 16}
    assert ablation["steps"] == 150


def test_chapter_12b_claims_what_the_stored_ablation_shows(ablation):
    effects, mean = ablation["effects"], ablation["means"]
    beyond = {name for name, effect in effects.items() if effect["beyond_noise"]}
    steps = {"three times the steps", "a third of the draws, equal epochs"}
    assert beyond == steps | {"6 patients, no augmentation", "half the width", "pixels of 6 mm"}
    assert len(effects) - 1 == 18, "with one that cannot make a difference"
    assert mean["three times the steps"] == max(mean.values())
    assert mean["a third of the draws, equal epochs"] == min(mean.values())
    source = (BOOK / "chapters" / "12b_case_study.md").read_text("utf-8")
    dice = ast.literal_eval(source.split("\nphantom_dice = ")[1].split("\n")[0])
    assert dice == pytest.approx(ablation["dice"]["recipe"][0], abs=0.0051)


def test_ablation_interval_worked_by_hand():
    """Equal differences have an interval without width; seeds that disagree are within the noise."""
    effect = import_module("12b_ablation").effect
    found = effect([[0.8, 0.6], [0.7, 0.9]], [[0.7, 0.5], [0.6, 0.8]])
    assert found == {"difference": 0.1, "interval": [0.1, 0.1], "of_seeds": [0.1, 0.1], "beyond_noise": True}
    found = effect([[0.8, 0.6], [0.6, 0.4]], [[0.7, 0.5], [0.7, 0.5]])  # the seeds disagree
    assert found == {"difference": 0.0, "interval": [-0.1, 0.1], "of_seeds": [0.1, -0.1], "beyond_noise": False}


def test_ablation_of_cases_in_a_folder(tmp_path, monkeypatch):
    """Every case is held out once; a size that the header has lost is taken from the field of view."""
    script = import_module("12b_ablation")
    for n in range(5):
        case = medlearn.phantom.prostate(n, shape=(4, 32, 32), spacing=(9.0, 0.5, 0.5))
        medlearn.save(case.image, tmp_path / f"Case{n:02d}.mhd")
        medlearn.save(case.mask, tmp_path / f"Case{n:02d}_segmentation.mhd")
    sizes = script.sizes_for(case.image)
    assert sizes["spacing"] == 1.0
    assert sizes["augment"].elastic_mm == pytest.approx(script.ELASTIC.elastic_mm * 16 / 200)
    assert sizes["augment"].rotation_deg == script.ELASTIC.rotation_deg
    monkeypatch.setattr(script, "REAL_VARIANTS", ("recipe", "no augmentation"))
    monkeypatch.setattr(script.real, "__kwdefaults__", {"n_steps": 1, "seed": 0})
    record = script.main(["--data", str(tmp_path), "--out", str(tmp_path / "record.json")])
    assert json.loads((tmp_path / "record.json").read_text("utf-8")) == json.loads(json.dumps(record))
    assert np.shape(record["dice"]["no augmentation"]) == (1, 5)
    assert set(record["effects"]) == {"no augmentation"}
    assert (record["cases"], record["size"]) == (5, "real")


def test_equal_steps_are_the_same_training(ablation):
    """Draws derive from seed and step: epochs of another length change nothing but how often one looks."""
    assert ablation["dice"]["a third of the draws, equal steps"] == ablation["dice"]["recipe"]
    assert ablation["dice"]["a third of the draws, equal epochs"] != ablation["dice"]["recipe"]


# chapter 14b, the instances


def test_chapter_14b_quotes_the_stored_instances():
    stored = json.loads((BOOK / "results" / "14b_instances.json").read_text("utf-8"))
    quoted = literal("14b_instances", "instances")
    assert list(quoted) == list(stored["methods"])
    for name, row in quoted.items():
        measured = stored["methods"][name]
        assert row["parameters"] == measured["parameters"]
        assert row["ap50"] == pytest.approx([ap[0] for ap in measured["ap"]], abs=0.0051), name
        assert row["ap"] == pytest.approx(np.mean(measured["ap"], axis=0), abs=0.0051), name
        for key in ("count_error", "dice"):
            assert row[key] == pytest.approx(np.mean(measured[key]), abs=0.0051), (name, key)
        assert row["seconds"] == pytest.approx(np.mean(measured["seconds"]), abs=0.51), name
        assert row["predict_ms"] == pytest.approx(np.mean(measured["predict_ms"]), abs=0.51), name
    assert stored["iou"] == pytest.approx(np.arange(0.5, 0.96, 0.05))
    chapter = (BOOK / "chapters" / "14b_instances.md").read_text("utf-8").replace("\n", " ")
    assert len(stored["seeds"]) == 3
    assert f"{stored['pictures']['training']} pictures" in chapter
    assert f"{sum(stored['nuclei'])} nuclei" in chapter


def test_chapter_14b_claims_what_the_stored_instances_show():
    stored = json.loads((BOOK / "results" / "14b_instances.json").read_text("utf-8"))
    methods = stored["methods"]
    pieces, distance, depth, rcnn = (np.array(row["ap"]) for row in methods.values())  # (seeds, thresholds)
    for others in (distance, depth, rcnn):
        assert others[:, 0].min() > pieces[:, 0].max() + 0.1
    assert rcnn[:, 0].min() > distance[:, 0].max(), "Mask R-CNN finds more, with every seed"
    assert distance[:, 7].min() > rcnn[:, 7].max(), "where the outline counts, IoU 0.85, it is behind"
    assert (distance[:, 0] > depth[:, 0]).all(), "the computed distance beats the learned depth"
    nuclei = sum(stored["nuclei"])
    assert all(sum(counted) > 1.1 * nuclei for counted in methods["Mask R-CNN"]["counted"])
    assert all(sum(counted) < nuclei for counted in methods["U-Net, distance, watershed"]["counted"])
    dice = {name: np.array(row["dice"]) for name, row in methods.items()}
    assert dice["U-Net, pieces"].min() > dice["Mask R-CNN"].max()


def test_chapter_14b_quotes_the_stored_families():
    stored = json.loads((BOOK / "results" / "14_families.json").read_text("utf-8"))["families"]
    for name, row in literal("14b_instances", "slice_networks").items():
        measured = stored[name]
        assert row["parameters"] == measured["parameters"]
        for key in ("equal_steps", "equal_time"):
            assert row[key] == pytest.approx(measured[key]["whole"], abs=0.00051), (name, key)
        assert row["seconds"] == pytest.approx(np.mean(measured["equal_steps"]["seconds"]), abs=0.06), name
