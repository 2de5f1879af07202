"""The chest around the lungs. Lengths in mm, x to the left, y to the back, z to the head, the origin at the carina.

Everything is measured in the frame of an average adult; a patient's own size is a scale of the three axes.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ._canvas import Canvas
from ._shapes import Shape, ellipsoid, voxel_width

SIDES = (-1, 1)  # right, left
BONE = {"rim": "cortical_bone", "thickness": 1.3}
VERTEBRA_PITCH, T1_Z = 24.0, 95.0
BODY_CORNERS, CAGE_CORNERS = 0.45, 0.30  # how far the outlines of body and rib cage are from an ellipse


@dataclass(frozen=True)
class Thorax:
    """The measures of one patient, in mm unless said otherwise."""

    scale: tuple[float, float, float]  # (x, y, z) of the whole chest
    female: bool
    fat: float  # thickness under the skin
    heart: float  # linear size, 1 is usual
    heart_turn: float  # radians, long axis from the left toward the front
    kyphosis: float  # mm by which the spine bows backward
    barrel: float  # depth of the rib cage, 1 is usual
    aorta: float  # radius of the descending aorta
    domes: tuple[float, float]  # heights of the diaphragm's domes (right, left)
    breast: tuple[float, float, float]  # half axes
    dense: float  # share of gland in the breasts
    stomach_gas: float  # y of the level
    table_y: float  # gap of the table to the back

    def cage(self, z):
        """Half width, half depth and y of the middle of the rib cage's inside at heights `z`."""
        knots = (-230, -150, -80, 0, 50, 80, 97, 108)
        half_width = curve(z, knots, (140, 139, 134, 121, 97, 72, 46, 16))
        half_depth = curve(z, knots, (96, 95, 89, 76, 58, 41, 25, 10)) * self.barrel
        back = curve(z, knots, (86, 88, 88, 83, 76, 69, 61, 50)) + self.bow(z)
        return half_width, half_depth, back - half_depth

    def bow(self, z):
        """How far the spine and all that hangs on it lies behind that of an average patient."""
        return self.kyphosis * (1 - ((z - 10) / 110) ** 2).clip(-1, 1)

    def spine_y(self, z):
        """Middle of the vertebral bodies."""
        return curve(z, (-230, -150, -60, 20, 80, 120), (38, 47, 57, 54, 40, 27)) + self.bow(z)

    def front_y(self, z):
        """Inner surface of the chest wall in the midline in front."""
        _, half_depth, middle = self.cage(z)
        return middle - half_depth


def draw_thorax(rng: np.random.Generator) -> Thorax:
    """Draw the measures of one patient."""
    female = bool(rng.random() < 0.5)
    size = rng.normal(0.93 if female else 1.0, 0.035)
    scale = tuple(size * np.clip(rng.normal(1, (0.03, 0.04, 0.05)), 0.9, 1.1))
    right = rng.normal(-104, 6)
    breast = (rng.uniform(50, 66), rng.uniform(24, 44), rng.uniform(44, 58))
    return Thorax(
        scale=scale,
        female=female,
        fat=float(np.clip((17 if female else 13) * np.exp(rng.normal(0, 0.4)), 6, 34)),
        heart=rng.normal(1.0, 0.06),
        heart_turn=rng.uniform(0.45, 0.75),
        kyphosis=rng.normal(0, 5),
        barrel=rng.normal(1.0, 0.06),
        aorta=rng.uniform(10.5, 14.5),
        domes=(right, right - rng.uniform(4, 16)),
        breast=breast,
        dense=rng.uniform(0.0, 0.8),
        stomach_gas=rng.uniform(-55, -20),
        table_y=rng.uniform(0, 2),
    )


def curve(z, knots, values):
    """Smooth curve through `values` at `knots`: cubic Hermite, slopes from the neighbors, level outside."""
    knots, values = np.asarray(knots, float), np.asarray(values, float)
    slopes = np.gradient(values, knots)
    z = np.clip(z, knots[0], knots[-1])
    k = np.clip(np.searchsorted(knots, z, side="right") - 1, 0, len(knots) - 2)
    step = knots[k + 1] - knots[k]
    t = (z - knots[k]) / step
    start = values[k] + t * t * (3 - 2 * t) * (values[k + 1] - values[k])
    return start + step * t * (1 - t) * ((1 - t) * slopes[k] - t * slopes[k + 1])


