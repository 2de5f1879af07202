"""Removing noise: the Gaussian filter, curvature flow and its relatives, and the isophotes that the flows move.

All functions but `isophotes` take one image, (y, x), or one volume, (z, y, x), and treat a volume as three-dimensional:
nothing is looped over leading axes. For slice by slice processing call them slice by slice. ``float64`` stays
``float64``; every other real dtype becomes ``float32``. Beyond the border the image goes on with its border value, so
nothing flows in or out.

The flows are written as explicit loops over voxels and compiled by numba. A picture is a volume of one slice for them.
For the same arguments they give the numbers of the SimpleITK filters of the same name, spacing included; where those
depart from the equation, the notes say how.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from ._jit import compiled
from .errors import check_positive

NO_GRADIENT = 1e-9  # squared; below it a voxel has no isophote, and the flows leave it alone


def gaussian(image: ArrayLike, *, spacing: Sequence[float], std_mm: float) -> np.ndarray:
    """Blur with a Gaussian that is equally wide in mm along every axis. It removes noise and edges alike.

    This is what linear diffusion, ``∂I/∂t = ΔI``, does to the image in the time ``std_mm² / 2``.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers.
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.
    std_mm : float
        Standard deviation of the Gaussian in mm, 0 (no blur) or more. It is cut off after four of them.

    Returns
    -------
    ndarray of float32 or float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    image, spacing = _check_image(image), _check_spacing(spacing, np.ndim(image))
    if not 0 <= std_mm < math.inf:
        raise ValueError(f"std_mm must be 0 or a positive number of mm; got {std_mm!r}")
    return ndimage.gaussian_filter(image, [std_mm / h for h in spacing], mode="nearest")


def curvature_flow(
    image: ArrayLike, *, spacing: Sequence[float], n_iterations: int = 5, time_step: float = 0.05
) -> np.ndarray:
    """Let every isophote move with its curvature: noise and corners vanish, straight edges stay.

    The equation is ``∂I/∂t = κ |∇I|`` with the curvature κ of the isophotes (`isophote_curvature`); in a volume κ is
    the sum of the two principal curvatures. A disk shrinks as r² = r₀² − 2t and vanishes at t = r₀² / 2, however high
    its contrast; a ball as r² = r₀² − 4t. A lone bright pixel stays: central differences see no gradient at its center.
    Where |∇I|² is below 1e-9, in gray values per mm, nothing moves: scale images up whose values are tiny.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers.
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.
    n_iterations : int
        Number of steps, 0 or more.
    time_step : float
        Time of one step in mm². The largest stable one is h² / 2 for square pixels of h mm and h² / 4 for cubic voxels;
        in general 1 / (2a) with a the sum of 1 / h² over the finest axis of an image, the two finest of a volume.

    Returns
    -------
    ndarray of float32 or float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit, or the time step is not stable; the message says which one is.

    References
    ----------
    L. Alvarez, P.-L. Lions, J.-M. Morel, Image selective smoothing and edge detection by nonlinear diffusion II, SIAM J
    Numer Anal 29 (1992) 845-866. J. A. Sethian, Level Set Methods and Fast Marching Methods, Cambridge 1999.
    """
    return _last(image, _flow(image, spacing, n_iterations, time_step))


def curvature_flow_steps(
    image: ArrayLike, *, spacing: Sequence[float], n_iterations: int = 5, time_step: float = 0.05
) -> Iterator[np.ndarray]:
    """Yield the image after each step of `curvature_flow`, which see: `n_iterations` arrays, the last is its result."""
    return (iterate.copy() for iterate in _flow(image, spacing, n_iterations, time_step))


