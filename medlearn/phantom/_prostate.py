"""A pelvis with a prostate: T2-weighted MR studies with ground truth, made from a number."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ..volume import Case, Volume
from . import _pelvis as organs
from ._canvas import Canvas, Grid, check_grid, check_seed
from ._gland import GLAND, draw_gland, draw_nodules, paint_gland
from ._mri import TISSUES, Scanner, acquire, draw_scanner, sensitivity, spin_echo
from ._shapes import smooth_noise

SHAPE = (24, 256, 256)
SPACING = (3.6, 0.625, 0.625)
WARP_PITCH, WARP_STD = 15.0, 1.3  # mm; of the warp that makes outlines irregular


def prostate(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Case:
    """Make one T2-weighted MR study of a male pelvis, with the whole prostate gland as mask.

    Tissues are painted organ by organ, with partial volume, on the voxel grid. The spin-echo equation turns them into
    signal. A receive coil, truncated k-space, Rician noise and an arbitrary gray scale do the rest. The anatomy, the
    place in the field of view, the protocol and the scanner are drawn from `seed`: three in ten patients carry an
    endorectal coil, one in four is scanned in tilted slices.

    Parameters
    ----------
    seed : int
        Number of the patient, from 0 up. The same seed gives the same case on every machine: labels exactly, the image
        within one count.
    shape : tuple of 3 ints
        Number of voxels (z, y, x), at least (1, 16, 16).
    spacing : tuple of 3 floats
        Distance of voxel centers (z, y, x) in mm. The grid is laid about the same point for every shape and spacing:
        other values look at the same patient, with other noise.

    Returns
    -------
    Case
        Id ``phantom-0007`` for seed 7. Image int16, (z, y, x), z from the apex of the gland (caudal) to its base, y to
        the back, x to the patient's left. Mask uint8: 1 is the whole gland, its capsule included.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.

    See Also
    --------
    prostate_anatomy : the label map of all tissues on the same grid.

    Examples
    --------
    >>> case = prostate(7, shape=(12, 64, 64), spacing=(7.2, 2.5, 2.5))
    >>> case.id, case.image.array.dtype, case.mask.shape
    ('phantom-0007', dtype('int16'), (12, 64, 64))
    """
    patient = _Patient(seed)
    canvas, coil_center = patient.paint(_grid(patient, shape, spacing))
    volume = _volume_like(canvas.grid, patient)
    gland = np.isin(canvas.labels, [TISSUES[name].label for name in GLAND])
    image = _image(canvas, patient.scanner, coil_center, patient.scanner_seed)
    meta = {"modality": "MR", "description": "synthetic T2-weighted pelvis"}
    return Case(f"phantom-{seed:04d}", volume(image, meta=meta), volume(gland.astype(np.uint8)))


def prostate_anatomy(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Volume:
    """Label map of every tissue of ``prostate(seed)``, on the same grid.

    Parameters
    ----------
    seed, shape, spacing
        As for `prostate`.

    Returns
    -------
    Volume
        uint8, (z, y, x). `TISSUES` gives the label of each tissue, ``TISSUES["peripheral_zone"].label``, with its
        relaxation times; `GLAND` names the tissues that make up the mask of `prostate`.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.
    """
    patient = _Patient(seed)
    canvas, _ = patient.paint(_grid(patient, shape, spacing))
    return _volume_like(canvas.grid, patient)(canvas.labels)


class _Patient:
    """Everything that is drawn for one seed before a voxel is painted; the draws do not depend on the grid."""

    def __init__(self, seed: int):
        check_seed(seed)
        body, texture, protocol, self.scanner_seed = np.random.SeedSequence(int(seed)).spawn(4)
        rng = np.random.Generator(np.random.PCG64(body))
        self.texture_seed = texture
        self.pelvis = organs.draw_pelvis(rng)
        self.gland = draw_gland(rng, self.pelvis.endorectal)
        self.nodules = draw_nodules(rng, self.gland)
        self.t2_factor = {name: np.exp(rng.normal(0, tissue.spread)) for name, tissue in TISSUES.items()}
        self.tilt = -rng.uniform(0.10, 0.35) if rng.random() < 0.25 else 0.0
        x, y, z = self.gland.center
        behind = 11.0 if self.pelvis.endorectal else 0.0  # the field of view then holds the balloon, too
        self.view = x + rng.normal(0, 3), y + behind + rng.normal(0, 7.5), z + rng.normal(0, 5.5)
        self.table = tuple(rng.uniform((-30, -60, -120), (30, 10, 60)))  # world position of the frame's origin
        self.scanner = draw_scanner(np.random.Generator(np.random.PCG64(protocol)), self.pelvis.endorectal)

    def paint(self, grid: Grid) -> tuple[Canvas, tuple[float, float, float]]:
        """Paint the patient on a grid; returns the canvas and the center of the endorectal coil."""
        rng = np.random.Generator(np.random.PCG64(self.texture_seed))
        canvas = _blank_canvas(grid, self._brightness(), rng)
        pelvis, gland = self.pelvis, self.gland
        rectum, lumen = organs.rectum_shapes(pelvis, gland)
        organs.paint_body(canvas, pelvis)
        organs.paint_muscles(canvas, pelvis)
        organs.paint_bones(canvas, pelvis, gland)
        organs.paint_obturators(canvas, pelvis, gland)
        organs.paint_vessels(canvas, pelvis, gland, rng)
        organs.paint_levators(canvas, pelvis, gland, rectum)
        organs.paint_bladder(canvas, pelvis, gland)
        organs.paint_seminal_vesicles(canvas, pelvis, gland, rng)
        organs.paint_sphincter(canvas, gland)
        organs.paint_rectum(canvas, pelvis, rectum, lumen)
        organs.paint_neurovascular_bundles(canvas, gland, rng)
        paint_gland(canvas, gland, self.nodules, rng)
        return canvas, lumen.center

    def _brightness(self) -> Mapping[str, float]:
        """Signal of each tissue relative to that of fat."""
        tr, te = self.scanner.tr_ms, self.scanner.te_ms
        signal = {name: spin_echo(tissue, tr, te, self.t2_factor[name]) for name, tissue in TISSUES.items()}
        return MappingProxyType({name: value / signal["fat"] for name, value in signal.items()})


def _blank_canvas(grid: Grid, brightness: Mapping[str, float], rng: np.random.Generator) -> Canvas:
    """An empty canvas with random fields for texture, its coordinates gently warped."""
    warps = [smooth_noise(rng, grid.axes, (WARP_PITCH,) * 3, WARP_STD) for _ in range(2)]
    margin = max(float(np.abs(warp).max()) for warp in warps)
    x, y, z = grid.coordinates()
    x, y, z = warps[0] + x, warps[1] + y, np.broadcast_to(z, (*grid.shape[:2], 1))
    pitches = {"grain": (4.0, 1.9, 1.9), "mottle": (6.0, 5.0, 5.0), "cloud": (14.0, 14.0, 14.0)}
    fields = {name: smooth_noise(rng, grid.axes, pitch) for name, pitch in pitches.items()}
    labels, signal = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape)
    number = {name: tissue.label for name, tissue in TISSUES.items()}
    return Canvas(grid, x, y, z, labels, signal, number, brightness, fields, margin)


def _image(canvas: Canvas, scanner: Scanner, coil_center, seed: np.random.SeedSequence) -> np.ndarray:
    """int16 image of a painted canvas."""
    rng = np.random.Generator(np.random.PCG64(seed))
    signal = canvas.signal * sensitivity(canvas.grid, scanner, coil_center, rng)
    image = scanner.fat_count * acquire(signal, scanner, rng)
    return np.clip(np.rint(image), -32768, 32767).astype(np.int16)


def _grid(patient: _Patient, shape, spacing) -> Grid:
    return Grid(*check_grid(shape, spacing), patient.view, patient.tilt)


def _volume_like(grid: Grid, patient: _Patient):
    """Return a function that puts an array on the grid's place in the world."""
    corner = grid.direction @ [axis[0] for axis in grid.axes[::-1]]
    origin = tuple(np.round(np.add(patient.table, np.add(grid.center, corner)), 3))

    def volume(array: np.ndarray, meta=MappingProxyType({})) -> Volume:
        return Volume(array=array, spacing=grid.spacing, origin=origin, direction=grid.direction, meta=meta)

    return volume
