"""Checks of chapter 3: the numbers behind the hints, and agreement with the library's own readers."""

import numpy as np
import pytest

import medlearn as ml
from medlearn.check.chapter03 import ORDER, RAW, SPACING, WORLD


def first(exercise, name=None):
    function = exercise.right if name is None else exercise.wrong[name].compute
    return exercise.answers(function)[0]


@pytest.mark.parametrize(
    ("name", "point"),
    [
        (None, (-6.863, 19.484, 37.279)),
        ("axes_not_reversed", (-2.976, 21.628, 33.332)),
        ("direction_transposed", (-6.785, 23.361, 36.439)),
        ("spacing_after_rotation", (-7.268, 21.485, 40.460)),
        ("direction_ignored", (-7, 21.5, 37.2)),
    ],
)
def test_world_point(name, point):
    np.testing.assert_allclose(first(WORLD, name), point, atol=6e-4)


def test_world_point_is_that_of_a_volume():
    for index, spacing, origin, direction in WORLD.probes:
        volume = ml.Volume(array=np.zeros((9, 9, 9)), spacing=spacing, origin=origin, direction=direction)
        np.testing.assert_allclose(WORLD.right(index, spacing, origin, direction), volume.to_world(index))


@pytest.mark.parametrize(
    ("name", "order"),
    [(None, [1, 2, 3, 0]), ("reversed", [0, 3, 2, 1]), ("by_instance_number", [0, 3, 1, 2])],
)
def test_order_of_a_sagittal_series(name, order):
    assert list(first(ORDER, name)) == order


def test_headers_of_the_sagittal_series():
    (headers,) = ORDER.probes[0]
    assert [header.ImagePositionPatient[0] for header in headers] == pytest.approx([-7.2, 3.6, 0, -3.6])
    assert {header.ImagePositionPatient[2] for header in headers} == {5}


def test_several_b_values_must_be_refused():
    def sorts(headers):
        row, column = np.reshape(headers[0].ImageOrientationPatient, (2, 3))
        return np.argsort([np.dot(header.ImagePositionPatient, np.cross(row, column)) for header in headers])

    def breaks(headers):
        return sorts(headers) if len(headers) < 50 else headers.sorted()

    assert "57 files and 19 places" in ORDER.verdict(sorts)
    assert ORDER.verdict(sorts).startswith("not yet.")
    assert "AttributeError" in ORDER.verdict(breaks)
    assert ORDER.verdict(ORDER.right).startswith("right!")
    (headers,) = ORDER.refused
    assert len(headers) == 57
    assert len({tuple(header.ImagePositionPatient) for header in headers}) == 19


@pytest.mark.parametrize(
    ("name", "spacing_mm"),
    [
        (None, 3.6),
        ("thickness_as_spacing", 3.0),
        ("by_instance_number", 4.8),
        ("difference_of_z", 0),
        ("extent_over_count", 2.7),
    ],
)
def test_spacing_of_a_sagittal_series(name, spacing_mm):
    assert first(SPACING, name) == pytest.approx(spacing_mm)


def test_thickness_makes_volumes_a_sixth_too_small():
    assert 1 - first(SPACING, "thickness_as_spacing") / first(SPACING) == pytest.approx(0.17, abs=0.005)


def test_voxels_of_a_raw_file():
    assert first(RAW)[0, 0, :2].tolist() == [-5, 7]
    assert first(RAW, "always_little_endian")[0, 0, 1] == 1792
    assert first(RAW, "unsigned")[0, 0, 0] == 65531


@pytest.mark.parametrize("probe", RAW.probes, ids=lambda probe: probe[0]["ElementType"])
def test_raw_is_what_load_reads(probe, tmp_path):
    header, data = probe
    lines = ["ObjectType = Image", "NDims = 3", *(f"{key} = {value}" for key, value in header.items())]
    (tmp_path / "probe.mhd").write_text("\n".join([*lines, "ElementDataFile = probe.raw", ""]))
    (tmp_path / "probe.raw").write_bytes(data)
    np.testing.assert_array_equal(RAW.right(header, data), ml.load(tmp_path / "probe.mhd").array)
