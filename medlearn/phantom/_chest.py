"""A chest with lung nodules: CT studies with ground truth, made from a number."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from ..volume import Case, Volume
from . import _lungs as lungs
from . import _thorax as thorax_parts
from ._canvas import Canvas, Grid, check_grid, check_seed
from ._ct import CHEST_TISSUES, add_ct_noise
from ._lungs import Nodule
from ._shapes import Shape, smooth_noise

SHAPE = (64, 256, 256)
SPACING = (5.0, 1.5, 1.5)
NODULE_TISSUES = ("solid_nodule", "ground_glass")
EXTENT = 480.0  # mm after which a random field repeats


def chest(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Case:
    """Make one CT study of a chest without contrast agent, with the lung nodules as mask.

    Tissues are painted organ by organ in Hounsfield units, with partial volume, on the voxel grid; the noise has the
    grain that filtered back-projection gives it and is stronger in the shoulders. Anatomy and nodules are drawn from
    `seed`: men and women of different size, habitus, heart, spine and diaphragm; no nodule in one of four patients, up
    to four in the others, solid, part-solid or ground-glass, isolated, at the chest wall or on a vessel.

    Parameters
    ----------
    seed : int
        Number of the patient, from 0 up. The same seed gives the same case on every machine: labels exactly, the image
        within one Hounsfield unit.
    shape : tuple of 3 ints
        Number of voxels (z, y, x), at least (1, 16, 16).
    spacing : tuple of 3 floats
        Distance of voxel centers (z, y, x) in mm. The grid is laid about the same point for every shape and spacing:
        other values look at the same patient, with other noise.

    Returns
    -------
    Case
        Id ``chest-0007`` for seed 7. Image int16 in Hounsfield units, (z, y, x), z to the head, y to the back, x to the
        patient's left. Mask uint8: 1 is nodule. `chest_nodule_map` tells the nodules apart.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.

    See Also
    --------
    chest_anatomy : the label map of all tissues on the same grid.
    chest_nodules : kind, place and size of every nodule.

    Examples
    --------
    >>> case = chest(7, shape=(16, 64, 64), spacing=(20, 6, 6))
    >>> case.id, case.image.array.dtype, case.mask.shape
    ('chest-0007', dtype('int16'), (16, 64, 64))
    """
    patient, scan = _scan(seed, shape, spacing)
    canvas = scan.canvas
    image = canvas.signal
    add_ct_noise(image, patient.grid(shape, spacing), patient.noise_hu, _generator(patient.noise_seed))
    image = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    mask = np.isin(canvas.labels, [CHEST_TISSUES[name].label for name in NODULE_TISSUES])
    meta = {"modality": "CT", "description": "synthetic chest CT"}
    return Case(f"chest-{seed:04d}", scan.volume(image, meta=meta), scan.volume(mask.astype(np.uint8)))


def chest_anatomy(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Volume:
    """Label map of every tissue of ``chest(seed)``, on the same grid.

    Parameters
    ----------
    seed, shape, spacing
        As for `chest`.

    Returns
    -------
    Volume
        uint8, (z, y, x). `CHEST_TISSUES` gives the label of each tissue, ``CHEST_TISSUES["lung"].label``, with its
        Hounsfield units.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.
    """
    _, scan = _scan(seed, shape, spacing)
    return scan.volume(scan.canvas.labels)


def chest_nodule_map(seed: int = 0, *, shape=SHAPE, spacing=SPACING) -> Volume:
    """Label map of the nodules of ``chest(seed)``, on the same grid: each bears its `Nodule.number`.

    Parameters
    ----------
    seed, shape, spacing
        As for `chest`.

    Returns
    -------
    Volume
        uint8, (z, y, x), 0 outside the nodules. On a coarse grid a nodule may lie between the voxel centers.

    Raises
    ------
    ValueError
        If seed, shape or spacing are out of range.
    """
    _, scan = _scan(seed, shape, spacing)
    return scan.volume(scan.instances)


def chest_nodules(seed: int = 0) -> list[Nodule]:
    """Kind, place, center and diameter of every nodule of ``chest(seed)``; an empty list if there is none.

    Raises
    ------
    ValueError
        If seed is not a whole number from 0 up.

    Examples
    --------
    >>> [(nodule.number, nodule.kind, nodule.place) for nodule in chest_nodules(4)]
    [(1, 'ground-glass', 'isolated')]
    """
    patient = _Patient(seed)

    def in_world(nodule: Nodule) -> Nodule:
        center = np.multiply(nodule.center_mm, patient.thorax.scale) + patient.table
        return replace(nodule, center_mm=tuple(np.round(center, 3).tolist()))

    return [in_world(lump.nodule) for lump in patient.lumps]


class _Patient:
    """Everything that is drawn for one seed before a voxel is painted; the draws do not depend on the grid."""

    def __init__(self, seed: int):
        check_seed(seed)
        body, tree, nodules, view, self.texture_seed, self.noise_seed = np.random.SeedSequence([int(seed), 1]).spawn(6)
        rng = _generator(body)
        self.thorax = thorax_parts.draw_thorax(rng)
        self.hu = MappingProxyType(
            {name: tissue.hu + rng.normal(0, 1) * tissue.spread for name, tissue in CHEST_TISSUES.items()}
        )
        self.trees = lungs.draw_trees(_generator(tree), self.thorax)
        self.lumps = lungs.draw_lumps(_generator(nodules), self.thorax, self.trees)
        rng = _generator(view)
        self.center = rng.normal(0, 4), 8 + rng.normal(0, 4), -46 * self.thorax.scale[2] + rng.normal(0, 4)
        self.table = tuple(rng.uniform((-10, -180, -1400), (10, -100, -200)))  # world position of the carina
        self.noise_hu = rng.uniform(9, 22)

    def grid(self, shape, spacing) -> Grid:
        """The voxel grid in mm about the middle of the patient's field of view, seen from the carina."""
        return Grid(*check_grid(shape, spacing), self.center)


