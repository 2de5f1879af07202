"""What surrounds the prostate. One function an organ; lengths in mm, x to the left, y to the back, z to the head."""

from dataclasses import dataclass

import numpy as np

from ._canvas import Canvas
from ._gland import Gland
from ._shapes import Shape, blunt, coverage, ellipsoid, tube, union

SIDES = (-1, 1)  # right, left


@dataclass(frozen=True)
class Pelvis:
    """The measures of one patient's pelvis, in mm unless said otherwise.

    The frame's origin is the middle of a prostate of median size.
    """

    scale: float  # of the bones and of the muscles on them
    front_y: float  # skin in front, at the pubic bone
    bladder: tuple[float, float, float]  # half axes
    bladder_wall: float
    bladder_shift: float
    rectum_radius: float
    rectum_sway: float  # of the tube to the left at the height of the base
    gas_share: float  # of the rectum's width, from the front: the patient lies on the back
    endorectal: bool
    balloon_radius: float
    vesicle_size: float  # 1 is usual
    levator_thickness: float


def draw_pelvis(rng: np.random.Generator) -> Pelvis:
    """Draw the measures of one patient."""
    return Pelvis(
        scale=rng.normal(1.0, 0.05),
        front_y=-rng.uniform(78, 125),
        bladder=(rng.uniform(24, 42), rng.uniform(17, 29), rng.uniform(12, 30)),
        bladder_wall=rng.uniform(3.5, 7.0),
        bladder_shift=rng.normal(0, 4),
        rectum_radius=rng.uniform(10, 20),
        rectum_sway=rng.normal(0, 6),
        gas_share=rng.choice((0.0, 0.6, 1.0), p=(0.4, 0.25, 0.35)) * rng.uniform(0.7, 1.3),
        endorectal=bool(rng.random() < 0.3),
        balloon_radius=rng.uniform(17, 22),
        vesicle_size=rng.uniform(0.7, 1.25),
        levator_thickness=rng.uniform(2.5, 5.0),
    )


# Textures: factors for the signal of a part of the canvas


def fatty(part: Canvas) -> np.ndarray:
    """Lobules of fat between thin dark septa, which lie where a random field passes zero."""
    cloud, mottle = part.fields["cloud"], part.fields["mottle"]
    septa = mottle * mottle
    septa *= 1 / 0.05**2
    septa += 1
    np.divide(np.clip(0.25 + 0.2 * cloud, 0.05, 0.7), septa, out=septa)
    texture = 1 + 0.06 * cloud
    texture += 0.05 * part.fields["grain"]
    texture *= 1 - septa
    return texture


def bony(part: Canvas) -> np.ndarray:
    """Marrow: patches of red and yellow."""
    return 1 + 0.14 * part.fields["cloud"] + 0.10 * part.fields["mottle"] + 0.06 * part.fields["grain"]


def mottled(part: Canvas) -> np.ndarray:
    """A soft tissue that is not quite uniform."""
    return 1 + 0.12 * part.fields["mottle"] + 0.10 * part.fields["grain"]


def pulsating(part: Canvas) -> np.ndarray:
    """Blood that leaves the slice more or less."""
    return np.clip(0.45 + 0.35 * part.fields["cloud"], 0.05, 1)


def striated(angle: float, period: float = 5.0):
    """Muscle with streaks of fat between its bundles, which run at `angle` radians from x toward y."""
    sin, cos = np.sin(angle), np.cos(angle)

    def texture(part: Canvas) -> np.ndarray:
        cloud, wave = part.fields["cloud"], 2 * np.pi / period
        phase = wave * (cos * part.y - sin * part.x) + 1.2 * part.fields["mottle"] + 2 * cloud
        streaks = np.clip(np.cos(phase) - 0.75, 0, None) * np.clip(cloud + 0.4, 0.1, 1.5)
        return 1 + 0.20 * part.fields["grain"] + 6.0 * streaks

    return texture


# Organs, in the order in which they are painted


