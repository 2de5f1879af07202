"""The head: deterministic, layered, folded, and with sources that lie in its gray matter."""

import numpy as np
import pytest

from medlearn import phantom

COARSE = {"shape": (36, 44, 36), "spacing": (5.0, 5.0, 5.0)}
LABEL = {name: tissue.label for name, tissue in phantom.HEAD_TISSUES.items()}


@pytest.fixture(scope="module")
def anatomy():
    return phantom.head_anatomy(1)


def test_same_seed_same_head():
    one, other = phantom.head(4, **COARSE), phantom.head(4, **COARSE)
    np.testing.assert_array_equal(one.image.array, other.image.array)
    np.testing.assert_array_equal(one.mask.array, other.mask.array)
    assert (phantom.head(5, **COARSE).image.array != one.image.array).any()
    assert phantom.head_sites(4) == phantom.head_sites(4)


def test_one_slice_is_enough():
    assert phantom.head_anatomy(1, shape=(1, 64, 56), spacing=(5, 3, 3)).array.max() == LABEL["white_matter"]


def test_layers_come_in_their_order(anatomy):
    middle = tuple(n // 2 for n in anatomy.shape)
    line = anatomy.array[middle[0], middle[1] + 6]  # from right to left
    order = [int(label) for label, before in zip(line[1:], line[:-1], strict=True) if label != before]
    assert order[:4] == [LABEL["scalp"], LABEL["skull"], LABEL["csf"], LABEL["gray_matter"]]
    assert order[-1] == LABEL["air"]


def test_volumes_are_those_of_a_head(anatomy):
    ml = {name: (anatomy.array == label).sum() * anatomy.voxel_volume / 1000 for name, label in LABEL.items()}
    brain = ml["gray_matter"] + ml["white_matter"]
    assert 1000 < brain < 1900
    assert 0.6 < ml["gray_matter"] / ml["white_matter"] < 2.5
    assert 0.05 < ml["csf"] / brain < 0.4


def test_sites_lie_in_gray_matter_and_are_marked(anatomy):
    sites = phantom.head_sites(1)
    assert [site.name for site in sites] == ["left hand", "sight", "hearing"]
    assert sites[0].center_mm[0] < 0, "the left hand is moved from the right, which is -x"
    active = phantom.head_activation(anatomy, sites).array
    assert (anatomy.array[active > 0] == LABEL["gray_matter"]).all()
    mask = phantom.head(1).mask.array
    for site in sites:
        index = np.round(anatomy.to_index(site.center_mm)).astype(int)
        assert anatomy.array[tuple(index)] not in (LABEL["air"], LABEL["scalp"], LABEL["skull"])
        place = mask == site.label
        assert 0.3 < place.sum() * anatomy.voxel_volume / 1000 < 6, "ml"
        assert active[place].max() <= site.amplitude_percent + 1e-6
        assert np.linalg.norm(site.moment_nam) == pytest.approx(22, abs=8)


def test_dipoles_point_outward_or_along_the_surface():
    hand, sight, hearing = phantom.head_sites(0)
    for site, along in ((hand, True), (sight, False), (hearing, True)):
        place, moment = np.array(site.center_mm), np.array(site.moment_nam)
        cosine = abs(place @ moment) / np.linalg.norm(place) / np.linalg.norm(moment)
        assert (cosine < 0.35) if along else (cosine > 0.9)


def test_properties(anatomy):
    t1 = phantom.head_map(anatomy, "t1_ms").array
    assert t1[anatomy.array == LABEL["csf"]].min() > t1[anatomy.array == LABEL["gray_matter"]].max()
    image = phantom.head(1).image.array
    means = {name: image[anatomy.array == LABEL[name]].mean() for name in ("white_matter", "gray_matter", "csf")}
    assert means["white_matter"] > means["gray_matter"] > means["csf"], "T1-weighted"
    mu = phantom.head_map(anatomy, "attenuation", energy_kev=511).array
    assert mu[anatomy.array == LABEL["gray_matter"]].mean() == pytest.approx(0.0099, abs=0.0004)
    with pytest.raises(ValueError, match="uptake"):
        phantom.head_map(anatomy, "density")


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"shape": (4, 4)}, {"spacing": (1, 0, 1)}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        phantom.head_anatomy(**arguments)
