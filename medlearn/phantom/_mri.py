"""From tissues to a T2-weighted image: spin-echo contrast, coil, k-space, noise and the scanner's gray scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ._canvas import Grid
from ._shapes import smooth_noise


@dataclass(frozen=True)
class Tissue:
    """What spin-echo MRI sees of a tissue.

    Attributes
    ----------
    label : int
        Its number in the label map.
    t1_ms, t2_ms : float
        Relaxation times in ms, typical values at 3 T: right in order of magnitude, not taken from one study.
    proton_density : float
        Relative to water.
    spread : float
        How much T2 differs from patient to patient: standard deviation of its logarithm.
    """

    label: int
    t1_ms: float
    t2_ms: float
    proton_density: float
    spread: float = 0.06


#: Tissues of the pelvis by name. Fat has the long effective T2 that it shows in fast spin-echo sequences.
TISSUES: Mapping[str, Tissue] = MappingProxyType(
    {
        "air": Tissue(0, 1.0, 1.0, 0.0),
        "fat": Tissue(1, 380, 135, 0.88, 0.08),
        "skin": Tissue(2, 1000, 35, 0.70),
        "muscle": Tissue(3, 1400, 36, 0.80),
        "obturator_muscle": Tissue(4, 1400, 35, 0.80),
        "levator_muscle": Tissue(5, 1400, 38, 0.80),
        "cortical_bone": Tissue(6, 1000, 5, 0.15),
        "pubic_bone": Tissue(7, 550, 85, 0.75, 0.15),
        "hip_bone": Tissue(8, 550, 88, 0.78, 0.15),
        "femoral_head": Tissue(9, 500, 110, 0.82, 0.12),
        "sacrum": Tissue(10, 600, 80, 0.62, 0.15),
        "cartilage": Tissue(11, 1100, 30, 0.70),
        "vein": Tissue(12, 1800, 170, 0.90, 0.15),
        "artery": Tissue(13, 1800, 12, 0.60),  # blood that flows fast leaves the slice before the echo
        "bladder_wall": Tissue(14, 1400, 52, 0.85, 0.10),
        "urine": Tissue(15, 3500, 900, 1.00, 0.15),
        "rectal_wall": Tissue(16, 1300, 60, 0.82, 0.12),
        "rectal_gas": Tissue(17, 1.0, 1.0, 0.0),
        "rectal_content": Tissue(18, 1200, 75, 0.85, 0.45),
        "endorectal_coil": Tissue(19, 1000, 30, 0.60, 0.60),
        "seminal_vesicle": Tissue(20, 2200, 190, 0.92, 0.25),
        "urethral_sphincter": Tissue(21, 1400, 62, 0.85, 0.12),
        "penile_bulb": Tissue(22, 1700, 130, 0.90, 0.12),
        "peripheral_zone": Tissue(23, 1900, 128, 0.90, 0.22),
        "transition_zone": Tissue(24, 1550, 84, 0.86, 0.10),
        "central_zone": Tissue(25, 1450, 72, 0.85, 0.10),
        "anterior_stroma": Tissue(26, 1400, 58, 0.82, 0.12),
        "urethra": Tissue(27, 1700, 120, 0.88, 0.20),
        "capsule": Tissue(28, 1300, 50, 0.80, 0.12),
    }
)


def spin_echo(tissue: Tissue, tr_ms: float, te_ms: float, t2_factor: float = 1.0) -> float:
    """Signal of a spin echo: PD · (1 − exp(−TR / T1)) · exp(−TE / T2)."""
    recovered = -np.expm1(-tr_ms / tissue.t1_ms)
    return tissue.proton_density * recovered * np.exp(-te_ms / (tissue.t2_ms * t2_factor))


@dataclass(frozen=True)
class Scanner:
    """How one examination was measured and stored."""

    tr_ms: float
    te_ms: float
    matrix: tuple[float, float]  # share of the stored matrix (y, x) that was measured in k-space
    noise: float  # standard deviation in each channel, relative to fat
    surface_gain: float  # how much brighter the tissue near the array coils in front and behind is
    shading: float  # standard deviation of the slow bias of the array, relative
    endorectal_gain: float  # sensitivity of the endorectal coil in its middle relative to the array; 0 without one
    endorectal_range_mm: float  # distance at which that sensitivity has fallen to a quarter
    fat_count: float  # stored value of fat in the middle of the field of view


def draw_scanner(rng: np.random.Generator, endorectal: bool) -> Scanner:
    """Draw one scanner and protocol. Gray scales of real multi-center sets differ a hundredfold."""
    middle = rng.choice((120.0, 330.0, 420.0, 600.0, 1100.0), p=(0.2, 0.25, 0.25, 0.15, 0.15))
    return Scanner(
        tr_ms=rng.uniform(3000, 6500),
        te_ms=rng.uniform(85, 125),
        matrix=(rng.uniform(0.6, 0.85), rng.uniform(0.75, 0.97)),
        noise=rng.uniform(0.02, 0.07) * (1.8 if endorectal else 1.0),
        surface_gain=rng.uniform(0.0, 0.7),
        shading=rng.uniform(0.04, 0.16),
        endorectal_gain=rng.uniform(6.0, 22.0) if endorectal else 0.0,
        endorectal_range_mm=rng.uniform(15.0, 22.0),
        fat_count=middle * rng.uniform(0.7, 1.4),
    )


def sensitivity(grid: Grid, scanner: Scanner, coil_center, rng: np.random.Generator) -> np.ndarray:
    """Receive sensitivity at every voxel: the array coils' slow shading, and the steep peak at an endorectal coil."""
    x, y, z = grid.coordinates()
    gain = smooth_noise(rng, grid.axes, (60, 64, 64), scanner.shading)
    gain += 1 + scanner.surface_gain * ((y - grid.center[1]) / 80) ** 2
    if scanner.endorectal_gain:
        dx, dy, dz = (a - c for a, c in zip((x, y, z), coil_center, strict=True))
        square = dx**2 + (dy**2 + (dz / 2.2) ** 2)  # the coil is long
        square /= scanner.endorectal_range_mm**2
        square += 1
        gain += scanner.endorectal_gain / (square * square)
    return gain