def paint_body(canvas: Canvas, pelvis: Pelvis) -> None:
    """Fat inside, skin around it, air outside. Between the organs the fat is a mesh of fasciae and small vessels."""
    canvas.labels[...] = canvas.number["fat"]
    canvas.signal[...] = canvas.brightness["fat"] * fatty(canvas)
    mesh = canvas.crop(ellipsoid((0, 4, 8), (40, 42, 45)))
    depth = np.clip(2.2 - 2 * ((mesh.x / 38) ** 2 + ((mesh.y - 4) / 40) ** 2 + ((mesh.z - 10) / 36) ** 2), 0, 1)
    strands = np.clip(mesh.fields["mottle"] * 0.5 + mesh.fields["grain"] * 0.6, -0.6, 1.4)
    mesh.signal[...] *= 1 - depth * (0.18 + 0.46 * strands)

    back, half_width = 118.0, 185.0
    center, half = (pelvis.front_y + back) / 2, (back - pelvis.front_y) / 2
    skin = 2.5 / half
    x, y, _ = canvas.grid.coordinates()
    far_x, far_y = np.abs(x).max() + canvas.margin, np.abs(y - center).max() + canvas.margin
    if np.hypot(far_x / half_width, far_y / half) > 1 - skin:  # some of it is in the field of view
        edge = 1 - np.hypot(canvas.x / half_width, (canvas.y - center) / half)
        canvas.fill("skin", edge - skin)
        canvas.fill("air", edge)


def paint_muscles(canvas: Canvas, pelvis: Pelvis) -> None:
    """Thigh and buttock muscles at the corners of the picture, abdominal wall in front."""
    s = pelvis.scale
    for side in SIDES:
        gluteus = ellipsoid((side * 54 * s, 74 * s, -6), (54, 21, 90), side * -0.28)
        canvas.paint("muscle", gluteus, striated(side * -0.35))
        thigh = ellipsoid((side * 66 * s, -26 * s, -44), (46, 27, 40), side * 0.45)
        canvas.paint("muscle", thigh, striated(side * 0.55, 7))
        adductors = ellipsoid((side * 34 * s, -52 * s, -44), (30, 15, 34), side * 0.75)
        canvas.paint("muscle", adductors, striated(side * 0.8, 6))
        externus = ellipsoid((side * 42 * s, -22 * s, -32), (27, 10, 20), side * 0.75)
        canvas.paint("muscle", externus, striated(side * 0.75, 5))
        iliopsoas = ellipsoid((side * 78 * s, -50 * s, 26), (21, 17, 60), side * -0.4)
        canvas.paint("muscle", iliopsoas, striated(0.4, 6))
        rectus = ellipsoid((side * 17 * s, -68 * s, 40), (17, 5, 36), side * 0.08)
        canvas.paint("muscle", rectus, striated(0, 9))


def paint_bones(canvas: Canvas, pelvis: Pelvis, gland: Gland) -> None:
    """Pubic bones with the symphysis, hip bones, femoral heads, sacrum and coccyx."""
    s = pelvis.scale
    pubis_y = min(-39 * s, gland.front_y - 17)
    marrow = {"texture": bony, "rim": "cortical_bone", "thickness": 1.3}
    for side in SIDES:
        hip = union(
            ellipsoid((side * 63 * s, -24 * s, 16), (18, 19, 24), side * -0.5),
            ellipsoid((side * 59 * s, 16 * s, 12), (13, 30, 36), side * -0.3),
            ellipsoid((side * 57 * s, 14 * s, -28), (15, 22, 30), side * 0.5),
        )
        canvas.paint("hip_bone", hip, **marrow)
        pubis = union(
            ellipsoid((side * 47 * s, pubis_y + 4, 6), (30, 9, 11), side * 0.12),
            ellipsoid((side * 19 * s, pubis_y, -15), (24, 14, 20), side * 0.5),
        )
        canvas.paint("pubic_bone", pubis, **marrow)
        joint = ellipsoid((side * 84 * s, -2 * s, 14), (28, 28, 28))
        canvas.paint("vein", joint, rim="cartilage", thickness=1.5)  # fluid of the joint
        canvas.paint("femoral_head", ellipsoid((side * 84 * s, -2 * s, 14), (25.8, 25.8, 25.8)), **marrow)
    canvas.paint("cartilage", ellipsoid((0, pubis_y - 2, -15), (3.2, 14, 19)))
    canvas.paint("sacrum", ellipsoid((0, 84 * s, 42), (26, 12, 34)), **marrow)


def paint_obturators(canvas: Canvas, pelvis: Pelvis, gland: Gland) -> None:
    """Obturator internus: a curved band along the inner wall of the pelvis on each side."""
    middle = max(39 * pelvis.scale, gland.half_width + 12)

    for side in SIDES:

        def band(x, y, z, side=side):
            bow = (x * side - 0.06 * y + 0.0025 * y * y - 0.05 * z) / 7.5
            along = (y / 48) ** 2
            return np.sqrt(bow * bow + along * along + blunt(z / 54)) - 1

        shape = Shape((side * middle, 0, 2), (18, 48, 54), band)
        canvas.paint("obturator_muscle", shape, striated(side * 1.5, 6))


