"""Denoising: shapes with known answers, invariants, stable time steps at and beyond the limit, arguments."""

import math
import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from medlearn import denoise
from medlearn.denoise import (
    curvature_anisotropic_diffusion,
    curvature_flow,
    curvature_flow_steps,
    gaussian,
    gradient_anisotropic_diffusion,
    isophote_curvature,
    isophotes,
    min_max_curvature_flow,
)

FLOWS = [curvature_flow, min_max_curvature_flow]
DIFFUSIONS = [gradient_anisotropic_diffusion, curvature_anisotropic_diffusion]
SPACINGS = [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 1.0), (3.0, 0.6, 0.8)]


def noise(ndim, seed=0):
    return np.random.default_rng(seed).normal(100, 20, size=(7, 18, 21)[-ndim:])


def distance_from_center(shape, spacing):
    """Distance of each voxel from the center of the array, in mm."""
    axes = [(np.arange(n) - (n - 1) / 2) * h for n, h in zip(shape, spacing, strict=True)]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))


def soft_ball(shape, spacing, radius, rim=4):
    """1 inside, 0 outside; between them a rim, by default 4 mm wide."""
    return np.clip(0.5 - (distance_from_center(shape, spacing) - radius) / rim, 0, 1)


# ---- What the equations say


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.8, 1.25)])
def test_a_disk_shrinks_as_the_square_root_of_time(spacing):
    shape, radius = [round(32 / h) for h in spacing], 10
    image = soft_ball(shape, spacing, radius)
    for time in (10, 30, 40):
        result = curvature_flow(image, spacing=spacing, n_iterations=time * 5, time_step=0.2)
        area = np.count_nonzero(result > 0.5) * math.prod(spacing)
        assert math.sqrt(area / math.pi) == pytest.approx(math.sqrt(radius**2 - 2 * time), rel=0.03)
    gone = curvature_flow(image, spacing=spacing, n_iterations=60 * 5, time_step=0.2)
    assert gone.max() < 0.5


def test_a_ball_shrinks_twice_as_fast():
    spacing, radius = (1.5, 1.0, 1.0), 10
    image = soft_ball((20, 30, 30), spacing, radius)
    result = curvature_flow(image, spacing=spacing, n_iterations=60, time_step=0.2)
    volume = np.count_nonzero(result > 0.5) * math.prod(spacing)
    assert (volume * 3 / 4 / math.pi) ** (1 / 3) == pytest.approx(math.sqrt(radius**2 - 4 * 12), rel=0.03)


@pytest.mark.parametrize(("spacing", "sides"), [((1.0, 0.5), 1), ((0.8, 0.5, 0.5), 2)])
def test_curvature_of_circles_and_spheres(spacing, sides):
    shape = [round(30 / h) + 1 for h in spacing]
    distance = distance_from_center(shape, spacing)
    rim = (distance > 6) & (distance < 13)
    dark, bright = (isophote_curvature(sign * distance, spacing=spacing) for sign in (1, -1))
    np.testing.assert_allclose(dark[rim], sides / distance[rim], rtol=0.02)
    np.testing.assert_allclose(bright, -dark)