def min_max_curvature_flow(
    image: ArrayLike, *, spacing: Sequence[float], n_iterations: int = 5, time_step: float = 0.05, radius: int = 2
) -> np.ndarray:
    """Curvature flow that may only move toward the local mean: noise vanishes, what is large for `radius` lasts longer.

    Where the mean over a disk (ball) of `radius` lies below the mean of the image on the isophote's tangent, `radius`
    away from the pixel, the curvature flow may only brighten, elsewhere only darken.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers.
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.
    n_iterations : int
        Number of steps, 0 or more.
    time_step : float
        Time of one step in mm²; at most `radius`² times what `curvature_flow` allows.
    radius : int
        In voxels, 1 or more, along every axis.

    Returns
    -------
    ndarray of float32 or float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit, or the time step is not stable; the message says which one is.

    Notes
    -----
    Two habits of ITK are kept, so that numbers can be compared. It divides derivatives by `radius`: a step moves the
    isophotes as far as one of ``time_step / radius²`` of `curvature_flow`. And in a volume its four samples do not
    always lie on the tangent plane: it takes the angles of the gradient with the z component multiplied by `radius` and
    without the sign of the x component, so that a volume mirrored in x gives another result. Images are free of this.

    References
    ----------
    R. Malladi, J. A. Sethian, Image processing: flows under min/max curvature and mean curvature, Graphical Models and
    Image Processing 58 (1996) 127-141.
    """
    _check_count("radius", radius, 1)
    ball = _ball(radius, np.ndim(image))

    def rate(field, speed, spacing):
        _curvature_speed(field, speed, *(radius * h for h in spacing))
        _keep_min_or_max(field, speed, _mean_over(field, ball, radius), np.ndim(image) == 3, radius, *spacing)

    limit = radius**2 * _largest_flow_step(image, spacing)
    return _last(image, _explicit_steps(image, spacing, n_iterations, time_step, limit, "mm²", rate, margin=radius))


def gradient_anisotropic_diffusion(
    image: ArrayLike,
    *,
    spacing: Sequence[float],
    n_iterations: int = 5,
    time_step: float = 0.0625,
    conductance: float = 3.0,
) -> np.ndarray:
    """Diffusion that slows down where the gradient is large: ``∂I/∂t = ∇·(c ∇I)``, after Perona and Malik.

    ``c = exp(−|∇I|² / (2 · conductance² · m))`` with m the mean of |∇I|² over the image, taken anew at each step.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers.
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.
    n_iterations : int
        Number of steps, 0 or more.
    time_step : float
        At most 1 / (2a) with a the sum of 1 / h over the axes: h / 4 for square pixels of h mm, h / 6 for cubic voxels.
        Up to there each new value is a weighted mean of old ones, so nothing leaves the range of the image.
    conductance : float
        How large a gradient, relative to the mean one, may be diffused away; small keeps more edges and more noise.

    Returns
    -------
    ndarray of float32 or float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit, or the time step is not stable; the message says which one is.

    Notes
    -----
    As in ITK, gradients are in 1/mm but the divergence is the plain difference of the fluxes. The unit of the time step
    is therefore mm, not mm²: with cubic voxels of h mm a step of τ is one of τ·h mm² of the equation, and with other
    voxels the wider axes are smoothed more than the equation says.

    References
    ----------
    P. Perona, J. Malik, Scale-space and edge detection using anisotropic diffusion, IEEE TPAMI 12 (1990) 629-639.
    """
    check_positive("conductance", conductance)

    def rate(field, speed, spacing):
        two_k_squared = 2 * conductance**2 * _squared_gradient(field, spacing).mean(dtype=np.float64)
        _divergence(field, speed, two_k_squared, False, *spacing)

    limit = _largest_diffusion_step(image, spacing)
    return _last(image, _explicit_steps(image, spacing, n_iterations, time_step, limit, "mm", rate))


