"""Checks of chapter 3: from voxel to world, the order and the distance of slices, raw voxels."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from ._core import Exercise, Wrong, describe_error


def _turn(axis: int, degrees: float) -> np.ndarray:
    """Rotation about one world axis (0 is x), 3×3."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    sine = -sine if axis == 1 else sine
    matrix[i, i] = matrix[j, j] = cosine
    matrix[i, j], matrix[j, i] = -sine, sine
    return matrix


def _world(index, spacing, origin, direction):
    return origin + direction @ (index * spacing)[::-1]


def _array(*numbers: float) -> np.ndarray:
    return np.array(numbers, float)


WORLD = Exercise(
    number="3.1",
    right=_world,
    probes=(
        (_array(2, 3, 5), _array(3.6, 0.5, 0.6), _array(-10, 20, 30), _turn(2, 10) @ _turn(0, 20)),
        (_array(4, 1, 7), _array(5.0, 0.8, 0.7), _array(12, -40, 8), _turn(1, 30)),
    ),
    praise="Reverse index and spacing to x, y, z; scale; turn; shift.",
    unit="mm",
    rtol=1e-4,  # four digits, so that numbers copied from paper pass as well
    wrong={
        "axes_not_reversed": Wrong(
            lambda i, s, o, d: o + d @ (i * s),
            "Your slice spacing moved along x: in the first probe 3.6 mm a step. Which axis of the array is z?",
        ),
        "spacing_not_reversed": Wrong(
            lambda i, s, o, d: o + d @ (i[::-1] * s),
            "You reversed the index to x, y, z, but not the spacing: a step along x is now as long as one along z.",
        ),
        "answer_reversed": Wrong(
            lambda i, s, o, d: _world(i, s, o, d)[::-1],
            "The right three numbers in the wrong order: a world point is x, y, z.",
        ),
        "direction_transposed": Wrong(
            lambda i, s, o, d: _world(i, s, o, d.T),
            "The columns, not the rows, are the world directions of the index axes. Send index (0, 0, 1), one step "
            "along x, through your function: it must move along column 0.",
        ),
        "spacing_after_rotation": Wrong(
            lambda i, s, o, d: o + s[::-1] * (d @ i[::-1]),
            "You stretched world axes. Spacing belongs to the voxel grid: scale first, turn then.",
        ),
        "direction_ignored": Wrong(
            lambda i, s, o, d: o + (i * s)[::-1], "Right for an axial scan; this one is oblique: use `direction`."
        ),
        "origin_forgotten": Wrong(
            lambda i, s, o, d: _world(i, s, 0, d),
            "Voxel (0, 0, 0) must land on the origin. Where does yours land?",
        ),
        "origin_turned": Wrong(
            lambda i, s, o, d: d @ (o + (i * s)[::-1]),
            "You turned the origin too. It is a world point already: turn the step from voxel (0, 0, 0), then add it.",
        ),
        "spacing_forgotten": Wrong(
            lambda i, s, o, d: o + d @ i[::-1],
            "You added voxels to millimeters. Multiply the index by the spacing first.",
        ),
        "half_a_voxel_added": Wrong(
            lambda i, s, o, d: _world(i + 0.5, s, o, d),
            "You are half a voxel away. The origin is the center of voxel (0, 0, 0), not its corner.",
        ),
    },
)


def _header(position, row, column, number: int, thickness: float) -> SimpleNamespace:
    """What a slice's DICOM header says about its place, by the keywords that pydicom uses."""
    return SimpleNamespace(
        ImagePositionPatient=[float(v) for v in position],
        ImageOrientationPatient=[float(v) for v in (*row, *column)],
        InstanceNumber=number,
        SliceThickness=thickness,
        PixelSpacing=[0.5, 0.5],
    )


def _slices(origin, row, column, heights, numbers, thickness: float) -> list[SimpleNamespace]:
    """Headers of slices at `heights` in mm along the normal."""
    normal = np.cross(row, column)
    return [
        _header(np.add(origin, height * normal), row, column, number, thickness)
        for height, number in zip(heights, numbers, strict=True)
    ]


# Sagittal, x = -7.2, 3.6, 0, -3.6 mm: the normal points to the patient's right.
_SAGITTAL = _slices((0, -90, 5), (0, 1, 0), (0, 0, -1), (7.2, -3.6, 0, 3.6), (1, 3, 4, 2), 3.0)
# Tilted coronal, as a scanner stores an interleaved acquisition.
_CORONAL = _slices((-80, -30, 60), (1, 0, 0), _turn(0, -25)[:, 2] * -1, (18, 0, 9, 4.5, 13.5), (5, 1, 2, 4, 3), 4.0)
# Diffusion: three b-values at each of 19 places.
_DIFFUSION = _slices((-70, -80, 10), (1, 0, 0), (0, 1, 0), np.repeat(np.arange(19) * 3.6, 3), range(1, 58), 3.6)