def test_curvature_is_zero_without_gradient_and_on_straight_edges():
    assert not isophote_curvature(np.full((4, 5), 7), spacing=(1, 1)).any()
    ramp = np.add.outer(np.arange(9.0), 3 * np.arange(8.0))
    np.testing.assert_allclose(isophote_curvature(ramp, spacing=(1, 0.5))[1:-1, 1:-1], 0, atol=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("method", FLOWS + DIFFUSIONS)
def test_a_constant_image_stays(method, spacing):
    image = np.full((5, 8, 6)[-len(spacing) :], 41.5)
    np.testing.assert_array_equal(method(image, spacing=spacing, time_step=0.03), image)


@pytest.mark.parametrize("method", FLOWS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flows_leave_a_ramp_and_a_step_alone(method, axis):
    for profile in (np.arange(12.0), np.arange(12) // 6 * 100.0):
        image = np.moveaxis(np.broadcast_to(profile, (8, 9, 12)), 2, axis)
        np.testing.assert_array_equal(method(image, spacing=(1, 1, 1)), image)


def test_a_lone_pixel_stays_but_a_pair_fades():
    image = np.zeros((9, 9))
    image[4, 4] = 100
    assert curvature_flow(image, spacing=(1, 1), n_iterations=40)[4, 4] == 100
    image[4, 5] = 100
    assert curvature_flow(image, spacing=(1, 1), n_iterations=40).max() < 100


@pytest.mark.parametrize("method", FLOWS)
def test_flows_leave_tiny_gradients_alone(method):
    image = noise(3) * 1e-7
    np.testing.assert_array_equal(method(image, spacing=(1, 1, 1)), image)


def test_min_max_flow_slows_down_what_is_large_for_its_radius():
    image = soft_ball((40, 40), (1, 1), 8, rim=1)

    def area_left(method, step, **arguments):  # after 20 mm²; a disk of radius 8 is then one of 4.9, 0.375 of its area
        result = method(image, spacing=(1, 1), n_iterations=100, time_step=step, **arguments)
        return np.count_nonzero(result > 0.5) / np.count_nonzero(image > 0.5)

    left = [area_left(min_max_curvature_flow, 0.2 * radius**2, radius=radius) for radius in (1, 2, 4)]
    assert left[0] > 0.9 > left[1] > 0.55 > 0.4 > left[2]
    assert left[2] == pytest.approx(area_left(curvature_flow, 0.2), abs=0.05)


@pytest.mark.parametrize("method", DIFFUSIONS)
def test_diffusion_keeps_an_edge_that_the_gaussian_blurs(method):
    clean = np.where(np.arange(40) < 20, 0.0, 100.0) * np.ones((40, 1))
    noisy = clean + np.random.default_rng(0).normal(0, 5, clean.shape)
    diffused = method(noisy, spacing=(1, 1), n_iterations=20, conductance=1.0)
    flat = np.s_[:, 3:15]
    std_mm = next(
        s
        for s in np.arange(0.1, 5, 0.1)
        if gaussian(noisy, spacing=(1, 1), std_mm=s)[flat].std() < diffused[flat].std()
    )
    assert diffused[flat].std() < 0.7 * noisy[flat].std()

    def height(image):
        return (image[:, 20] - image[:, 19]).mean()

    assert height(diffused) > 90 > height(gaussian(noisy, spacing=(1, 1), std_mm=std_mm))


@pytest.mark.parametrize("spacing", [(0.7, 1.4), (2.0, 1.0, 1.0)])
def test_gaussian_is_as_wide_in_mm_along_every_axis(spacing):
    shape, std_mm = (31,) * len(spacing), 2.5
    point = np.zeros(shape)
    point[(15,) * len(spacing)] = 1
    result = gaussian(point, spacing=spacing, std_mm=std_mm)
    assert result.sum() == pytest.approx(1, abs=1e-6)
    for position, h in zip(np.indices(shape) - 15, spacing, strict=True):
        assert math.sqrt((result * (position * h) ** 2).sum()) == pytest.approx(std_mm, rel=0.01)
    np.testing.assert_array_equal(gaussian(point, spacing=spacing, std_mm=0), point)


# ---- Invariants


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("method", FLOWS + DIFFUSIONS)
def test_flips_commute(method, spacing):
    image = noise(len(spacing))
    result = method(image, spacing=spacing, time_step=0.03)
    for axis in range(image.ndim):
        if method is min_max_curvature_flow and (image.ndim, axis) == (3, 2):
            continue  # ITK's angles, which it shares, do not tell the sign of the x component
        flipped = method(np.flip(image, axis), spacing=spacing, time_step=0.03)
        np.testing.assert_allclose(flipped, np.flip(result, axis), rtol=1e-12)


@pytest.mark.parametrize(
    ("method", "spacing"),
    # Of the four samples of a volume's min/max flow, two lie on a meridian through the z axis: z is not like x and y.
    [(m, s) for m in FLOWS + DIFFUSIONS for s in SPACINGS if m is not min_max_curvature_flow or len(s) == 2],
)
def test_transposition_commutes(method, spacing):
    image = noise(len(spacing))
    transposed = method(image.T, spacing=spacing[::-1], time_step=0.03)
    np.testing.assert_allclose(transposed, method(image, spacing=spacing, time_step=0.03).T, rtol=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", FLOWS + DIFFUSIONS)
def test_brightness_and_contrast_commute(method, ndim):
    image, spacing = noise(ndim), (1.2,) * ndim
    result = method(image, spacing=spacing)
    np.testing.assert_allclose(method(3 * image - 500, spacing=spacing), 3 * result - 500, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("method", "power"), [*((m, 2) for m in FLOWS), *((m, 1) for m in DIFFUSIONS)])
def test_the_unit_of_the_time_step(method, power, spacing):
    image = noise(len(spacing))
    doubled = method(image, spacing=[2 * h for h in spacing], time_step=0.03 * 2**power)
    np.testing.assert_allclose(doubled, method(image, spacing=spacing, time_step=0.03), rtol=1e-9)


@pytest.mark.parametrize("method", [curvature_flow, *DIFFUSIONS])
def test_an_image_is_a_volume_of_one_slice(method):
    image = noise(2)
    volume = method(image[None], spacing=(5, 1, 0.8), time_step=0.09)  # stable for two axes, not for three
    np.testing.assert_array_equal(volume[0], method(image, spacing=(1, 0.8), time_step=0.09))


@pytest.mark.parametrize("method", FLOWS + DIFFUSIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_can_be_taken_one_by_one(method, dtype):
    image = noise(3).astype(dtype)
    step = image
    for _ in range(3):
        step = method(step, spacing=(2, 1, 1), n_iterations=1)
    np.testing.assert_array_equal(step, method(image, spacing=(2, 1, 1), n_iterations=3))


def test_curvature_flow_steps_are_the_iterates():
    image = noise(2)
    steps = list(curvature_flow_steps(image, spacing=(1, 1), n_iterations=4, time_step=0.1))
    for n, step in enumerate(steps, start=1):
        np.testing.assert_array_equal(step, curvature_flow(image, spacing=(1, 1), n_iterations=n, time_step=0.1))
    assert len(steps) == 4
    assert not any(np.shares_memory(a, b) for a, b in pairwise(steps))


# ---- Stable time steps


def in_trouble(fine, coarse, spacing):
    """A steep ramp along the axis `coarse`, and a tiny checkerboard along the others, that is, along its isophotes."""
    grid = np.indices((16,) * len(spacing))
    return 100.0 * spacing[coarse] * grid[coarse], 1e-3 * (-1.0) ** sum(grid[axis] for axis in fine)


@pytest.mark.parametrize(
    ("spacing", "fine", "coarse", "largest"),
    [
        ((1.0, 1.0), [0], 1, 1 / 2),
        ((2.0, 0.5), [1], 0, 0.5**2 / 2),
        ((1.0, 1.0, 1.0), [0, 1], 2, 1 / 4),
        ((3.0, 0.6, 0.8), [1, 2], 0, 1 / (2 * (1 / 0.6**2 + 1 / 0.8**2))),
        ((0.5, 2.0, 0.5), [0, 2], 1, 0.5**2 / 4),
    ],
)
def test_the_largest_stable_step_of_the_flow(spacing, fine, coarse, largest, monkeypatch):
    ramp, ripple = in_trouble(fine, coarse, spacing)
    arguments = {"spacing": spacing, "n_iterations": 30}

    def growth(factor):
        result = curvature_flow(ramp + ripple, time_step=factor * largest, **arguments)
        return np.abs(result - ramp).max() / np.abs(ripple).max()

    assert growth(0.9) < 0.1
    assert growth(1.0) < 1.1
    with pytest.raises(ValueError, match=f"The largest stable one is {largest:.4g} mm²"):
        growth(1.1)
    monkeypatch.setattr(denoise, "_largest_flow_step", lambda *_: math.inf)
    assert growth(1.1) > 10


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5), (1.0, 1.0, 1.0), (3.0, 0.6, 0.8)])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        (gradient_anisotropic_diffusion, "_largest_diffusion_step"),
        (curvature_anisotropic_diffusion, "_largest_curvature_diffusion_step"),
    ],
)
def test_the_largest_stable_step_of_diffusion(method, name, spacing, monkeypatch):
    image = noise(len(spacing))
    largest = getattr(denoise, name)(image, spacing)
    arguments = {"spacing": spacing, "n_iterations": 60, "conductance": 100.0}  # so large that c is 1
    stable = method(image, time_step=largest, **arguments)
    assert np.ptp(stable) < 0.5 * np.ptp(image)
    with pytest.raises(ValueError, match=f"The largest stable one is {largest:.4g} mm"):
        method(image, time_step=1.3 * largest, **arguments)
    monkeypatch.setattr(denoise, name, lambda *_: math.inf)
    assert np.ptp(method(image, time_step=1.3 * largest, **arguments)) > 100 * np.ptp(image)