def paint_vessels(canvas: Canvas, pelvis: Pelvis, gland: Gland, rng: np.random.Generator) -> None:
    """Femoral vessels, veins in front of and beside the gland, small vessels in the fat."""
    s = pelvis.scale
    for side in SIDES:
        for tissue, x, y, radius in (("artery", 60, -66, 4.5), ("vein", 50, -63, 5.0)):
            center = (side * x * s, y * s, 0)
            canvas.paint(tissue, tube(center, (radius, radius), 70), pulsating, rim="bladder_wall")
        for _ in range(7):  # spermatic cord
            center = (side * rng.normal(22, 4), -74 * s + rng.normal(0, 2), rng.uniform(-30, 10))
            canvas.paint(rng.choice(("vein", "muscle")), ellipsoid(center, (*rng.uniform(1, 2, 2), 14)))
    for _ in range(34):  # the dorsal venous complex, behind the pubic bone
        center = (
            gland.center[0] + rng.normal(0, 10),
            gland.front_y - rng.uniform(1, 9),
            gland.apex_z + rng.uniform(-8, 26),
        )
        canvas.paint("vein", ellipsoid(center, rng.uniform(1.0, 2.6, 3) * (1.3, 1, 2.5), rng.uniform(-0.5, 0.5)))
    for _ in range(90):  # small vessels: bright where blood is slow, dark where it is fast
        center = rng.uniform((-75, -35, -45), (75, 62, 45))
        radius = rng.uniform(0.7, 1.7)
        tissue = "vein" if rng.random() < 0.4 else "artery"
        canvas.paint(tissue, ellipsoid(center, (radius, radius, rng.uniform(4, 9)), 0.0))


def paint_neurovascular_bundles(canvas: Canvas, gland: Gland, rng: np.random.Generator) -> None:
    """Veins and arteries close to the gland, most of them behind it at five and seven o'clock."""
    for side in SIDES:
        for _ in range(16):
            angle = rng.normal(0.75, 0.35)  # from the left toward the back
            gap = rng.uniform(1.5, 6.0)
            center = gland.around(side, angle, gap, rng.uniform(-0.8, 0.9))
            tissue = "vein" if rng.random() < 0.65 else "artery"
            canvas.paint(tissue, ellipsoid(center, rng.uniform(0.8, 2.2, 3) * (1, 1, 3)))


def paint_bladder(canvas: Canvas, pelvis: Pelvis, gland: Gland) -> None:
    """Bright urine in a dark wall, resting on the base of the gland."""
    rx, ry, rz = pelvis.bladder
    x, y, _ = gland.center
    wall = pelvis.bladder_wall
    center = (x + pelvis.bladder_shift, y - 0.45 * gland.half_depth - 6, gland.base_z + 0.75 * rz)
    canvas.paint("bladder_wall", ellipsoid(center, (rx + wall, ry + wall, rz + wall)), mottled)
    canvas.paint("urine", ellipsoid(center, pelvis.bladder))


def paint_seminal_vesicles(canvas: Canvas, pelvis: Pelvis, gland: Gland, rng: np.random.Generator) -> None:
    """Coiled bright tubules with dark walls, spread like a bow tie behind the bladder."""
    x, _, _ = gland.center
    size = pelvis.vesicle_size
    for side in SIDES:
        for share in np.linspace(0.05, 1, 22):
            reach = share * 30 * size
            center = (
                x + side * reach + rng.normal(0, 1.5),
                gland.back_y - 4 + 3 * share + rng.normal(0, 2.2 * size),
                gland.base_z - 3 + 16 * share + rng.normal(0, 3.5 * size),
            )
            radii = rng.uniform(1.8, 3.6, 3) * size * (1.3, 1, 1.5)
            tubule = ellipsoid(center, radii + 0.9, rng.uniform(0, np.pi))
            canvas.paint("seminal_vesicle", tubule, mottled, rim="bladder_wall", thickness=0.9)