@dataclass(frozen=True)
class _Scan:
    """A painted patient."""

    canvas: Canvas
    instances: np.ndarray  # (z, y, x) uint8
    grid: Grid  # in mm
    table: tuple[float, float, float]

    def volume(self, array: np.ndarray, meta: Mapping = MappingProxyType({})) -> Volume:
        """Put an array on the grid's place in the world."""
        corner = [axis[0] for axis in self.grid.axes[::-1]]
        origin = tuple(np.round(np.add(self.table, np.add(self.grid.center, corner)), 3).tolist())
        return Volume(array=array, spacing=self.grid.spacing, origin=origin, direction=self.grid.direction, meta=meta)


def _scan(seed, shape, spacing) -> tuple[_Patient, _Scan]:
    patient = _Patient(seed)
    grid = patient.grid(shape, spacing)
    canvas = _blank_canvas(_standard(grid, patient.thorax.scale), patient)
    instances = _paint(canvas, patient)
    return patient, _Scan(canvas, instances, grid, patient.table)


def _standard(grid: Grid, scale) -> Grid:
    """The same grid in the frame of an average adult, in which everything is painted."""
    spacing = tuple(s / f for s, f in zip(grid.spacing, scale[::-1], strict=True))
    return Grid(grid.shape, spacing, tuple(c / f for c, f in zip(grid.center, scale, strict=True)))


def _blank_canvas(grid: Grid, patient: _Patient) -> Canvas:
    """A canvas full of air with random fields for texture."""
    rng = _generator(patient.texture_seed)
    pitches = {"mottle": (7.0, 5.0, 5.0), "cloud": (24.0, 24.0, 24.0)}
    fields = {name: smooth_noise(rng, grid.axes, pitch, extent=EXTENT) for name, pitch in pitches.items()}
    labels, signal = np.zeros(grid.shape, np.uint8), np.full(grid.shape, patient.hu["air"])
    number = {name: tissue.label for name, tissue in CHEST_TISSUES.items()}
    z, y, x = (axis + c for axis, c in zip(np.ix_(*grid.axes), grid.center[::-1], strict=True))
    return Canvas(grid, x, y, z, labels, signal, number, patient.hu, fields, margin=1.0)


def _paint(canvas: Canvas, patient: _Patient) -> np.ndarray:
    """Paint the patient; returns the map of the nodules."""
    thorax = patient.thorax
    thorax_parts.paint_body(canvas, thorax)
    thorax_parts.paint_shoulders(canvas, thorax)
    inner = canvas.crop(Shape((0, 0, -60), (156, 116, 172), None))  # all within the ribs
    if inner.labels.size:
        distance = thorax_parts.pleura(thorax, inner.x, inner.y, inner.z)
        top = thorax_parts.diaphragm(thorax, inner.x, inner.y)
        thorax_parts.paint_wall(inner, distance)
        thorax_parts.paint_abdomen(inner, thorax, distance, top)
        lungs.paint_lungs(inner, thorax, distance, top)
        thorax_parts.paint_ribs(inner, distance)
    thorax_parts.paint_sternum(canvas, thorax)
    thorax_parts.paint_heart(canvas, thorax)
    thorax_parts.paint_great_vessels(canvas, thorax)
    thorax_parts.paint_spine(canvas, thorax)
    lungs.paint_trees(canvas, patient.trees)
    instances = np.zeros(canvas.labels.shape, np.uint8)
    for lump in patient.lumps:
        f = lungs.paint_lump(canvas, thorax, lump)
        if f is not None:
            box = canvas.box(lungs.lump_shape(lump))
            instances[box][f < 0] = lump.nodule.number
    thorax_parts.paint_table(canvas, thorax)
    return instances


def _generator(seed: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