def test_nothing_leaves_the_range_by_gradient_diffusion():
    image = noise(3)
    result = gradient_anisotropic_diffusion(image, spacing=(1, 1, 1), time_step=1 / 6, n_iterations=20)
    assert image.min() <= result.min() <= result.max() <= image.max()
    assert result.mean() == pytest.approx(image.mean(), rel=1e-12)  # what leaves one voxel enters its neighbor


def test_an_unstable_step_is_refused_with_the_one_to_use():
    with pytest.raises(ValueError, match=r"time_step 0\.3 mm² .* spacing \(0\.5, 0\.5\) mm.* 0\.125 mm²; use that"):
        curvature_flow(noise(2), spacing=(0.5, 0.5), time_step=0.3)
    with pytest.raises(ValueError, match=r"largest stable one is 0\.5 mm²"):
        min_max_curvature_flow(noise(2), spacing=(0.5, 0.5), time_step=0.6, radius=2)
    with pytest.raises(ValueError, match="time_step"):  # when called, not at the first iterate
        curvature_flow_steps(noise(2), spacing=(0.5, 0.5), time_step=0.3)


# ---- Isophotes


def test_isophotes_are_circles_in_mm():
    spacing = (0.5, 0.8)
    distance = distance_from_center((61, 51), spacing)
    lines = isophotes(distance, [5, 8], spacing=spacing)
    assert len(lines) == 2
    for line, radius in zip(lines, (5, 8), strict=True):
        assert line.shape[1] == 2
        np.testing.assert_array_equal(line[0], line[-1])
        np.testing.assert_allclose(np.hypot(*(line - (15, 20)).T), radius, atol=0.03)
    np.testing.assert_array_equal(isophotes(distance, 5, spacing=spacing)[0], lines[0])
    assert isophotes(distance, 1000, spacing=spacing) == []


