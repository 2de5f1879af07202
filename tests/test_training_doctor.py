"""The training doctor in Python: what it shows is what the book's experiment recorded."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import medlearn
from medlearn.check import chapter12a
from medlearn.widgets import TrainingDoctor
from medlearn.widgets.training_doctor import recorded

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book" / "experiments"))  # scripts of the book, not a part of the library


@pytest.fixture(scope="module")
def stored():
    return json.loads((ROOT / "book" / "results" / "12a_doctor.json").read_text("utf-8"))


def test_what_is_installed_is_what_was_recorded(stored):
    shipped = import_module("12a_doctor").shipped(stored)
    assert set(shipped) == {"widgets/training_doctor.json", "check/chapter12a.json"}
    for name, part in shipped.items():
        path = Path(medlearn.__file__).parent / name
        assert json.loads(path.read_text("utf-8")) == part
        assert path.stat().st_size < 100_000


def test_curves_are_those_of_the_setting(stored):
    doctor, axes = TrainingDoctor(), stored["grid"]["axes"]
    seen = set()
    for s, seed in enumerate(axes["seed"]):
        for c, cases in enumerate(axes["cases"]):
            for r in range(len(axes["rate"])):
                for w, width in enumerate(axes["width"]):
                    for a, augmentation in enumerate(axes["augmentation"]):
                        state = {"draw": seed, "cases": cases, "log_rate": r - 4, "width": width}
                        curves = doctor.curves(**state, augmentation=augmentation)
                        for name, nested in stored["grid"]["curves"].items():
                            expected = np.array(nested[s][c][r][w][a], float)
                            np.testing.assert_allclose(curves[name], expected, atol=1e-9)
                        seen.add(curves["held_out"].tobytes() + curves["loss"].tobytes())
    assert axes["rate"] == [10.0 ** (r - 4) for r in range(len(axes["rate"]))]
    assert len(seen) == np.prod([len(values) for values in axes.values()]), "two settings show the same training"


def test_measures_are_measures():
    doctor = TrainingDoctor()
    steps = recorded()["steps"]
    for cases in doctor.controls["cases"]:
        for exponent in doctor.controls["log_rate"]:
            curves = doctor.curves(cases=cases, log_rate=exponent)
            np.testing.assert_array_equal(curves["step"], steps)
            for name in ("training", "held_out"):
                assert ((curves[name] >= 0) & (curves[name] <= 1)).all()


def test_picture_shows_the_curves():
    doctor = TrainingDoctor(cases=1)
    picture = doctor.render()
    assert picture.shape == (360, 560, 3)
    blue = (np.abs(picture.astype(int) - (0, 114, 178)) < 30).all(-1)
    orange = (np.abs(picture.astype(int) - (213, 94, 0)) < 30).all(-1)
    half = slice(280, 560)  # later steps: what was learned by heart lies above what was not
    assert np.median(blue[:300, half].nonzero()[0]) < np.median(orange[:300, half].nonzero()[0])
    assert not np.array_equal(picture, doctor.render(draw=1))


def test_settings_are_checked():
    doctor = TrainingDoctor(cases=20, log_rate=-3, augmentation=True)
    assert "20 patients, rate 1e-3, width 8, with augmentation" in repr(doctor)
    with pytest.raises(ValueError, match="cases must be one of"):
        doctor.cases = 3
    with pytest.raises(ValueError, match="log_rate must be a whole number from -4 to 0; got 1"):
        TrainingDoctor(log_rate=1)
    with pytest.raises(ValueError, match="there is no setting 'depth'"):
        TrainingDoctor(depth=2)
    assert doctor.cases == 20


def test_six_runs_are_diagnosed_with_room_to_spare(stored):
    """Moving every threshold of the reference rules by a fifth changes no diagnosis."""
    assert set(stored["runs"]) == set(chapter12a.CAUSES.values())
    assert sorted(chapter12a.recorded_runs()) == list("ABCDEF")
    names = {name: number for number, name in chapter12a.CAUSES.items()}
    for name, runs in stored["runs"].items():
        for run in runs:
            curves = [np.array(run[key]) for key in ("running", "training", "held_out")]
            assert chapter12a._diagnose(*curves) == names[name]
    gaps = {name: [run["training"][-1] - run["held_out"][-1] for run in runs] for name, runs in stored["runs"].items()}
    jumps = {name: [np.abs(np.diff(run["training"])).mean() for run in runs] for name, runs in stored["runs"].items()}
    assert min(gaps["too few patients"]) > 0.25
    assert max(gaps["healthy"]) < 0.15
    assert min(jumps["rate too high"]) > 0.2
    assert max(*jumps["healthy"], *jumps["too few patients"]) < 0.12