def curvature_anisotropic_diffusion(
    image: ArrayLike,
    *,
    spacing: Sequence[float],
    n_iterations: int = 5,
    time_step: float = 0.0625,
    conductance: float = 3.0,
) -> np.ndarray:
    """Curvature flow that slows down at strong edges: ``∂I/∂t = |∇I| ∇·(c ∇I / |∇I|)``, after Whitaker and Xue.

    With c = 1 the equation is that of `curvature_flow`; c is that of `gradient_anisotropic_diffusion`, and depends on
    the contrast of an edge.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers.
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.
    n_iterations : int
        Number of steps, 0 or more.
    time_step : float
        At most 1 / (n √(8a)) with n the number of axes and a the sum of 1 / h² over them, the step at which a
        checkerboard of single pixels no longer fades: h / 8 for square pixels of h mm, h / 14.7 for cubic voxels.
    conductance : float
        How large a gradient, relative to the mean one, may be diffused away; small keeps more edges and more noise.

    Returns
    -------
    ndarray of float32 or float64, same shape

    Raises
    ------
    ValueError
        If an argument does not fit, or the time step is not stable; the message says which one is.

    Notes
    -----
    The time step has the unit mm and depends on the voxels as that of `gradient_anisotropic_diffusion`, which see.

    References
    ----------
    R. T. Whitaker, X. Xue, Variable-conductance, level-set curvature for image denoising, Proc IEEE ICIP 2001, vol 3,
    142-145.
    """
    check_positive("conductance", conductance)

    def rate(field, speed, spacing):
        two_k_squared = 2 * conductance**2 * _squared_gradient(field, spacing).mean(dtype=np.float64)
        _divergence(field, speed, two_k_squared, True, *spacing)
        _times_upwind_gradient(field, speed, *spacing)

    limit = _largest_curvature_diffusion_step(image, spacing)
    return _last(image, _explicit_steps(image, spacing, n_iterations, time_step, limit, "mm", rate))


def isophotes(image: ArrayLike, levels: float | Sequence[float], *, spacing: Sequence[float]) -> list[np.ndarray]:
    """Lines of equal gray value, linearly interpolated between pixel centers (marching squares).

    Parameters
    ----------
    image : array, (y, x)
        Finite real numbers.
    levels : float or sequence of float
        Gray values of the lines.
    spacing : sequence of float
        Distance between pixel centers in mm, (y, x).

    Returns
    -------
    list of (n, 2) arrays of float64
        The lines of the first level, then those of the next. Points are (y, x) in mm from the center of pixel (0, 0); a
        closed line ends at its first point.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    from skimage.measure import find_contours

    image = _check_image(image)
    if image.ndim != 2:
        raise ValueError(
            f"image must have axes (y, x) to have lines as isophotes; got shape {image.shape}: take a slice"
        )
    scale = np.array(_check_spacing(spacing, 2))
    return [line * scale for level in np.atleast_1d(levels) for line in find_contours(image, level)]


def isophote_curvature(image: ArrayLike, *, spacing: Sequence[float]) -> np.ndarray:
    """Curvature κ = ∇·(∇I / |∇I|) of the isophote through each pixel, in 1/mm.

    −1/r on the rim of a bright disk of radius r, +1/r on that of a dark one, 0 on a straight edge. In a volume it is
    the sum of the two principal curvatures, −2/r on a bright ball.

    Parameters
    ----------
    image : array, (y, x) or (z, y, x)
        Finite real numbers. Second derivatives amplify noise: blur first (`gaussian`).
    spacing : sequence of float
        Distance between pixel centers in mm, in the order of the axes.

    Returns
    -------
    ndarray of float32 or float64, same shape
        0 where the image has no gradient.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    field, spacing, shape = _padded(image, spacing, margin=1)
    speed = np.zeros_like(field)
    _curvature_speed(field, speed, *spacing)
    magnitude = np.sqrt(_squared_gradient(field, spacing))
    curvature = np.zeros_like(magnitude)
    np.divide(_inside(speed, 1), magnitude, out=curvature, where=magnitude**2 >= NO_GRADIENT)
    return curvature.reshape(shape)


# ---- Explicit time steps