def _heights(headers) -> np.ndarray:
    """Place of each slice along the normal, row × column, in mm."""
    row, column = np.reshape(headers[0].ImageOrientationPatient, (2, 3))
    return np.array([h.ImagePositionPatient for h in headers]) @ np.cross(row, column)


def _order(headers):
    heights = _heights(headers)
    order = np.argsort(heights)
    if np.diff(heights[order]).min() < 0.01:
        raise ValueError("two slices lie in one place")
    return order


def _sorted_by(key: Callable) -> Callable:
    """A function that sorts headers by `key`; equal ones stay as they are."""
    return lambda headers: np.argsort([key(header) for header in headers], kind="stable")


@dataclass(frozen=True)
class _Refusing(Exercise):
    """An exercise whose function must raise a ``ValueError`` for one more probe, `refused`."""

    refused: tuple = ()
    hint: str = ""

    def verdict(self, function: Callable) -> str:
        verdict = super().verdict(function)
        if not verdict.startswith("right!"):
            return verdict
        try:
            function(*copy.deepcopy(self.refused))
        except ValueError:
            return verdict
        except Exception as error:
            hint = f"{self.hint} Yours stopped for another reason. {describe_error(error, function)}"
        else:
            hint = self.hint
        return f"not yet. Your order is right on ordinary series, but {hint}"


ORDER = _Refusing(
    number="3.2",
    right=_order,
    probes=((_SAGITTAL,), (_CORONAL,)),
    praise="Positions projected on the normal; and two slices in one place are refused.",
    refused=(_DIFFUSION,),
    hint=(
        "the last probe has 57 files and 19 places: three b-values of every slice. Sorting them makes a patient three "
        "times as tall. Raise a ValueError where two slices lie in one place."
    ),
    wrong={
        "as_listed": Wrong(
            lambda headers: np.arange(len(headers)),
            "You left the slices in the order of the files. A file's name or age says nothing about the patient.",
        ),
        "by_instance_number": Wrong(
            _sorted_by(lambda h: h.InstanceNumber),
            "You sorted by InstanceNumber. The number is a counter of the console, not a place: in the first probe "
            "it jumps by 7.2 mm, and back.",
        ),
        "by_z_of_position": Wrong(
            _sorted_by(lambda h: h.ImagePositionPatient[2]),
            "You sorted by the z of the position. All z are 5 in the first probe, a sagittal series. Project the "
            "position on the normal, row × column.",
        ),
        "by_x_of_position": Wrong(
            _sorted_by(lambda h: h.ImagePositionPatient[0]),
            "You sorted by the x of the position. It is the same for all slices of the second probe, a coronal "
            "series. Project the position on the normal, row × column.",
        ),
        "reversed": Wrong(
            lambda headers: _order(headers)[::-1],
            "Your slices run from the other end, against row × column. With the third column of the direction "
            "unchanged you have mirrored the patient: origin and direction must follow the order. "
            "Sort upwards, with np.cross(row, column), not np.cross(column, row).",
        ),
        "ranks": Wrong(
            lambda headers: np.argsort(_order(headers)),
            "You returned the place of each file in the stack. Wanted is the reverse: for each place, which file "
            "belongs there, so that files[order[0]] is the first slice. One argsort is enough.",
        ),
    },
)


def _spacing(headers):
    return np.diff(np.sort(_heights(headers))).mean()


def _in_order(headers, key: Callable) -> np.ndarray:
    return _heights(sorted(headers, key=key))


SPACING = Exercise(
    number="3.3",
    right=_spacing,
    probes=((_SAGITTAL,), (_CORONAL,)),
    praise="From center to center, along the normal: that is the spacing.",
    unit="mm",
    wrong={
        "thickness_as_spacing": Wrong(
            lambda headers: headers[0].SliceThickness,
            "The slices of the first probe are 3.0 mm thick and 3.6 mm apart: what lies in the gap? With the thickness "
            "in its place every volume would come out 17 % too small.",
        ),
        "pixel_spacing": Wrong(
            lambda headers: headers[0].PixelSpacing[0],
            "PixelSpacing is the distance of pixels within a slice. How far is it from slice to slice?",
        ),
        "by_instance_number": Wrong(
            lambda headers: np.abs(np.diff(_in_order(headers, lambda h: h.InstanceNumber))).mean(),
            "You went from slice to slice by InstanceNumber, and that is not the order in which they lie. Sort the "
            "positions first.",
        ),
        "as_listed": Wrong(
            lambda headers: np.abs(np.diff(_heights(headers))).mean(),
            "You went from file to file. Files come in any order: sort the positions first.",
        ),
        "first_two_files": Wrong(
            lambda headers: abs(np.diff(_heights(headers)[:2])[0]),
            "You took the distance of the first two files. They need not be neighbors: sort the positions first.",
        ),
        "difference_of_z": Wrong(
            lambda headers: np.diff(np.sort([h.ImagePositionPatient[2] for h in headers])).mean(),
            "You took differences of z. All z are 5 in the first probe, and the second is tilted. Project the "
            "position on the normal, row × column.",
        ),
        "extent_over_count": Wrong(
            lambda headers: np.ptp(_heights(headers)) / len(headers),
            "Four slices have three gaps between them: divide by one less than their number.",
        ),
        "negative": Wrong(lambda headers: -_spacing(headers), "Right, but a distance is positive."),
    },
)

