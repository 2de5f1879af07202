"""The lungs: parenchyma, the trees of airways and vessels, and nodules. Lengths in mm, in the frame of `_thorax`."""

from dataclasses import dataclass, replace

import numpy as np

from . import _thorax as chest
from ._canvas import Canvas
from ._shapes import Shape, coverage, ellipsoid
from ._thorax import SIDES, Thorax

MURRAY = 1 / 3  # radius grows with this power of the number of twigs that a branch feeds
KINDS, KIND_SHARES = ("solid", "part-solid", "ground-glass"), (0.55, 0.2, 0.25)
PLACES, PLACE_SHARES = ("isolated", "juxtapleural", "vascular"), (0.4, 0.3, 0.3)


@dataclass(frozen=True)
class Branch:
    """A straight piece of a vessel or bronchus, from `start` to `end` (x, y, z), tapering."""

    start: np.ndarray
    end: np.ndarray
    radius: float
    end_radius: float
    parent_radius: float
    n_twigs: int


@dataclass(frozen=True)
class Nodule:
    """One lung nodule.

    Attributes
    ----------
    number : int
        Its label in `chest_nodule_map`, from 1 up.
    kind : str
        "solid", "part-solid" (a solid core in ground glass) or "ground-glass".
    place : str
        "isolated" in the lung, "juxtapleural" on the chest wall, or "vascular", on a vessel.
    center_mm : tuple of 3 floats
        World position LPS (x, y, z).
    diameter_mm : float
        Mean diameter, as if it were not cut off by the chest wall.
    """

    number: int
    kind: str
    place: str
    center_mm: tuple[float, float, float]
    diameter_mm: float


@dataclass(frozen=True)
class Lump:
    """How a nodule is painted: in the frame of the chest."""

    nodule: Nodule  # its center is in the frame of the chest
    radii: tuple[float, float, float]  # in that frame
    turn: float
    bumps: np.ndarray  # (n, 4): direction x, y, z and height of each lobule
    core: float  # size of the solid part relative to the whole


def lung_depth(thorax: Thorax, x, y, z) -> np.ndarray:
    """Implicit function of both lungs in about mm: negative inside. For points; coordinates broadcast."""
    f = np.maximum(chest.pleura(thorax, x, y, z), chest.diaphragm(thorax, x, y) - z)
    f = np.maximum(f, -chest.septum(thorax, x, y, z))
    for shape in chest.heart_chambers(thorax).values():
        cx, cy, cz = shape.center
        f = np.maximum(f, 4.5 - shape.implicit(x - cx, y - cy, z - cz) * min(shape.reach))
    return f


# Trees


def draw_targets(rng: np.random.Generator, thorax: Thorax, side: int, n: int) -> np.ndarray:
    """Draw `n` points (n, 3) spread over one lung: the ends of its twigs."""
    points = rng.uniform((8, -100, -190), (142, 95, 104), (8 * n, 3)) * (side, 1, 1)
    inside = lung_depth(thorax, *points.T) < -5
    return points[inside][:n]


def grow_tree(rng: np.random.Generator, root, radius: float, targets: np.ndarray) -> list[Branch]:
    """Grow a tree from `root` to every target: a branch heads for the middle of its targets and divides them in two."""
    branches, whole = [], len(targets)
    stack = [(np.asarray(root, float), targets, radius)]
    while stack:
        start, points, parent = stack.pop()
        here = radius * (len(points) / whole) ** MURRAY
        middle = points.mean(axis=0)
        if len(points) == 1:
            branches.append(Branch(start, points[0], here, 0.5 * here, parent, 1))
            continue
        length = np.sqrt(((middle - start) ** 2).sum())
        end = start + rng.uniform(0.35, 0.55) * (middle - start) + rng.normal(0, 0.05, 3) * length
        branches.append(Branch(start, end, here, 0.92 * here, parent, len(points)))
        away = points - middle
        far = away[np.argmax((away**2).sum(axis=1))]
        first = (away * far).sum(axis=1) > 0
        stack += [(end, points[first], here), (end, points[~first], here)]
    return branches


@dataclass(frozen=True)
class Trees:
    """The branches of both lungs."""

    arteries: list[Branch]
    veins: list[Branch]
    airways: list[Branch]
    trachea: np.ndarray  # (n, 3) down to the carina
    bronchi: list[np.ndarray]  # main bronchi, right and left