def _flow(image, spacing, n_iterations, time_step) -> Iterator[np.ndarray]:
    def rate(field, speed, spacing):
        _curvature_speed(field, speed, *spacing)

    limit = _largest_flow_step(image, spacing)
    return _explicit_steps(image, spacing, n_iterations, time_step, limit, "mm²", rate)


def _explicit_steps(
    image: ArrayLike,
    spacing: Sequence[float],
    n_iterations: int,
    time_step: float,
    largest: float,
    unit: str,
    rate: Callable,
    margin: int = 1,
) -> Iterator[np.ndarray]:
    """Check the arguments now; then iterate ``I ← I + time_step · rate(I)``, each time yielding a view of the image.

    ``rate(field, speed, (hz, hy, hx))`` fills `speed`; both arrays are (z, y, x) with a margin of `margin` voxels.
    """
    _check_count("n_iterations", n_iterations, 0)
    check_positive("time_step", time_step, unit)
    if time_step > largest * (1 + 1e-9):  # the limit itself is allowed, however it was rounded
        raise ValueError(
            f"time_step {time_step:g} {unit} is too large for the spacing {tuple(map(float, spacing))} mm: values "
            f"would oscillate instead of fading. The largest stable one is {largest:.4g} {unit}; use that or less, "
            "and more iterations for the same effect"
        )
    field, spacing, shape = _padded(image, spacing, margin)

    def steps():
        speed = np.zeros_like(field)
        for _ in range(n_iterations):
            rate(field, speed, spacing)
            np.multiply(speed, time_step, out=speed)
            np.add(field, speed, out=field)
            _renew_margin(field, margin)
            yield _inside(field, margin).reshape(shape)

    return steps()


def _last(image: ArrayLike, steps: Iterator[np.ndarray]) -> np.ndarray:
    result = _check_image(image)
    for result in steps:  # noqa: B007
        pass
    return result.copy()


def _padded(image, spacing, margin: int) -> tuple[np.ndarray, tuple[float, float, float], tuple[int, ...]]:
    """The image as a volume with its border values repeated around it, the spacing (z, y, x), the image's own shape."""
    image = _check_image(image)
    spacing = (1.0,) * (3 - image.ndim) + _check_spacing(spacing, image.ndim)
    volume = image.reshape((1,) * (3 - image.ndim) + image.shape)
    return np.pad(volume, margin, mode="edge"), spacing, image.shape


def _renew_margin(field: np.ndarray, margin: int) -> None:
    for axis in range(field.ndim):  # one axis after the other, so that edges and corners are filled as well
        slices = np.moveaxis(field, axis, 0)
        slices[:margin] = slices[margin]
        slices[-margin:] = slices[-margin - 1]


def _inside(field: np.ndarray, margin: int) -> np.ndarray:
    return field[(slice(margin, -margin),) * field.ndim]


