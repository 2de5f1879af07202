import numpy as np
import pytest

from medlearn.modalities import xray
from medlearn.phantom import CHEST_PROPERTIES, CHEST_TISSUES, chest_anatomy, tissue_map
from medlearn.phantom._tissue import PROPERTY_NAMES
from medlearn.volume import Volume


@pytest.fixture(scope="module")
def one_of_each():
    """A row of voxels with every tissue, in the order of its label."""
    return Volume(array=np.arange(len(CHEST_TISSUES), dtype=np.uint8)[None, None], spacing=(1.0, 1.0, 1.0))


def value(anatomy, name, tissue, **options):
    return float(tissue_map(anatomy, name, **options).array[0, 0, CHEST_TISSUES[tissue].label])


def test_every_tissue_has_a_row_and_every_property_a_finite_map(one_of_each):
    assert list(CHEST_PROPERTIES) == list(CHEST_TISSUES)
    for name in PROPERTY_NAMES:
        result = tissue_map(one_of_each, name)
        assert result.array.dtype == np.float32
        assert np.isfinite(result.array).all()
        assert result.array.min() >= 0
        assert result.array.max() > 0


def test_attenuation_at_70_kev_gives_back_the_hounsfield_units(one_of_each):
    mu = tissue_map(one_of_each, "attenuation").array[0, 0]
    water = 0.1 * np.exp(np.interp(np.log(70), np.log([60, 80]), np.log([0.2059, 0.1837])))
    for tissue in CHEST_TISSUES.values():
        assert 1000 * (mu[tissue.label] - water) / water == pytest.approx(tissue.hu, abs=0.01)


def test_coefficients_are_those_of_the_x_ray_module(one_of_each):
    water = [value(one_of_each, "attenuation", "fat", energy_kev=energy) for energy in xray.ENERGIES_KEV]
    np.testing.assert_allclose(np.array(water) / 0.898, xray.MU_PER_MM["water"], rtol=1e-5)  # fat: -102 HU


def test_attenuation_falls_with_energy_and_that_of_bone_falls_most(one_of_each):
    energies = (40, 70, 140, 511)
    muscle, bone = (
        np.array([value(one_of_each, "attenuation", name, energy_kev=energy) for energy in energies])
        for name in ("muscle", "cortical_bone")
    )
    assert (np.diff(muscle) < 0).all()
    assert (np.diff(bone / muscle) < 0).all()
    assert muscle[-1] == pytest.approx(0.0101, rel=0.02)  # positrons: about 0.096 / cm in water
    np.testing.assert_allclose(muscle[2], 0.0162, rtol=0.02)  # technetium: about 0.154 / cm


def test_impedance_is_density_times_speed_and_bone_reflects(one_of_each):
    liver, fat, bone, lung = (value(one_of_each, "impedance", n) for n in ("liver", "fat", "cortical_bone", "lung"))
    assert liver == pytest.approx(1.06 * 1.590, rel=1e-6)
    assert lung < 0.2 < fat < liver < 2 < bone


def test_density_agrees_with_the_hounsfield_units():
    for tissue in CHEST_TISSUES.values():
        if -900 < tissue.hu < 700:  # bone is denser than water by less than its attenuation says
            assert CHEST_PROPERTIES[tissue.name].density == pytest.approx(1 + tissue.hu / 1000, rel=0.12)


def test_tissues_order_as_in_pictures(one_of_each):
    assert (
        value(one_of_each, "t1_ms", "fat") < value(one_of_each, "t1_ms", "liver") < value(one_of_each, "t1_ms", "vein")
    )
    assert value(one_of_each, "uptake", "solid_nodule") > value(one_of_each, "uptake", "lung") * 5
    assert value(one_of_each, "speed_of_sound", "fat") < value(one_of_each, "speed_of_sound", "muscle")


def test_map_lies_on_the_grid_of_the_anatomy():
    anatomy = chest_anatomy(3, shape=(4, 32, 32), spacing=(60, 12, 12))
    density = tissue_map(anatomy, "density")
    assert density.grid_distance(anatomy) == 0
    assert (density.array[anatomy.array == 0] == np.float32(0.0012)).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("colour", {}, "name must be one of .*'density'.*; got 'colour'"),
        ("density", {"energy_kev": 70}, "energy_kev belongs to the attenuation"),
        ("attenuation", {"energy_kev": 20}, "energy_kev must be 40 to 600 keV; got 20"),
        ("attenuation", {"energy_kev": float("nan")}, "energy_kev must be 40 to 600 keV"),
    ],
)
def test_wrong_arguments(one_of_each, name, options, message):
    with pytest.raises(ValueError, match=message):
        tissue_map(one_of_each, name, **options)


@pytest.mark.parametrize("array", [np.full((1, 2, 2), 200, np.uint8), np.zeros((1, 2, 2)), np.full((1, 2, 2), -1)])
def test_other_label_maps_are_refused(array):
    with pytest.raises(ValueError, match="anatomy must be a label map of the chest"):
        tissue_map(Volume(array=array, spacing=(1.0, 1.0, 1.0)), "density")