def draw_trees(rng: np.random.Generator, thorax: Thorax, n_twigs: int = 230) -> Trees:
    """Draw arteries from the hila, bronchi beside them, veins between them."""
    spine = [float(thorax.spine_y(np.float64(z))) for z in (140, 90, 40, 0)]
    trachea = np.array(
        [(0, spine[0] - 36, 140), (1, spine[1] - 38, 90), (-1, spine[2] - 41, 40), (1, spine[3] - 41, 0)]
    )
    carina = trachea[-1]
    arteries, veins, airways, bronchi = [], [], [], []
    front = float(thorax.front_y(np.float64(-70)))
    for side in SIDES:
        root = np.array((-38, front + 82, -27) if side < 0 else (42, front + 103, -22))
        tree = grow_tree(rng, root, 6.8, draw_targets(rng, thorax, side, n_twigs))
        arteries += tree
        beside = np.array((-side * 0.35, 0.6, 0.35)) * 1.7
        hilum = root + beside * 7.0
        middle = 0.5 * (carina + hilum) + (0, 0, 3 if side < 0 else 1)
        bronchi.append(np.array([carina, middle, hilum]))
        for branch in tree:
            if branch.n_twigs >= 8:
                start, end = branch.start + beside * branch.parent_radius, branch.end + beside * branch.radius
                airways.append(replace(branch, start=start, end=end))
        veins += grow_tree(rng, (side * 36, front + 92, -50), 6.0, draw_targets(rng, thorax, side, n_twigs))
    return Trees(arteries, veins, airways, trachea, bronchi)


def paint_branch(canvas: Canvas, tissue: str, branch: Branch, grow: float = 0.0, shrink: float = 1.0) -> None:
    """Paint a tube that may be thinner than a voxel: it then covers a share of the voxels that it passes."""
    radius, end_radius = shrink * branch.radius + grow, shrink * branch.end_radius + grow
    center, half = (branch.start + branch.end) / 2, (branch.end - branch.start) / 2
    part = canvas.crop(Shape(tuple(center), tuple(np.abs(half) + radius), None))
    if not part.labels.size:
        return
    dz, dy, dx = canvas.grid.spacing
    length2 = (half * half).sum() + 1e-9
    x, y, z = part.x - center[0], part.y - center[1], part.z - center[2]
    t = np.clip((x * half[0] + y * half[1] + z * half[2]) / length2, -1, 1)
    x, y, z = np.abs(x - t * half[0]), np.abs(y - t * half[1]), np.abs(z - t * half[2])
    distance = np.sqrt(x * x + y * y + z * z)
    width = np.maximum((x * dx + y * dy + z * dz) / (distance + 1e-9), min(dx, dy))  # of a voxel across the surface
    inside = (radius + end_radius) / 2 + t * ((end_radius - radius) / 2) - distance
    cover = np.clip(0.5 + inside / width, 0, 1) * _thinness(half / np.sqrt(length2), radius, (dx, dy, dz))
    part.blend(cover, canvas.brightness[tissue])
    np.copyto(part.labels, canvas.number[tissue], where=cover > 0.5)


def _thinness(direction: np.ndarray, radius: float, voxel) -> float:
    """Largest share of a voxel (x, y, z) that a thin tube covers."""
    flat = np.sqrt(direction[0] ** 2 + direction[1] ** 2)
    across = np.array((-direction[1], direction[0], 0)) / flat if flat > 0.1 else np.array((1.0, 0, 0))
    above = np.array((0, 0, 1.0)) - direction * direction[2] if flat > 0.1 else np.array((0, 1.0, 0))
    widths = [(np.abs(a) * voxel).sum() / np.sqrt((a * a).sum()) for a in (across, above)]
    return min(1, 2 * radius / widths[0]) * min(1, 2 * radius / widths[1])


def paint_lungs(canvas: Canvas, thorax: Thorax, g: np.ndarray, top: np.ndarray) -> None:
    """Both lungs: air in a fine mesh of tissue, denser at the back, where their own weight presses them together."""

    def mesh(part: Canvas) -> np.ndarray:
        change = 12 * part.fields["mottle"] + 10 * part.fields["cloud"] + 0.42 * part.y
        return 1 + change / part.brightness["lung"]

    f = np.maximum(g + 0.4, top - canvas.z)
    f = np.maximum(f, -chest.septum(thorax, canvas.x, canvas.y, canvas.z))
    canvas.fill("lung", f, mesh)


def paint_trees(canvas: Canvas, trees: Trees) -> None:
    """Vessels first, then the airways: all walls before any lumen, so that no wall closes a branch."""
    for branch in (*trees.veins, *trees.arteries):
        paint_branch(canvas, "pulmonary_vessel", branch)
    for branch in trees.airways:
        paint_branch(canvas, "airway_wall", branch, grow=0.4, shrink=0.66)
    tubes = [(trees.trachea, (9.0, 9.0, 8.8, 8.2)), *((b, (7.0, 6.5, 5.8)) for b in trees.bronchi)]
    for points, radii in tubes:
        chest.paint_tube(canvas, "airway_wall", points, np.add(radii, 1.4))
    for points, radii in tubes:
        chest.paint_tube(canvas, "airway", points, radii)
    for branch in trees.airways:
        paint_branch(canvas, "airway", branch, shrink=0.6)


# Nodules


