"""The prostate: its outline, zones, nodules and capsule."""

from dataclasses import dataclass

import numpy as np

from ._canvas import Canvas
from ._shapes import Shape, coverage, ellipsoid, first_order_distance

#: The labels that together are the whole gland.
GLAND = ("peripheral_zone", "transition_zone", "central_zone", "anterior_stroma", "urethra", "capsule")

MEDIAN_VOLUME_CM3 = 45.0
BACK_Y = 17.5  # of every gland, in the pelvis frame: it rests on the rectum and grows forward and up
APEX_Z = -24.5


@dataclass(frozen=True)
class Gland:
    """The measures of one prostate, in mm unless said otherwise."""

    volume_cm3: float
    center: tuple[float, float, float]  # (x, y, z) in the pelvis frame
    half_width: float
    half_depth: float
    half_height: float
    asymmetry: float  # share by which the left half is wider than the right
    taper: float  # share by which the base is wider, and the apex narrower, than the middle
    lean: float  # how far the axis moves back per mm toward the base
    groove: float  # depth of the hollow in the back
    groove_width: float
    transition_share: float  # linear size of the transition zone relative to the gland

    @property
    def front_y(self) -> float:
        """Front of the gland."""
        return self.center[1] - self.half_depth

    @property
    def back_y(self) -> float:
        """Back of the gland in the midline."""
        return self.center[1] + self.half_depth - self.groove

    @property
    def apex_z(self) -> float:
        """Lowest point."""
        return self.center[2] - self.half_height

    @property
    def base_z(self) -> float:
        """Highest point."""
        return self.center[2] + self.half_height

    def around(self, side: int, angle: float, gap: float, height: float) -> tuple[float, float, float]:
        """Point `gap` mm outside the gland, `angle` radians from the side to the back; `height` −1 is apex, 1 base."""
        x, y, z = self.center
        shrink = np.sqrt(1 - 0.8 * height**2)
        dz = height * self.half_height
        dx = (self.half_width * shrink + gap) * np.cos(angle)
        dy = (self.half_depth * shrink + gap) * np.sin(angle)
        return x + side * dx, y + dy + self.lean * dz, z + dz


def draw_gland(rng: np.random.Generator, endorectal: bool) -> Gland:
    """Draw one gland: 17 to 240 cm³, median 45. Hyperplasia grows the transition zone, forward and up."""
    volume = float(np.clip(MEDIAN_VOLUME_CM3 * np.exp(rng.normal(0, 0.55)), 17, 240))
    growth = volume / MEDIAN_VOLUME_CM3
    wide, high = np.exp(rng.normal(0, 0.06, 2))
    flat = 1.0
    if endorectal:  # the balloon flattens the gland
        wide, flat = 1.06 * wide, 1.10
    half_width = 25.0 * growth**0.26 * wide * np.sqrt(flat)
    half_height = 23.0 * growth**0.37 * high
    half_depth = 17.6 * growth**0.37 / (wide * high * np.sqrt(flat))
    lean = rng.normal(0.10, 0.08)
    return Gland(
        volume_cm3=volume,
        center=(
            rng.normal(0, 2.5),
            BACK_Y - half_depth + rng.normal(0, 1.5),
            APEX_Z + half_height + rng.normal(0, 1.5),
        ),
        half_width=half_width,
        half_depth=half_depth,
        half_height=half_height,
        asymmetry=rng.normal(0, 0.05),
        taper=rng.uniform(0.06, 0.20),
        lean=lean,
        groove=rng.uniform(3.0, 6.0) if endorectal else rng.uniform(0.3, 3.0),
        groove_width=rng.uniform(16, 22) if endorectal else rng.uniform(7, 13),
        transition_share=float(np.clip(0.90 + 0.15 * np.log(growth) + rng.normal(0, 0.06), 0.66, 1.12)),
    )


@dataclass(frozen=True)
class Nodule:
    """One nodule of hyperplasia: `center` in the gland's own coordinates, `radii` in mm, signal relative to zone."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    turn: float
    brightness: float


def draw_nodules(rng: np.random.Generator, gland: Gland) -> list[Nodule]:
    """Draw nodules, large ones first; there are more, and larger ones, in a large transition zone."""
    size = gland.transition_share * gland.half_width
    count = rng.poisson(10 + 0.5 * gland.volume_cm3 * gland.transition_share)
    radii = np.sort(np.clip(size * 0.16 * np.exp(rng.normal(0, 0.5, count)), 1.8, 0.42 * size))[::-1]
    nodules = []
    for radius in radii:
        direction = rng.standard_normal(3)
        direction *= rng.random() ** 0.4 / np.sqrt((direction**2).sum())
        u, v, t = direction * (0.50, 0.55, 0.62) * gland.transition_share
        u += 0.28 * np.sign(u)
        glandular = rng.random() < 0.5
        nodules.append(
            Nodule(
                center=(u, v - 0.14, t + 0.1),
                radii=tuple(radius * rng.uniform(0.75, 1.25, 3)),
                turn=rng.uniform(0, np.pi),
                brightness=rng.uniform(1.05, 1.8) if glandular else rng.uniform(0.55, 1.0),
            )
        )
    return nodules


def own_coordinates(gland: Gland, x, y, z):
    """Coordinates (u, v, t) in which the gland is nearly a unit ball; x, y, z in mm from its center."""
    t = z / gland.half_height
    width = 1 + gland.taper * t
    v = y - gland.lean * z + gland.groove * np.exp(-((x / gland.groove_width) ** 2)) * (0.5 + 0.5 * np.tanh(y / 5))
    skew = 1 + gland.asymmetry * x / np.sqrt(x * x + 64)
    return x / (gland.half_width * width * skew), v / (gland.half_depth * width), t


def outline(u, v, t) -> np.ndarray:
    """Implicit function of the gland: an ellipsoid with blunt corners and base, and a tapering apex."""
    uu, vv, tt = u * u, v * v, t * t
    ends = tt + (0.55 + 0.35 * np.tanh(3 * t)) * tt * (tt - 1)
    return np.sqrt(np.maximum(uu + vv - 0.25 * uu * vv + ends, 0)) - 1


def transition_lobes(gland: Gland, u, v, t) -> np.ndarray:
    """Implicit function of the two lobes of the transition zone, in the gland's own coordinates."""
    s = gland.transition_share
    square = (
        ((np.abs(u) - 0.30 * s) / (0.50 * s)) ** 2 + ((v + 0.16) / (0.70 * s)) ** 2 + ((t - 0.12) / (0.78 * s)) ** 2
    )
    return np.sqrt(square) - 1