def _squared_gradient(field: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """|∇I|² by central differences, without the margin of one voxel."""
    center = [slice(1, -1)] * 3
    total = 0
    for axis, h in enumerate(spacing):
        after, before = center.copy(), center.copy()
        after[axis], before[axis] = slice(2, None), slice(None, -2)
        total = total + ((field[tuple(after)] - field[tuple(before)]) / (2 * h)) ** 2
    return total


def _ball(radius: int, ndim: int) -> np.ndarray:
    """Offsets (z, y, x) of the voxels in a ball, or in a disk of one slice; shape (n, 3)."""
    offsets = np.indices((2 * radius + 1,) * 3).reshape(3, -1).T - radius
    keep = (offsets**2).sum(1) <= radius**2
    return offsets[keep & ((ndim == 3) | (offsets[:, 0] == 0))]


def _mean_over(field: np.ndarray, offsets: np.ndarray, margin: int) -> np.ndarray:
    """Mean of the voxels at `offsets` from each voxel, without the margin; in double precision, as it is compared."""
    total = np.zeros([n - 2 * margin for n in field.shape])
    for offset in offsets:
        total += field[tuple(slice(margin + k, margin + k + n) for k, n in zip(offset, total.shape, strict=True))]
    return total / len(offsets)


# ---- The largest stable steps. An axis with a single voxel has no differences and does not count.


def _largest_flow_step(image, spacing) -> float:
    """Across an isophote nothing flows; along it the flow is diffusion, fastest where it lies along the finest axes."""
    inverse = sorted((1 / h**2 for h in _extended_axes(image, spacing)), reverse=True)
    return _one_over(2 * sum(inverse[: max(np.ndim(image) - 1, 1)]))


def _largest_diffusion_step(image, spacing) -> float:
    return _one_over(2 * sum(1 / h for h in _extended_axes(image, spacing)))


def _largest_curvature_diffusion_step(image, spacing) -> float:
    spacing = _extended_axes(image, spacing)
    return _one_over(len(spacing) * math.sqrt(8 * sum(1 / h**2 for h in spacing)))


def _extended_axes(image, spacing) -> list[float]:
    spacing = _check_spacing(spacing, _check_ndim(image))
    return [h for h, n in zip(spacing, np.shape(image), strict=True) if n > 1]


def _one_over(value: float) -> float:
    return 1 / value if value else math.inf


# ---- Checks


def _check_ndim(image: ArrayLike) -> int:
    if np.ndim(image) not in (2, 3) or not np.size(image):
        raise ValueError(f"image must be one image (y, x) or one volume (z, y, x); got shape {np.shape(image)}")
    return np.ndim(image)


def _check_image(image: ArrayLike) -> np.ndarray:
    """The image in the floating-point type of the result."""
    _check_ndim(image)
    image = np.asarray(image)
    if image.dtype.kind not in "biuf":
        raise ValueError(f"image must hold real numbers; got dtype {image.dtype}")
    double = image.dtype.kind == "f" and image.dtype.itemsize >= 8
    image = np.ascontiguousarray(image, np.float64 if double else np.float32)
    if not np.isfinite(image).all():
        n_bad = np.count_nonzero(~np.isfinite(image))
        raise ValueError(
            f"image must hold finite numbers; got {n_bad} of {image.size} that are NaN or infinite and would spread. "
            "Replace them first, for example with np.nan_to_num"
        )
    return image


def _check_spacing(spacing: Sequence[float], ndim: int) -> tuple[float, ...]:
    values = np.asarray(spacing, float)
    if values.shape != (ndim,) or not ((values > 0) & np.isfinite(values)).all():
        axes = ", ".join("zyx"[-ndim:])
        raise ValueError(f"spacing must be {ndim} positive numbers of mm ({axes}); got {spacing!r}")
    return tuple(values.tolist())


def _check_count(name: str, value: int, smallest: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < smallest:
        raise ValueError(f"{name} must be a whole number, {smallest} or more; got {value!r}")


# ---- Compiled loops. `f` and `speed` are (z, y, x) arrays with a margin; hz, hy, hx are the spacing in mm.


@compiled
def _curvature_speed(f, speed, hz, hy, hx):
    """Fill `speed` with κ |∇I| by central differences."""
    # The weights have the type of the image: a double among them would make float32 arithmetic three times slower.
    real = f.dtype.type
    wz, wy, wx = real(1 / (2 * hz)), real(1 / (2 * hy)), real(1 / (2 * hx))
    wzz, wyy, wxx = real(1 / hz**2), real(1 / hy**2), real(1 / hx**2)
    wzy, wzx, wyx = real(1 / (2 * hz * hy)), real(1 / (2 * hz * hx)), real(1 / (2 * hy * hx))  # of 2 ∂²I/∂z∂y, …
    still, smallest = real(0), real(NO_GRADIENT)
    nz, ny, nx = f.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                c = f[z, y, x]
                fz = (f[z + 1, y, x] - f[z - 1, y, x]) * wz
                fy = (f[z, y + 1, x] - f[z, y - 1, x]) * wy
                fx = (f[z, y, x + 1] - f[z, y, x - 1]) * wx
                fzz = (f[z + 1, y, x] - c + f[z - 1, y, x] - c) * wzz
                fyy = (f[z, y + 1, x] - c + f[z, y - 1, x] - c) * wyy
                fxx = (f[z, y, x + 1] - c + f[z, y, x - 1] - c) * wxx
                fzy = (f[z + 1, y + 1, x] - f[z + 1, y - 1, x] - f[z - 1, y + 1, x] + f[z - 1, y - 1, x]) * wzy
                fzx = (f[z + 1, y, x + 1] - f[z + 1, y, x - 1] - f[z - 1, y, x + 1] + f[z - 1, y, x - 1]) * wzx
                fyx = (f[z, y + 1, x + 1] - f[z, y + 1, x - 1] - f[z, y - 1, x + 1] + f[z, y - 1, x - 1]) * wyx
                squared_gradient = fz * fz + fy * fy + fx * fx
                bending = fz * fz * (fyy + fxx) + fy * fy * (fzz + fxx) + fx * fx * (fzz + fyy)
                bending -= fz * fy * fzy + fz * fx * fzx + fy * fx * fyx
                speed[z, y, x] = bending / squared_gradient if squared_gradient >= smallest else still


@compiled
def _keep_min_or_max(f, speed, mean, is_volume, radius, hz, hy, hx):
    """Set `speed` to 0 where it leads away from `mean`, an array without margin."""
    nz, ny, nx = f.shape
    for z in range(radius, nz - radius):
        for y in range(radius, ny - radius):
            for x in range(radius, nx - radius):
                if speed[z, y, x] == 0:
                    continue
                if is_volume:
                    threshold = _mean_on_tangent_plane(f, z, y, x, radius, hz, hy, hx)
                else:
                    threshold = _mean_on_tangent_line(f, z, y, x, radius, hy, hx)
                if (speed[z, y, x] > 0) != (mean[z - radius, y - radius, x - radius] < threshold):
                    speed[z, y, x] = 0


@compiled
def _mean_on_tangent_line(f, z, y, x, radius, hy, hx):
    """Mean of the two pixels at `radius` from (y, x) across the gradient; 0 without gradient."""
    gy, gx = (f[z, y + 1, x] - f[z, y - 1, x]) / hy, (f[z, y, x + 1] - f[z, y, x - 1]) / hx
    length = math.sqrt(gy * gy + gx * gx)
    if length == 0:
        return 0.0
    dy, dx = radius * gx / length, -radius * gy / length
    return (_nearest(f, z, y, x, 0.0, dy, dx) + _nearest(f, z, y, x, 0.0, -dy, -dx)) / 2


@compiled
def _mean_on_tangent_plane(f, z, y, x, radius, hz, hy, hx):
    """Mean of four voxels on a circle of `radius` around the voxel; 0 without gradient. Spherical angles as in ITK."""
    gz = (f[z + 1, y, x] - f[z - 1, y, x]) / hz
    gy = (f[z, y + 1, x] - f[z, y - 1, x]) / hy
    gx = (f[z, y, x + 1] - f[z, y, x - 1]) / hx
    length = math.sqrt(gz * gz + gy * gy + gx * gx)
    if length == 0:
        return 0.0
    polar = math.acos(min(max(radius * gz / length, -1.0), 1.0))  # the true angle for radius 1 only: see the notes
    azimuth = math.atan(gy / gx) if gx != 0 else math.pi / 2
    # Two directions across the gradient: down the meridian, and along the circle of latitude.
    dz = -radius * math.sin(polar)
    dy, dx = radius * math.cos(polar) * math.sin(azimuth), radius * math.cos(polar) * math.cos(azimuth)
    ey, ex = radius * math.cos(azimuth), -radius * math.sin(azimuth)
    meridian = _nearest(f, z, y, x, dz, dy, dx) + _nearest(f, z, y, x, -dz, -dy, -dx)
    latitude = _nearest(f, z, y, x, 0.0, ey, ex) + _nearest(f, z, y, x, 0.0, -ey, -ex)
    return (meridian + latitude) / 4


@compiled
def _nearest(f, z, y, x, dz, dy, dx):
    """The voxel nearest to an offset; halves are rounded up."""
    return f[z + math.floor(dz + 0.5), y + math.floor(dy + 0.5), x + math.floor(dx + 0.5)]


@compiled
def _divergence(f, speed, two_k_squared, normalized, hz, hy, hx):
    """Fill `speed` with the divergence of c ∇I, or of c ∇I / |∇I|: what leaves a voxel enters its neighbor."""
    speed[:] = 0
    if two_k_squared == 0:  # no gradient anywhere
        return
    wz, wy, wx, decay = 1 / hz, 1 / hy, 1 / hx, -1 / two_k_squared  # here, because dividing is slow
    nz, ny, nx = f.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                flux = _flux(f, z, y, x, 1, 0, 0, decay, normalized, wz, wy, wx)
                speed[z, y, x] += flux
                speed[z + 1, y, x] -= flux
                flux = _flux(f, z, y, x, 0, 1, 0, decay, normalized, wz, wy, wx)
                speed[z, y, x] += flux
                speed[z, y + 1, x] -= flux
                flux = _flux(f, z, y, x, 0, 0, 1, decay, normalized, wz, wy, wx)
                speed[z, y, x] += flux
                speed[z, y, x + 1] -= flux


@compiled
def _flux(f, z, y, x, dz, dy, dx, decay, normalized, wz, wy, wx):
    """The flux through the face between a voxel and its next neighbor along an axis, (dz, dy, dx) = (1, 0, 0) or so."""
    step = f[z + dz, y + dy, x + dx] - f[z, y, x]
    if step == 0:
        return 0.0
    # On the face, the derivatives along the other axes are the means of those in the two voxels.
    gz = step * wz if dz else (_difference_z(f, z, y, x) + _difference_z(f, z, y + dy, x + dx)) * (wz / 4)
    gy = step * wy if dy else (_difference_y(f, z, y, x) + _difference_y(f, z + dz, y, x + dx)) * (wy / 4)
    gx = step * wx if dx else (_difference_x(f, z, y, x) + _difference_x(f, z + dz, y + dy, x)) * (wx / 4)
    squared_gradient = gz * gz + gy * gy + gx * gx
    flux = (gz * dz + gy * dy + gx * dx) * math.exp(squared_gradient * decay)
    return flux / math.sqrt(1e-10 + squared_gradient) if normalized else flux


@compiled
def _difference_z(f, z, y, x):
    return f[z + 1, y, x] - f[z - 1, y, x]


@compiled
def _difference_y(f, z, y, x):
    return f[z, y + 1, x] - f[z, y - 1, x]


@compiled
def _difference_x(f, z, y, x):
    return f[z, y, x + 1] - f[z, y, x - 1]


@compiled
def _times_upwind_gradient(f, speed, hz, hy, hx):
    """Multiply `speed` by |∇I|, of each axis taking the one-sided differences that the front comes from."""
    nz, ny, nx = f.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                sign = 1.0 if speed[z, y, x] > 0 else -1.0
                center = f[z, y, x]
                squared = _upwind(sign, f[z - 1, y, x], center, f[z + 1, y, x]) / hz**2
                squared += _upwind(sign, f[z, y - 1, x], center, f[z, y + 1, x]) / hy**2
                squared += _upwind(sign, f[z, y, x - 1], center, f[z, y, x + 1]) / hx**2
                speed[z, y, x] *= math.sqrt(squared)


@compiled
def _upwind(sign, before, center, after):
    """Squared differences to the neighbors toward which the value moves: the higher ones where it rises (sign 1)."""
    return max(sign * (before - center), 0.0) ** 2 + max(sign * (after - center), 0.0) ** 2
