"""The measure bench in Python: its masks, its measures, what it sends and refuses."""

import json

import numpy as np
import pytest

from medlearn import metrics
from medlearn.widgets import MeasureBench


def gauges(bench):
    return {gauge["name"]: gauge for gauge in bench._gauges["rows"]}


def test_a_shift_of_a_disk():
    measures = MeasureBench(radius=10, right=1).measures()
    assert measures["Dice"] == pytest.approx(0.934, abs=5e-4)
    assert measures["Jaccard"] == pytest.approx(measures["Dice"] / (2 - measures["Dice"]))
    assert {measures[name] for name in measures if name.startswith("HD95")} == {1}
    assert measures["relative volume difference"] == 0


def test_island_and_bite_lie_where_they_should():
    bench = MeasureBench(radius=20)
    pred, truth = bench.masks(island=3, island_distance=15)
    rows, columns = np.nonzero(pred & ~truth)
    assert np.hypot(64 - rows.mean(), columns.mean() - 64) == pytest.approx(35, abs=0.8)
    assert rows.mean() < 64 < columns.mean()
    pred, truth = bench.masks(bite=5)
    rows, columns = np.nonzero(truth & ~pred)
    assert (columns.min(), columns.max()) == (44, 49)
    pred, truth = bench.masks(grow=3, down=2)
    assert pred.sum() == bench.masks(radius=23)[1].sum()
    assert np.nonzero(pred)[0].mean() == 66


def test_gauges_are_of_the_settings_of_now():
    bench = MeasureBench(radius=12, right=2)
    assert bench._gauges["of"]["right"] == 2
    bench.right = 5
    assert bench._gauges["of"]["right"] == 5
    pred, truth = bench.masks()
    assert gauges(bench)["Dice"]["value"] == metrics.dice(pred, truth)
    assert gauges(bench)["HD95, pooled"]["words"] == (
        f"{metrics.hausdorff95(pred, truth, spacing=(1, 1), definition='pooled'):.2f} mm"
    )
    bench.grow = -2
    assert gauges(bench)["relative volume difference"]["words"].startswith("−")


def test_an_empty_prediction_is_sent_as_json():
    bench = MeasureBench(radius=3, grow=-10)
    json.dumps(bench._gauges, allow_nan=False)
    assert gauges(bench)["HD95, by area"] == {"name": "HD95, by area", "value": None, "words": "∞", "full": 1.0}
    assert gauges(bench)["Dice"]["value"] == 0


def test_what_cannot_be_set():
    with pytest.raises(ValueError, match="there is no setting 'shift'; the bench has radius, right"):
        MeasureBench(shift=3)
    with pytest.raises(ValueError, match="radius must be a whole number from 3 to 30; got 2"):
        MeasureBench(radius=2)
    bench = MeasureBench()
    with pytest.raises(ValueError, match="bite must be a whole number from 0 to 20; got 21"):
        bench.bite = 21
    assert repr(bench).startswith("MeasureBench(radius=20, right=0, ")


def test_the_bench_fits_a_page():
    assert len(json.dumps({k: v for k, v in MeasureBench().get_state().items() if k not in ("layout",)})) < 100_000