_TYPES = {"MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_FLOAT": "f4"}


def _shape(header) -> tuple[int, ...]:
    return tuple(int(n) for n in header["DimSize"].split())[::-1]


def _flat(header, data, *, order: str | None = None, types=_TYPES) -> np.ndarray:
    order = order or (">" if header["BinaryDataByteOrderMSB"] == "True" else "<")
    return np.frombuffer(data, order + types[header["ElementType"]])


def _raw(header, data, **options):
    return _flat(header, data, **options).reshape(_shape(header))


def _raw_probe(dim_size: str, element_type: str, msb: bool, first: int) -> tuple[dict[str, str], bytes]:
    """A header, and voxels that count up from `first`."""
    header = {"DimSize": dim_size, "ElementType": element_type, "BinaryDataByteOrderMSB": str(msb)}
    count = int(np.prod(_shape(header)))
    values = np.arange(first, first + 12 * count, 12)
    return header, values.astype((">" if msb else "<") + _TYPES[element_type]).tobytes()


RAW = Exercise(
    number="3.4",
    right=_raw,
    probes=(
        _raw_probe("4 3 2", "MET_SHORT", True, -5),
        _raw_probe("2 5 3", "MET_USHORT", False, 33000),
        _raw_probe("3 2 4", "MET_FLOAT", False, -30),
    ),
    praise="Type, byte order, and the sizes reversed: now you can read any raw file whose header you understand.",
    wrong={
        "dimsize_as_shape": Wrong(
            lambda header, data: _flat(header, data).reshape(_shape(header)[::-1]),
            "You used DimSize as the shape. It lists x first; NumPy wants the slowest axis first, so z, y, x. "
            "The picture would look like torn strips.",
        ),
        "transposed": Wrong(
            lambda header, data: _raw(header, data).transpose(),
            "Right numbers, but your array is x, y, z: rows of the picture are columns. Reshape to z, y, x instead.",
        ),
        "flat": Wrong(_flat, "The numbers are right, in one long row. Give them the shape z, y, x."),
        "always_little_endian": Wrong(
            lambda header, data: _raw(header, data, order="<"),
            "In the first probe values jump in steps of thousands: the high and the low byte of each number are "
            "swapped. BinaryDataByteOrderMSB = True means that the high byte comes first.",
        ),
        "always_big_endian": Wrong(
            lambda header, data: _raw(header, data, order=">"),
            "The first probe is right, the others are scrambled: they say BinaryDataByteOrderMSB = False, so there the "
            "low byte comes first. Is your comparison with the text 'True' or 'False'? Every text counts as true.",
        ),
        "unsigned": Wrong(
            lambda header, data: _raw(header, data, types={**_TYPES, "MET_SHORT": "u2"}),
            "Your first voxel is 65531 where -5 was stored. MET_SHORT has a sign.",
        ),
        "signed": Wrong(
            lambda header, data: _raw(header, data, types={**_TYPES, "MET_USHORT": "i2"}),
            "In the second probe, bright voxels came out negative. MET_USHORT has no sign.",
        ),
    },
)


def voxel_to_world(function: Callable) -> None:
    """Check exercise 3.1: ``function(index_zyx, spacing_zyx, origin_xyz, direction)`` returns the point in mm."""
    WORLD.check(function)


def stack_order(function: Callable) -> None:
    """Check exercise 3.2: ``function(headers)`` returns the order of the slices along row × column."""
    ORDER.check(function)


def slice_spacing(function: Callable) -> None:
    """Check exercise 3.3: ``function(headers)`` returns the distance of neighboring slices in mm."""
    SPACING.check(function)


def read_raw(function: Callable) -> None:
    """Check exercise 3.4: ``function(header, data)`` returns the voxels as an array (z, y, x)."""
    RAW.check(function)