def acquire(signal: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Measure slices (z, y, x) as a scanner does; returns float64 of the same shape.

    Only the middle of k-space is measured (Gibbs ringing beside sharp edges), noise falls on both channels, and the
    magnitude is what is kept: it is Rician (Gudbjartsson & Patz, Magn Reson Med 1995;34:910). The scanner then stores a
    finer matrix by filling k-space with zeros. That second step overshoots beside bright edges, even below zero.
    """
    matrix = signal.shape[1:]
    measured = tuple(8 * int(n * share / 8) for n, share in zip(matrix, scanner.matrix, strict=True))  # 8: fast FFT
    image = np.empty(signal.shape)
    for k, plane in enumerate(signal):  # one slice at a time stays in the cache
        real, imaginary = scanner.noise * rng.standard_normal((2, *measured))
        real += _fourier_resize(plane, measured)
        image[k] = _fourier_resize(np.sqrt(real * real + imaginary * imaginary), matrix)
    return image


def _fourier_resize(image: np.ndarray, matrix: tuple[int, int]) -> np.ndarray:
    """Resize a slice to `matrix` (y, x) by cropping k-space or filling it with zeros."""
    old = image.shape
    spectrum = np.fft.rfft2(image)
    low_y = min(old[0], matrix[0]) // 2
    low_x = min(old[1], matrix[1]) // 2
    resized = np.zeros((matrix[0], matrix[1] // 2 + 1), complex)
    resized[:low_y, :low_x] = spectrum[:low_y, :low_x]
    resized[-low_y:, :low_x] = spectrum[-low_y:, :low_x]
    return np.fft.irfft2(resized, matrix) * (matrix[0] * matrix[1] / (old[0] * old[1]))