def test_isophotes_of_a_volume_are_refused():
    with pytest.raises(ValueError, match="take a slice"):
        isophotes(noise(3), 100, spacing=(1, 1, 1))


# ---- Arguments and types


@pytest.mark.parametrize("method", [gaussian, isophote_curvature, *FLOWS, *DIFFUSIONS])
@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", np.float32),
        ("int16", np.float32),
        (">u2", np.float32),
        ("float16", np.float32),
        (">f4", np.float32),
        ("float64", np.float64),
        (">f8", np.float64),
    ],
)
def test_types(method, dtype, expected):
    image = noise(2).astype(dtype)
    image = np.asfortranarray(np.repeat(image, 2, axis=1))[:, ::2]  # neither C nor contiguous
    before = image.copy()
    arguments = {"std_mm": 1} if method is gaussian else {}
    result = method(image, spacing=(1, 1), **arguments)
    assert result.dtype == expected
    assert result.shape == image.shape
    np.testing.assert_array_equal(image, before)
    exact = method(image.astype(np.float64), spacing=(1, 1), **arguments)
    np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", FLOWS + DIFFUSIONS)
def test_without_iterations_a_copy_comes_back(method):
    image = noise(2)
    result = method(image, spacing=(1, 1), n_iterations=0)
    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (1, 1, 1), (2, 1, 5)])
@pytest.mark.parametrize("method", [isophote_curvature, *FLOWS, *DIFFUSIONS])
def test_tiny_images(method, shape):
    image = np.arange(math.prod(shape), dtype=float).reshape(shape) ** 2
    assert np.isfinite(method(image, spacing=(1,) * len(shape))).all()