# Surfaces: implicit functions in mm, negative inside, of coordinates that broadcast


def outline_distance(x, y, half_width, half_depth, middle, corners):
    """Distance along the ray from the middle to a rounded outline; positive outside."""
    y = y - middle
    u, v = (x / half_width) ** 2, (y / half_depth) ** 2
    square = v * (1 - corners * np.minimum(u, 1)) + u
    np.maximum(square, 1e-3, out=square)
    ray = x * x + y * y
    np.divide(ray, square, out=square)
    return np.sqrt(ray) - np.sqrt(square)


def body_surface(thorax: Thorax, x, y, z):
    """Skin, without the breasts."""
    knots = (-230, -100, 0, 50, 85, 115, 150)
    fat = thorax.fat - 12
    half_width = curve(z, knots, (160, 163, 166, 170, 183, 186, 150)) + fat
    half_depth = curve(z, knots, (119, 118, 107, 91, 78, 66, 56)) + 0.85 * fat + 85 * (thorax.barrel - 1)
    middle = curve(z, knots, (2, 5, 17, 28, 30, 24, 12)) + 0.15 * fat + 0.7 * thorax.bow(z) - 85 * (thorax.barrel - 1)
    return outline_distance(x, y, half_width, half_depth, middle, BODY_CORNERS)


def pleura(thorax: Thorax, x, y, z):
    """Inner surface of the rib cage."""
    half_width, half_depth, middle = thorax.cage(z)
    slope = (thorax.cage(z + 2)[0] - thorax.cage(z - 2)[0]) / 4
    return outline_distance(x, y, half_width, half_depth, middle, CAGE_CORNERS) / np.sqrt(1 + slope**2)


def diaphragm(thorax: Thorax, x, y):
    """Height of the diaphragm: two domes above the deep recess along the chest wall."""
    heights = []
    for side, top in zip(SIDES, thorax.domes, strict=True):
        outward = side * x - 58
        q = (outward / np.where(outward > 0, 80, 95)) ** 2
        q = q + ((y + 25) / np.where(y < -25, 110, 102 * thorax.barrel)) ** 2  # it reaches lowest behind
        heights.append(top - 82 * q * np.sqrt(q))
    return np.maximum(*heights)


def septum(thorax: Thorax, x, y, z):
    """The mediastinum between the lungs, without the heart: thin in front, wide around the great vessels."""
    front = y - thorax.front_y(z)
    behind = thorax.spine_y(z) - y
    vessels = curve(z, (-200, -90, -40, 10, 45, 80, 110), (8, 9, 20, 23, 25, 27, 34))
    width = 4 + vessels * np.exp(-(((y - thorax.spine_y(z) + 48) / 30) ** 2))
    width = width + 12 * np.exp(-np.maximum(front, 0) / 6)
    width = np.maximum(width, np.where(behind < 22, 14 + 0.1 * (22 - behind), 0))
    return np.abs(x - 2) - width


def heart_chambers(thorax: Thorax) -> dict[str, Shape]:
    """Outer shape of the heart's parts."""
    h, turn = thorax.heart, -thorax.heart_turn
    low = np.mean(thorax.domes) + 111  # a high diaphragm lifts the heart
    y = thorax.front_y(np.float64(-70)) + 84
    return {
        "ventricles": ellipsoid((24 * h, y - 36 * h, -82 + low), (59 * h, 37 * h, 40 * h), turn),
        "right_atrium": ellipsoid((-24 * h, y - 26 * h, -72 + low), (25 * h, 29 * h, 36 * h)),
        "left_atrium": ellipsoid((3 * h, y + 4 * h, -48 + low), (34 * h, 21 * h, 22 * h)),
        "outflow": ellipsoid((10 * h, y - 42 * h, -46 + low), (30 * h, 22 * h, 30 * h), turn),
    }


def grown(shape: Shape, gap: float) -> Shape:
    """The shape, about `gap` mm larger on every side."""
    share = gap / min(shape.reach)
    return Shape(shape.center, tuple(np.add(shape.reach, gap * 2)), lambda x, y, z: shape.implicit(x, y, z) - share)