def paint_levators(canvas: Canvas, pelvis: Pelvis, gland: Gland, rectum: Shape) -> None:
    """Levator ani: a thin sling around gland and rectum, open in front, narrower toward the apex."""
    x, _, z = gland.center
    front, back = gland.front_y + 3, rectum.center[1] + rectum.reach[1] - 3
    half_depth = (back - front) / 2
    half_width = max(gland.half_width + 3, rectum.reach[0] * 0.8)
    thickness = pelvis.levator_thickness

    def sling(dx, dy, dz):
        rise = _step(dz - (gland.apex_z - z) - 4, 9)
        width = half_width * (0.45 + 0.55 * rise)
        along = (dy / half_depth) ** 2
        ring = np.sqrt((dx / width) ** 2 + along * along) - 1
        taper = np.clip(1.1 + 1.3 * dy / half_depth, -0.5, 1)  # thinner toward its open front
        return np.abs(ring) * width - taper * (2 - rise) * thickness / 2  # thick where it closes around the canal

    low, high = gland.apex_z - 26, gland.base_z - 0.25 * gland.half_height
    middle, half = (low + high) / 2, (high - low) / 2
    shape = Shape((x, (front + back) / 2, z), (half_width + 3, half_depth + 3, half + abs(middle - z)), sling)
    part = canvas.crop(shape)
    ends = np.abs(part.z - middle) - half
    part.fill("levator_muscle", np.maximum(part.evaluate(shape), ends), striated(1.2, 7))


def rectum_shapes(pelvis: Pelvis, gland: Gland) -> tuple[Shape, Shape]:
    """Outer surface of the rectum with the anal canal, and its lumen. Heights count from the middle of the gland."""
    x, _, z = gland.center
    coil = pelvis.endorectal
    radius, wall = (pelvis.balloon_radius, 2.0) if coil else (pelvis.rectum_radius, 3.8)
    lean, bend, sway = (0.03, 0.0, 0.0) if coil else (0.12, 0.02, pelvis.rectum_sway)
    apex = gland.apex_z - z

    def path(height):
        return sway * np.tanh(height / 30), lean * height + bend * height * np.sqrt(np.maximum(height, 0))

    def canal(height):  # about 10 mm wide below the apex of the gland
        return 12.5 / radius + (1 - 12.5 / radius) * _step(height - apex + 2, 4)

    def lumen(height):
        return 0.15 + 0.85 * _step(height - apex - 1, 3)

    center = (x, gland.back_y + radius + wall + 0.5, z)
    outer = tube(center, (radius + wall, radius + wall), 80, path=path, profile=canal)
    return outer, tube(center, (radius * 1.02, radius * 0.95), 75, path=path, profile=lumen)


def paint_rectum(canvas: Canvas, pelvis: Pelvis, outer: Shape, lumen: Shape) -> None:
    """Wall, content and gas of the rectum; or the balloon of an endorectal coil."""
    canvas.paint("rectal_wall", outer, mottled)
    part = canvas.crop(lumen)
    f = part.evaluate(lumen)
    part.blend(0.5 * coverage(f - 0.10), 0.8 * part.brightness["fat"])  # the mucosa
    _, y, z = lumen.center
    radius = lumen.reach[1]
    if pelvis.endorectal:
        part.fill("endorectal_coil", f)
        part.fill("rectal_gas", np.maximum(f, part.y - (y - 0.55 * pelvis.balloon_radius)))
        part.paint("rectal_gas", tube((lumen.center[0], y - 2, z), (3.5, 3.5), 70))
        return
    part.fill("rectal_content", f, mottled)
    level = part.y - (y + (2 * pelvis.gas_share - 1) * radius) + 0.8 * part.fields["mottle"]
    if pelvis.gas_share:
        part.fill("rectal_gas", np.maximum(f, level / radius))


def paint_sphincter(canvas: Canvas, gland: Gland) -> None:
    """Below the apex: the urethra in its round sphincter, then the penile bulb. A gland without a gland."""
    x, y, _ = gland.center
    apex = gland.apex_z
    y = y + gland.lean * (apex - gland.center[2])
    canvas.paint("penile_bulb", ellipsoid((x, y + 2, apex - 27), (11, 10, 12)), mottled)
    canvas.paint("urethral_sphincter", tube((x, y, apex - 6), (9.5, 8), 14), mottled)
    perineal_body = ellipsoid((x, gland.back_y + 1, apex - 12), (11, 8, 12))
    canvas.paint("urethral_sphincter", perineal_body, mottled)
    lumen = tube((x, y, apex - 6), (2.8, 2.4), 16)
    part = canvas.crop(lumen)  # keeps the label: "urethra" is the part of it that lies in the gland
    part.blend(coverage(part.evaluate(lumen)), canvas.brightness["urethra"])


def _step(height, width):
    """Smooth step from 0 to 1 about zero."""
    return 0.5 + 0.5 * np.tanh(height / width)