def draw_lumps(rng: np.random.Generator, thorax: Thorax, trees: Trees) -> list[Lump]:
    """Draw the nodules of one patient: none in one of four, four at most."""
    lumps = []
    for _ in range(rng.choice(5, p=(0.25, 0.3, 0.2, 0.15, 0.1))):
        kind, place = rng.choice(KINDS, p=KIND_SHARES), rng.choice(PLACES, p=PLACE_SHARES)
        diameter = float(np.clip(11 * np.exp(rng.normal(0, 0.45)), 5 if kind == "solid" else 8, 30))
        centers = _candidates(rng, thorax, trees, place, diameter / 2)
        stretch = rng.uniform(0.85, 1.15, 3)
        stretch /= np.prod(stretch) ** (1 / 3)
        bumps = np.column_stack([rng.standard_normal((7, 3)), rng.uniform(-0.12, 0.16, 7)])
        bumps[:, :3] /= np.sqrt((bumps[:, :3] ** 2).sum(axis=1, keepdims=True))
        turn, core = rng.uniform(0, np.pi), rng.uniform(0.4, 0.65)
        for other in lumps:
            gap = np.sqrt(((centers - other.nodule.center_mm) ** 2).sum(axis=1))
            centers = centers[gap > (diameter + other.nodule.diameter_mm) / 2 + 15]
        if len(centers):
            nodule = Nodule(len(lumps) + 1, str(kind), str(place), tuple(map(float, centers[0])), diameter)
            lumps.append(Lump(nodule, tuple(stretch * diameter / 2 / thorax.scale), turn, bumps, core))
    return lumps


def _candidates(rng: np.random.Generator, thorax: Thorax, trees: Trees, place: str, radius: float) -> np.ndarray:
    """Points (n, 3) where a nodule of that radius may lie."""
    if place == "vascular":
        vessels = [b for b in (*trees.arteries, *trees.veins) if 1.5 < b.radius < 3.0]
        picked = [vessels[k] for k in rng.integers(0, len(vessels), 60)]
        points = np.array([(b.start + b.end) / 2 for b in picked]) + rng.normal(0, 0.3 * radius, (60, 3))
        return points[lung_depth(thorax, *points.T) < -radius - 4]
    points = rng.uniform((-135, -90, -150), (135, 90, 85), (1200, 3))
    points = points[lung_depth(thorax, *points.T) < -radius - 5]
    if place == "isolated":
        thick = [b for b in (*trees.arteries, *trees.veins) if b.radius > 1.6]
        ends = np.array([end for b in thick for end in (b.start, (b.start + b.end) / 2, b.end)])
        gap = np.sqrt(((points[:, None] - ends) ** 2).sum(axis=2)).min(axis=1)
        return points[gap > radius + 5]
    _, _, middle = thorax.cage(points[:, 2])
    axis = np.column_stack([np.zeros(len(points)), middle, points[:, 2]])
    wall = points
    for _ in range(12):  # outward until the chest wall cuts the nodule
        gap = chest.pleura(thorax, *wall.T) + 0.35 * radius
        ray = wall - axis
        wall = wall - gap[:, None] * ray / np.sqrt((ray**2).sum(axis=1, keepdims=True))
    others = np.maximum(chest.diaphragm(thorax, wall[:, 0], wall[:, 1]) - wall[:, 2], -chest.septum(thorax, *wall.T))
    return wall[(others < -radius - 5) & (np.abs(chest.pleura(thorax, *wall.T) + 0.35 * radius) < 1)]


def paint_lump(canvas: Canvas, thorax: Thorax, lump: Lump) -> np.ndarray | None:
    """Paint one nodule, cut off at the pleura; returns its implicit function on `canvas.box(lump_shape(lump))`."""
    shape = lump_shape(lump)
    part = canvas.crop(shape)
    if not part.labels.size:
        return
    f = np.maximum(part.evaluate(shape), (chest.pleura(thorax, part.x, part.y, part.z) + 0.3) / min(lump.radii))
    if lump.nodule.kind == "solid":
        part.fill("solid_nodule", f)
        return f
    glass = np.maximum(part.signal, part.brightness["ground_glass"] * (1 - 0.06 * part.fields["mottle"]))
    part.blend(coverage(f), glass)  # vessels and airway walls are still seen in it
    np.copyto(part.labels, canvas.number["ground_glass"], where=f < 0)
    if lump.nodule.kind == "part-solid":
        part.fill("solid_nodule", np.maximum(part.evaluate(_core(lump)), f))
    return f


def lump_shape(lump: Lump) -> Shape:
    """Outline of a nodule: an ellipsoid with lobules."""
    base = ellipsoid(lump.nodule.center_mm, lump.radii, lump.turn)
    mean = np.mean(lump.radii)

    def implicit(x, y, z):
        f = base.implicit(x, y, z)
        ray = (f + 1) * mean + 1e-6
        for dx, dy, dz, height in lump.bumps:
            toward = (x * dx + y * dy + z * dz) / ray
            f -= height * np.maximum(toward, 0) ** 4
        return f

    return Shape(base.center, tuple(1.35 * np.array(base.reach)), implicit)


def _core(lump: Lump) -> Shape:
    """The solid part of a part-solid nodule: the same outline, smaller and off the middle."""
    whole, share = lump_shape(lump), 1 / lump.core
    x, y, z = lump.nodule.center_mm + 0.5 * (1 - lump.core) * np.mean(lump.radii) * lump.bumps[0, :3]
    return Shape((x, y, z), whole.reach, lambda x, y, z: whole.implicit(x * share, y * share, z * share))