def capsule(start, end, radius, end_radius=None) -> Shape:
    """Straight tube with round ends from `start` to `end` (x, y, z)."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    end_radius = radius if end_radius is None else end_radius
    center, half = (start + end) / 2, (end - start) / 2
    length2 = (half * half).sum() + 1e-9
    widest = max(radius, end_radius)

    def implicit(x, y, z):
        t = np.clip((x * half[0] + y * half[1] + z * half[2]) / length2, -1, 1)
        square = (x - t * half[0]) ** 2
        square += (y - t * half[1]) ** 2
        square += (z - t * half[2]) ** 2
        np.sqrt(square, out=square)
        t *= (end_radius - radius) / 2
        square -= t
        square -= (radius + end_radius) / 2
        square /= min(reach)
        return square

    reach = tuple(np.abs(half) + widest)
    return Shape(tuple(center), reach, implicit)


def paint_tube(canvas: Canvas, tissue: str, points, radii, *, wall: str | None = None, thickness=0.0) -> None:
    """Paint a tube through `points`; first all of its wall, then all of its lumen."""
    radii = np.broadcast_to(radii, len(points))
    pieces = list(zip(points, points[1:], radii, radii[1:], strict=False))
    if wall:
        for a, b, ra, rb in pieces:
            canvas.paint(wall, capsule(a, b, ra + thickness, rb + thickness))
    for a, b, ra, rb in pieces:
        canvas.paint(tissue, capsule(a, b, ra, rb))


# Organs, in the order in which they are painted


def paint_body(canvas: Canvas, thorax: Thorax) -> None:
    """Air, skin, the fat under it, and muscle; the breasts; planes of fat between the muscles."""
    x, y, z = canvas.x, canvas.y, canvas.z
    depth = -body_surface(thorax, x, y, z)
    fat = thorax.fat * (1 + 0.35 * np.clip(-y / 80, -0.6, 1)) * (1 + 0.25 * canvas.fields["cloud"])
    fat = np.maximum(fat, 3.0)
    flesh = depth - fat  # positive in the muscles
    if thorax.female:
        add_breasts(canvas, thorax, depth)
    width = voxel_width(depth)  # the layers are about parallel
    np.negative(depth, out=depth)
    canvas.fill("skin", depth, width=width)
    depth += 2.2
    canvas.fill("fat", depth, fatty, width=width)
    canvas.fill("muscle", np.maximum(depth, -flesh), marbled, width=width)
    if thorax.female:
        paint_gland(canvas, thorax, flesh)


def breasts(thorax: Thorax) -> list[Shape]:
    """The breasts as they lie in a patient on her back."""
    rx, ry, rz = thorax.breast
    z = np.float64(-48)
    y = thorax.front_y(z) - 12 - 0.6 * thorax.fat
    return [ellipsoid((side * (68 + 0.2 * rx), y + 16, z), (rx, ry, rz), side * 0.35) for side in SIDES]


def add_breasts(canvas: Canvas, thorax: Thorax, depth: np.ndarray) -> None:
    """Raise the skin over the breasts, in a smooth fold."""
    fold = 14.0
    np.maximum(depth, -fold, out=depth)
    for shape in breasts(thorax):
        box = canvas.box(grown(shape, fold))
        part = canvas.view(box)
        if part.labels.size:
            raised = np.maximum(-part.evaluate(shape) * min(shape.reach), -fold)
            blend = np.maximum(fold - np.abs(raised - depth[box]), 0)  # smooth maximum, nothing where both are far off
            blend *= np.clip(np.minimum(raised, depth[box]) / fold + 1, 0, 1)
            depth[box] = np.maximum(depth[box], raised) + blend * blend / (4 * fold)


def paint_gland(canvas: Canvas, thorax: Thorax, flesh: np.ndarray) -> None:
    """Strands of gland in the fat of the breasts."""
    for shape in breasts(thorax):
        box = canvas.box(shape)
        part = canvas.view(box)
        if part.labels.size:
            core = part.evaluate(shape) + 0.4
            core = core + 0.25 * (part.fields["mottle"] + 1.4 - 2.2 * thorax.dense)
            part.fill("breast", np.maximum(core, (flesh[box] + 4) / 30))


def fatty(part: Canvas) -> np.ndarray:
    """Fat with fine septa."""
    return 1 + 0.05 * part.fields["mottle"]


def marbled(part: Canvas) -> np.ndarray:
    """Muscle, with planes of fat where a random field passes zero."""
    field = part.fields["cloud"] + 0.25 * part.fields["mottle"]
    field *= 1 / 0.10
    field *= field
    field += 1
    return 1 - 2.4 / field


def paint_wall(canvas: Canvas, g: np.ndarray) -> None:
    """The chest wall close to the pleura, from which `g` is the distance: muscle between the ribs, a plane of fat."""
    plane = g - 12 - 1.5 * canvas.fields["cloud"]
    canvas.fill("fat", np.abs(plane) - 1.1 - 0.8 * np.abs(canvas.fields["mottle"]))
    canvas.fill("muscle", g - 9.5)
    canvas.fill("fat", g - 0.6, fatty)


def paint_shoulders(canvas: Canvas, thorax: Thorax) -> None:
    """Axillary fat with its vessels, shoulder blades, heads of the humerus, collar bones: the arms are raised."""
    half_width, _, middle = (float(a) for a in thorax.cage(np.float64(45)))
    for side in SIDES:
        axilla = ellipsoid((side * (half_width + 31), middle - 14, 48), (14, 27, 40), side * 0.5)
        canvas.paint("fat", axilla, fatty)
        vessel = [
            (side * 55, middle - 22, 88),
            (side * 100, middle - 22, 82),
            (side * (half_width + 42), middle - 12, 92),
            (side * 170, middle, 118),
        ]
        paint_tube(canvas, "aorta", vessel, 4)
        paint_tube(canvas, "vein", [np.add(p, (0, -9, -6)) for p in vessel], 5)
        head = (side * 158, middle + 6, 104)
        canvas.paint("marrow", ellipsoid(head, (23, 23, 24)), **BONE)
        canvas.paint("marrow", capsule(head, (side * 200, middle - 30, 165), 13), **BONE)
        front = float(thorax.front_y(np.float64(58)))
        joint = (side * 16, front - 4, 62)
        bend = (side * 62, front - 2, 80)
        for a, b in ((joint, bend), (bend, (side * 128, middle + 4, 106))):
            canvas.paint("marrow", capsule(a, b, 6.0), **BONE)
        paint_scapula(canvas, thorax, side)


def paint_scapula(canvas: Canvas, thorax: Thorax, side: int) -> None:
    """A thin blade that glides on the ribs, its spine, and the socket of the shoulder."""
    blade = Shape((side * 105, 70, 20), (60, 60, 85), None)
    part = canvas.crop(blade)
    if not part.labels.size:
        return
    x, y, z = part.x, part.y, part.z
    g = pleura(thorax, x, y, z) - 21
    medial = 72 + 0.10 * (z - 20)
    lateral = 118 + 0.42 * (z - 20)
    f = np.abs(g) - 2.0 - 2.5 * np.exp(-(((side * x - lateral) / 9) ** 2))  # thick along its outer border
    f = np.maximum(f, np.maximum(medial - side * x, side * x - lateral))
    f = np.maximum(f, np.maximum(-62 - z, z - 82))
    f = np.maximum(f, 18 - y)
    part.fill("marrow", f)
    part.fill("cortical_bone", np.maximum(f, -f - 1.2))
    _, _, middle = (float(a) for a in thorax.cage(np.float64(70)))
    ridge = [(side * 78, middle + 58, 52), (side * 112, middle + 52, 66), (side * 142, middle + 28, 88)]
    for a, b in pairwise(ridge):
        canvas.paint("marrow", capsule(a, b, 4.0, 5.5), **BONE)
    canvas.paint("marrow", ellipsoid((side * 134, middle + 8, 84), (11, 14, 18)), **BONE)


def paint_ribs(canvas: Canvas, g: np.ndarray) -> None:
    """Twelve pairs of ribs as one pattern on the shell around the pleura, from which `g` is the distance in mm.

    A rib sinks on its way from the spine to the front; its cartilage rises again to the breastbone.
    """
    dz, _, dx = canvas.grid.spacing
    shell = k, j, i = np.nonzero((g > -2) & (g < 12))
    middle = 20.0
    angle = np.arctan2(np.abs(canvas.x), canvas.y - middle)[0, j, i]  # 0 behind, π in front
    x, z = np.abs(canvas.x)[0, 0, i], canvas.z[k, 0, 0]
    thick = g[shell] - 4.6
    inner, outer = 12.0, 2.45  # the front ends reach inward less than the cartilage
    drop = 45 * np.minimum(angle, outer) - 45 * np.maximum(angle - outer, 0)
    steep = curve(z, (-30, 80), (1.0, 0.55))  # the upper ribs lie flatter
    phase = (T1_Z + 10 - steep * drop - z) / VERTEBRA_PITCH
    number = np.clip(np.rint(phase), 0, 11).astype(int)
    height = (
        (phase - number) * VERTEBRA_PITCH * curve(z, (-30, 25, 80), (1, 1.5, 1))
    )  # there `phase` changes more slowly
    ends = np.array([3.3] * 7 + [2.75, 2.6, 2.5, 1.6, 1.0])[number]  # false and floating ribs stop short
    f = np.sqrt((height / 5.2) ** 2 + (thick / 3.5) ** 2)
    f = (f - 1) * 3.5
    f = np.maximum(f, np.maximum((angle - ends) * 100, inner - x))
    level, radial = np.abs(height) / 5.2**2, np.abs(thick) / 3.5**2
    width = (level * dz + radial * dx) / np.sqrt(level**2 + radial**2 + 1e-12)
    width = np.maximum(width, dx)
    cartilage = angle > outer + 0.05
    for bone, depth in (("cortical_bone", 0.0), ("marrow", 1.3)):
        hu = np.where(cartilage, canvas.brightness["cartilage"], canvas.brightness[bone])
        number = np.where(cartilage, canvas.number["cartilage"], canvas.number[bone])
        cover = np.clip(0.5 - (f + depth) / width, 0, 1)
        canvas.labels[shell] = np.where(f + depth < 0, number, canvas.labels[shell])
        signal = canvas.signal[shell]
        canvas.signal[shell] = signal + cover * (hu - signal)


def paint_sternum(canvas: Canvas, thorax: Thorax) -> None:
    """Manubrium and body of the breastbone."""
    for low, high, half_width in ((22, 62, 27), (-78, 18, 16)):
        ends = [(float(thorax.front_y(np.float64(h))) - 7, h) for h in (low + 6, high - 6)]
        (y0, z0), (y1, z1) = ends
        slope = (y1 - y0) / (z1 - z0)

        def plate(x, y, z, slope=slope, w=half_width, h=(high - low) / 2):
            bent = (y - slope * z + 0.004 * x * x) / 6.2
            return (np.sqrt((x / w) ** 4 + bent**2 + (z / h) ** 8) - 1) * 6.2

        shape = Shape((0, (y0 + y1) / 2, (low + high) / 2), (half_width, 7 + abs(y1 - y0) / 2, (high - low) / 2), plate)
        part = canvas.crop(shape)
        if part.labels.size:
            f = part.evaluate(shape)
            part.fill("marrow", f)
            part.fill("cortical_bone", np.maximum(f, -f - 1.0))


def paint_spine(canvas: Canvas, thorax: Thorax) -> None:
    """Vertebral bodies and disks, the canal in its bony ring, transverse and spinous processes."""
    part = canvas.crop(Shape((0, 62, 0), (44, 75, 400), None))
    if not part.labels.size:
        return
    x, z = part.x, part.z
    y = part.y - thorax.spine_y(z)
    across = np.abs(x)
    turns = (z - T1_Z) / VERTEBRA_PITCH
    level = (turns - np.rint(turns)) * VERTEBRA_PITCH  # mm above the middle of a body
    size = curve(z, (-230, -100, 0, 110), (1.18, 1.05, 0.9, 0.78))
    waist = 1 - 0.06 * np.cos(2 * np.pi * level / VERTEBRA_PITCH)
    body = (np.sqrt((x / (19 * size * waist)) ** 2 + ((y + 1) / (16.5 * size * waist)) ** 2) - 1) * 16
    end = np.abs(level) - 9.6
    part.fill("fat", body - 2.5)
    part.fill("disk", body)
    bone = np.maximum(body, end)
    back = y - 16.5 * size  # behind the body
    ring = np.hypot(x, back - 8)
    arch = np.maximum(np.maximum(ring - 13.5, 8.5 - ring), np.abs(level + 2) - 8.5)
    slant = level - 3 + 0.75 * (across - 12)
    wing = np.maximum(np.hypot(back - 8 - 0.35 * (across - 12), slant - 6) - 5.2, across - 33)
    wing = np.maximum(wing, 10 - across)
    turns = turns + (8 + 0.5 * (back - 20)) / VERTEBRA_PITCH  # the spinous processes point down
    slant = 0.5 * (turns - np.rint(turns)) * VERTEBRA_PITCH
    spinous = np.maximum(np.hypot(across, slant) - 3.4, np.maximum(18 - back, back - 42))
    bone = np.minimum(np.minimum(bone, arch), np.minimum(wing, spinous))
    part.fill("marrow", bone, lambda part: 1 + 0.12 * part.fields["mottle"])
    part.fill("cortical_bone", np.maximum(bone, -bone - 1.1))
    part.fill("fat", ring - 8.5)
    part.fill("spinal_canal", np.hypot(x / 1.15, back - 8) - 6.6)


def paint_abdomen(canvas: Canvas, thorax: Thorax, g: np.ndarray, top: np.ndarray) -> None:
    """Below the diaphragm at heights `top`: its muscle, fat, the liver on the right, stomach and spleen on the left."""
    below = np.maximum(g + 0.5, canvas.z - top)
    canvas.fill("muscle", below)
    inner = np.maximum(below + 3, canvas.z + 60)
    canvas.fill("fat", inner, fatty)
    x, y, z = canvas.x, canvas.y, canvas.z
    edge = x - 26 - 0.45 * np.clip(-y, -60, 50) - 0.12 * (z + 130)
    canvas.fill("liver", np.maximum(np.maximum(inner, edge), 25 - np.hypot(x - 8, y - thorax.spine_y(z))))

    def clipped(tissue: str, shape: Shape, also=None, texture=1.0) -> None:
        box = canvas.box(shape)
        part = canvas.view(box)
        if part.labels.size:
            f = np.maximum(part.evaluate(shape) * min(shape.reach), inner[box] + 1)
            part.fill(tissue, f if also is None else np.maximum(f, also(part)), texture)

    clipped("spleen", ellipsoid((94, 32, -150), (30, 46, 42), 0.9))
    bag = ellipsoid((58, -30, -148), (46, 38, 42), -0.4)
    clipped("stomach", bag)
    clipped("stomach_gas", ellipsoid((58, -30, -148), (42, 34, 38), -0.4), lambda part: part.y - thorax.stomach_gas)


def paint_heart(canvas: Canvas, thorax: Thorax) -> None:
    """The heart in its fat: muscle with a cavity, without contrast hardly brighter than the blood in it."""
    parts = heart_chambers(thorax)
    for shape in parts.values():
        canvas.paint("fat", grown(shape, 4.5), fatty)
    for name in ("ventricles", "right_atrium", "left_atrium", "outflow"):
        canvas.paint("heart_muscle" if name == "ventricles" else "heart_blood", parts[name])
    h, turn = thorax.heart, -thorax.heart_turn
    x, y, z = parts["ventricles"].center
    # the groove between the ventricles and that between ventricles and atria carry coronary vessels in fat
    groove = (x - 4 * h, y - 30 * h, z + 10)
    canvas.paint("fat", ellipsoid(groove, (4 * h, 9 * h, 26 * h), turn), fatty)
    canvas.paint("heart_blood", ellipsoid(groove, (1.6, 1.6, 24 * h)))
    canvas.paint("fat", ellipsoid((x - 30 * h, y - 18 * h, z + 4), (4 * h, 16 * h, 30 * h), 0.5), fatty)
    canvas.paint("heart_blood", ellipsoid((x + 14 * h, y + 6 * h, z), (32 * h, 15 * h, 24 * h), turn))
    canvas.paint("heart_blood", ellipsoid((x - 8 * h, y - 18 * h, z), (30 * h, 11 * h, 28 * h), turn))


def aorta_points(thorax: Thorax) -> np.ndarray:
    """Center line of the aorta from the heart over the arch down to the diaphragm."""
    x, y, z = heart_chambers(thorax)["outflow"].center
    root = [(x - 8, y + 12, z + 4), (-16, y + 6, -18), (-15, y + 12, 8), (-4, y + 22, 26), (18, y + 40, 30)]
    arch_end = float(thorax.spine_y(np.float64(14))) - 16
    turn = [(23, arch_end - 6, 22), (27, arch_end, 4)]
    heights = np.array([-30.0, -80.0, -130.0, -180.0, -230.0])
    down = zip(curve(heights, (-230, -120, -30), (6, 16, 26)), thorax.spine_y(heights) - 19, heights, strict=True)
    return np.array([*root, *turn, *down])


def paint_great_vessels(canvas: Canvas, thorax: Thorax) -> None:
    """Aorta and the branches of its arch, the great veins, the pulmonary trunk, the esophagus."""
    aorta = aorta_points(thorax)
    radii = thorax.aorta * np.array([1.3, 1.32, 1.3, 1.2, 1.12, 1.08, 1.05, 1, 0.98, 0.95, 0.93, 0.9])

    def spine(z: float) -> float:
        return float(thorax.spine_y(np.float64(z)))

    outflow = heart_chambers(thorax)["outflow"].center
    y = outflow[1]
    gullet = [(4, spine(h) - gap, h) for h, gap in ((135, 24), (90, 24), (40, 25), (0, 26), (-60, 27))]
    gullet += [(10, spine(-120) - 34, -120), (22, spine(-150) - 40, -150)]
    paths = (
        ("fat", aorta[2:], radii[2:] + 3.0),
        ("esophagus", gullet, 6.5),
        ("aorta", aorta, radii),
        ("aorta", [aorta[3] + (0, 0, 8), (-16, spine(60) - 48, 62), (-26, spine(95) - 38, 100)], 6.5),
        ("aorta", [aorta[4] + (-2, -2, 8), (14, spine(70) - 42, 70), (22, spine(110) - 34, 115)], 4.2),
        ("aorta", [aorta[5] + (0, 0, 8), (28, spine(60) - 26, 62), (40, spine(90) - 28, 96)], 5.0),
        ("vein", [(-26, y + 22, -40), (-25, y + 18, 0), (-23, y + 10, 40)], 9.5),
        ("vein", [(-23, y + 10, 40), (-28, spine(85) - 46, 80), (-34, spine(105) - 42, 110)], 7.0),
        ("vein", [(-20, y + 8, 42), (4, y + 2, 50), (26, y + 12, 66), (34, spine(100) - 44, 105)], 6.0),
        ("vein", [(-20, -2, -190), (-20, y + 30, -118), (-22, y + 24, -90)], 12.0),
        ("vein", [(-5, spine(-190) - 22, -190), (-6, spine(-40) - 24, -40), (-9, spine(2) - 22, 0)], 4.0),
        ("vein", [(-9, spine(2) - 22, 0), (-20, spine(8) - 30, 9), (-25, y + 26, 8)], 4.5),
        ("pulmonary_vessel", [(outflow[0] + 6, y - 2, outflow[2] + 16), (20, y + 18, -16), (24, y + 34, -12)], 13),
        ("pulmonary_vessel", [(16, y + 28, -18), (-14, y + 34, -22), (-36, y + 40, -26)], (11.5, 10.5, 9)),
        ("pulmonary_vessel", [(24, y + 34, -12), (38, y + 50, -10), (42, y + 60, -20)], (11.5, 10, 9)),
    )
    for tissue, points, radius in paths:
        paint_tube(canvas, tissue, points, radius)


def paint_table(canvas: Canvas, thorax: Thorax) -> None:
    """The couch under the patient: a light core between two shells."""
    back = 126 + 1.0 * (thorax.fat - 10) + 0.7 * max(thorax.kyphosis, 0) + thorax.table_y
    top = canvas.y - back - 3 + 0.0009 * canvas.x**2
    rows = np.flatnonzero(((top > -9) & (top < 28)).any(axis=(0, 2)))
    if not rows.size:
        return
    rows = slice(rows[0], rows[-1] + 1)
    n_slices, _, n_columns = canvas.labels.shape
    canvas, top = canvas.view((slice(0, n_slices), rows, slice(0, n_columns))), top[:, rows]
    air = canvas.labels == canvas.number["air"]
    for low, high, hu in (
        (-6, 0, -930.0),
        (0, 2.4, canvas.brightness["table"]),
        (2.4, 22, -945.0),
        (22, 24.4, canvas.brightness["table"]),
    ):
        f = np.maximum(low - top, top - high)
        f = np.maximum(f, np.abs(canvas.x) - 205)
        cover = np.clip(0.5 - f / canvas.grid.spacing[1], 0, 1) * air
        canvas.signal[...] += cover * (hu - canvas.signal)
        if hu == canvas.brightness["table"]:
            canvas.labels[cover > 0.5] = canvas.number["table"]
