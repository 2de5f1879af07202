"""Our filters against SimpleITK's of the same names: random images, all spacings, real scans."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

import medlearn as ml
from medlearn.denoise import (
    curvature_anisotropic_diffusion,
    curvature_flow,
    gaussian,
    gradient_anisotropic_diffusion,
    min_max_curvature_flow,
)

SPACINGS = [(1.0, 1.0), (0.5, 0.5), (0.7, 2.0), (1.0, 1.0, 1.0), (0.6, 0.6, 0.6), (3.0, 0.625, 0.8)]
SHAPES = {2: (34, 29), 3: (9, 19, 16)}

# Largest deviation in units of the range of the image. In float64 only the order of the additions differs.
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-6}


@pytest.fixture(autouse=True)
def quiet():
    """ITK warns on the screen about steps above its own, more cautious limit for diffusion."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    yield
    sitk.ProcessObject.SetGlobalWarningDisplay(before)


def itk(image, spacing):
    result = sitk.GetImageFromArray(image)
    result.SetSpacing(spacing[::-1])
    return result


def noise(spacing, dtype, smooth_mm=0.0):
    image = np.random.default_rng(1).normal(500, 100, SHAPES[len(spacing)])
    return gaussian(image, spacing=spacing, std_mm=smooth_mm).astype(dtype)


def assert_equal_to_itk(ours, theirs, image):
    deviation = np.abs(ours - sitk.GetArrayFromImage(theirs)).max() / np.ptp(image)
    assert deviation < TOLERANCE[image.dtype.type]
    assert np.abs(ours - image).max() > 1e-3 * np.ptp(image)  # something happened


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("smooth_mm", [0.0, 0.8])
@pytest.mark.parametrize("spacing", SPACINGS)
class TestSameNumbers:
    def test_curvature_flow(self, spacing, smooth_mm, dtype):
        image = noise(spacing, dtype, smooth_mm)
        ours = curvature_flow(image, spacing=spacing)
        assert_equal_to_itk(ours, sitk.CurvatureFlow(itk(image, spacing), 0.05, 5), image)

    @pytest.mark.parametrize("radius", [1, 2, 3])
    def test_min_max_curvature_flow(self, spacing, smooth_mm, dtype, radius):
        image = noise(spacing, dtype, smooth_mm)
        # Where mean and threshold are equal but for rounding, float32 may decide otherwise: few steps keep that rare.
        arguments = {"n_iterations": 5 if dtype is np.float64 else 1, "time_step": 0.05}
        ours = min_max_curvature_flow(image, spacing=spacing, radius=radius, **arguments)
        theirs = sitk.MinMaxCurvatureFlow(itk(image, spacing), 0.05, arguments["n_iterations"], radius)
        assert_equal_to_itk(ours, theirs, image)

    @pytest.mark.parametrize("conductance", [0.5, 3.0])
    def test_gradient_anisotropic_diffusion(self, spacing, smooth_mm, dtype, conductance):
        image = noise(spacing, dtype, smooth_mm)
        ours = gradient_anisotropic_diffusion(image, spacing=spacing, time_step=0.1, conductance=conductance)
        theirs = sitk.GradientAnisotropicDiffusion(itk(image, spacing), 0.1, conductance, 1, 5)
        assert_equal_to_itk(ours, theirs, image)

    @pytest.mark.parametrize("conductance", [0.5, 3.0])
    def test_curvature_anisotropic_diffusion(self, spacing, smooth_mm, dtype, conductance):
        image = noise(spacing, dtype, smooth_mm)
        ours = curvature_anisotropic_diffusion(image, spacing=spacing, time_step=0.04, conductance=conductance)
        theirs = sitk.CurvatureAnisotropicDiffusion(itk(image, spacing), 0.04, conductance, 1, 5)
        assert_equal_to_itk(ours, theirs, image)

    def test_gaussian(self, spacing, smooth_mm, dtype):
        image = noise(spacing, dtype, smooth_mm)
        std_mm = 2 * max(spacing)  # ITK's kernel is the discrete Gaussian, which is another one for narrow kernels
        theirs = sitk.DiscreteGaussian(itk(image, spacing), [std_mm**2] * image.ndim, 64, 1e-4)
        inside = tuple(slice(n // 3, -(n // 3)) for n in image.shape)
        deviation = (gaussian(image, spacing=spacing, std_mm=std_mm) - sitk.GetArrayFromImage(theirs))[inside]
        assert np.abs(deviation).max() < 0.01 * np.ptp(image)


@pytest.mark.parametrize("case", ["Case00", "Case17"])
def test_real_scans(real_data, case):
    volume = ml.load(real_data / "promise12" / f"{case}.mhd")
    image = volume.array.astype(np.float64)
    reference = sitk.Cast(sitk.ReadImage(str(real_data / "promise12" / f"{case}.mhd")), sitk.sitkFloat64)
    ours = curvature_flow(image, spacing=volume.spacing)
    assert_equal_to_itk(ours, sitk.CurvatureFlow(reference, 0.05, 5), image)
    ours = curvature_flow(image[16], spacing=volume.spacing[1:], time_step=0.125)
    assert_equal_to_itk(ours, sitk.CurvatureFlow(reference[:, :, 16], 0.125, 5), image[16])
    few = {"spacing": volume.spacing, "n_iterations": 2, "time_step": 0.03}
    ours = gradient_anisotropic_diffusion(image, **few)
    assert_equal_to_itk(ours, sitk.GradientAnisotropicDiffusion(reference, 0.03, 3.0, 1, 2), image)
    ours = curvature_anisotropic_diffusion(image, **few)
    assert_equal_to_itk(ours, sitk.CurvatureAnisotropicDiffusion(reference, 0.03, 3.0, 1, 2), image)


def test_integers_are_taken_as_float32_like_in_itk():
    image = np.random.default_rng(0).integers(0, 4096, (40, 30), dtype=np.uint16)
    ours = curvature_flow(image, spacing=(0.8, 0.8))
    theirs = sitk.GetArrayFromImage(sitk.CurvatureFlow(sitk.Cast(itk(image, (0.8, 0.8)), sitk.sitkFloat32), 0.05, 5))
    assert math.isclose(np.abs(ours - theirs).max(), 0, abs_tol=4096e-6)