def paint_gland(canvas: Canvas, gland: Gland, nodules: list[Nodule], rng: np.random.Generator) -> None:
    """Zones, nodules, stroma, urethra and capsule. Everything inside is cut off at the outline."""
    reach = (1.25 * gland.half_width, 1.15 * gland.half_depth + 3, 1.02 * gland.half_height)
    part = canvas.crop(Shape(gland.center, reach, outline))
    if not part.labels.size:
        return
    x, y, z = (a - c for a, c in zip((part.x, part.y, part.z), gland.center, strict=True))
    u, v, t = own_coordinates(gland, x, y, z)
    whole = outline(u, v, t)
    inside = first_order_distance(whole, part.grid.spacing)

    part.fill("peripheral_zone", whole, peripheral_texture(gland, rng))
    central = np.sqrt((u / 0.45) ** 2 + ((v - 0.35) / 0.35) ** 2 + ((t - 0.75) / 0.4) ** 2) - 1
    part.fill("central_zone", np.maximum(central, whole), grainy)
    paint_transition_zone(part, gland, nodules, np.maximum(transition_lobes(gland, u, v, t), whole + 0.06))
    front = np.sqrt((u / 0.42) ** 2 + ((v + 0.95) / 0.32) ** 2 + ((t - 0.1) / 0.85) ** 2) - 1
    part.fill("anterior_stroma", np.maximum(front + 0.25 * part.fields["mottle"], whole), grainy)
    paint_urethra(part, gland, x, y, t, whole)
    part.fill(
        "capsule", np.maximum(inside, -0.8 - inside), lambda part: np.clip(1.3 + 0.6 * part.fields["mottle"], 0.7, 3)
    )


def grainy(part: Canvas) -> np.ndarray:
    """Texture of dense tissue."""
    return 1 + 0.15 * part.fields["grain"]


def peripheral_texture(gland: Gland, rng: np.random.Generator):
    """Bright glandular tissue: fine septa that run outward, and patches darkened by inflammation or scars."""
    n_septa, patchiness = rng.integers(20, 34), rng.uniform(0.0, 1.2)
    cx, cy, _ = gland.center

    def texture(part: Canvas) -> np.ndarray:
        grain, mottle, cloud = (part.fields[name] for name in ("grain", "mottle", "cloud"))
        angle = np.arctan2((part.y - cy) / gland.half_depth, (part.x - cx) / gland.half_width)
        septa = np.clip(np.cos(n_septa * angle + 3 * mottle) - 0.6, 0, None) * np.clip(1 + cloud, 0, 2)
        patches = np.clip(cloud + 0.5 * mottle - patchiness, 0, 1.5)
        return (1 + 0.16 * grain + 0.12 * mottle) * (1 - 0.3 * septa) / (1 + 0.9 * patches)

    return texture


def paint_transition_zone(part: Canvas, gland: Gland, nodules: list[Nodule], zone: np.ndarray) -> None:
    """Transition zone in its dark surgical capsule, filled with nodules, each in a dark rim of its own."""
    base = part.brightness["transition_zone"]
    part.fill("transition_zone", zone, lambda part: 1 + 0.14 * part.fields["grain"] + 0.14 * part.fields["mottle"])
    before = part.signal.copy()
    cx, cy, cz = gland.center
    for nodule in nodules:
        nu, nv, nt = nodule.center
        width = 1 + gland.taper * nt
        z = cz + nt * gland.half_height
        center = (cx + nu * gland.half_width * width, cy + nv * gland.half_depth * width + gland.lean * (z - cz), z)
        shape = ellipsoid(center, nodule.radii, nodule.turn)
        spot = part.crop(shape)
        if not spot.labels.size:
            continue
        f = spot.evaluate(shape)
        spot.blend(0.7 * coverage(f), 0.45 * base)
        texture = 1 + 0.22 * spot.fields["grain"] + 0.12 * spot.fields["mottle"]
        spot.blend(coverage(f + 0.9 / min(nodule.radii)), base * nodule.brightness * texture)
    part.signal[...] *= 1 - 0.45 * np.exp(-((zone / 0.05) ** 2))  # the surgical capsule
    part.signal[...] = before + (part.signal - before) * coverage(zone)  # nothing outside the zone changes


def paint_urethra(part: Canvas, gland: Gland, x, y, t, whole) -> None:
    """Urethra in a dark muscular ring, from the bladder neck to the apex."""
    bend = gland.half_depth * (0.25 * t * t - 0.05)  # its way is convex toward the back
    radius = np.sqrt(x * x + (1.3 * (y - gland.lean * t * gland.half_height + bend)) ** 2)
    ring = np.maximum(radius / 4.5 - 1, whole)
    part.blend(0.5 * coverage(ring), part.brightness["anterior_stroma"])
    part.fill("urethra", np.maximum(radius / 2.0 - 1, whole), grainy)