@pytest.mark.parametrize("method", [isophote_curvature, *FLOWS, *DIFFUSIONS])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(5), r"\(y, x\) or one volume \(z, y, x\); got shape \(5,\)"),
        (np.zeros((2, 2, 2, 2)), "got shape"),
        (np.zeros((0, 3)), "got shape"),
        (np.zeros((3, 3), complex), "real numbers; got dtype complex128"),
        (np.array([[1, np.nan], [np.inf, 2]]), "finite numbers; got 2 of 4"),
    ],
)
def test_images_that_do_not_fit(method, image, message):
    with pytest.raises(ValueError, match=message):
        method(image, spacing=(1,) * image.ndim)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: curvature_flow(f, spacing=(1, 1, 1)), r"spacing must be 2 positive numbers of mm \(y, x\)"),
        (lambda f: curvature_flow(f, spacing=(1, 0)), "spacing must be 2 positive"),
        (lambda f: isophote_curvature(f, spacing=1), "spacing must be 2 positive"),
        (lambda f: curvature_flow(f, spacing=(1, 1), n_iterations=-1), "n_iterations must be a whole number, 0"),
        (lambda f: curvature_flow(f, spacing=(1, 1), n_iterations=2.5), "n_iterations must be a whole number"),
        (lambda f: curvature_flow(f, spacing=(1, 1), time_step=0), "time_step must be a positive number of mm²"),
        (lambda f: curvature_flow(f, spacing=(1, 1), time_step=math.nan), "time_step must be a positive number"),
        (lambda f: min_max_curvature_flow(f, spacing=(1, 1), radius=0), "radius must be a whole number, 1 or more"),
        (lambda f: gradient_anisotropic_diffusion(f, spacing=(1, 1), conductance=0), "conductance must be a positive"),
        (lambda f: curvature_anisotropic_diffusion(f, spacing=(1, 1), conductance=-1), "conductance must be"),
        (lambda f: gaussian(f, spacing=(1, 1), std_mm=-1), "std_mm must be 0 or a positive number of mm; got -1"),
        (lambda f: gaussian(f, spacing=(1,), std_mm=1), "spacing must be 2"),
    ],
)
def test_arguments_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(noise(2))


# ---- Compilation

SCRIPT = """
import sys, numpy as np
sys.path.insert(0, sys.argv[1])
from {package} import denoise
image = np.load(sys.argv[2])
arguments = dict(spacing=(2.0, 1.0, 0.8), n_iterations=1, time_step=0.03)
methods = "{methods}".split()
np.save(sys.argv[3], [getattr(denoise, name)(image, **arguments) for name in methods])
np.save(sys.argv[4], denoise.min_max_curvature_flow(image[0], spacing=(1.0, 0.8), time_step=0.03))
"""


def run_elsewhere(tmp_path, package, **environment):
    """The four methods in another process; checks that they give there what they give here."""
    image = noise(3)[:4, :9, :8]
    np.save(tmp_path / "image.npy", image)
    files = [tmp_path / name for name in ("image.npy", "volume.npy", "slice.npy")]
    script = SCRIPT.format(package=package, methods=" ".join(method.__name__ for method in FLOWS + DIFFUSIONS))
    command = [sys.executable, "-c", script, tmp_path, *files]
    subprocess.run(list(map(str, command)), env=os.environ | environment, check=True)
    for method, result in zip(FLOWS + DIFFUSIONS, np.load(files[1]), strict=True):
        expected = method(image, spacing=(2.0, 1.0, 0.8), n_iterations=1, time_step=0.03)
        np.testing.assert_allclose(result, expected, rtol=1e-12)
    expected = min_max_curvature_flow(image[0], spacing=(1.0, 0.8), time_step=0.03)
    np.testing.assert_allclose(np.load(files[2]), expected, rtol=1e-12)


def test_the_loops_do_in_python_what_they_do_compiled(tmp_path):
    run_elsewhere(tmp_path, "medlearn", NUMBA_DISABLE_JIT="1")


def test_it_works_where_no_compiled_code_can_be_kept(tmp_path):
    package = tmp_path / "installed"
    package.mkdir()
    for name in ("denoise.py", "errors.py", "_jit.py"):
        package.joinpath(name).write_bytes(Path(denoise.__file__).with_name(name).read_bytes())
    nowhere = package / "__pycache__"  # a file where the folder would have to be; root may write anywhere else
    nowhere.write_text("")
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "LOCALAPPDATA"), str(nowhere))
    run_elsewhere(tmp_path, "installed", PYTHONDONTWRITEBYTECODE="1", **places)


def test_the_ball_of_the_min_max_flow():
    assert len(denoise._ball(2, 2)) == 13
    assert len(denoise._ball(1, 3)) == 7
    assert {tuple(o) for o in denoise._ball(1, 2)} == {o for o in product((0,), (-1, 0, 1), (-1, 0, 1)) if 0 in o[1:]}
