"""Windows, ensembles, uncertainty and whole folders, with networks whose answers are known."""

import json
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from blobs import blob_case
from torch import nn

import medlearn as ml
from medlearn.checkpoint import save_checkpoint
from medlearn.inference import predict_folder, predict_patches, predict_slices, predict_uncertainty, process_pool
from medlearn.inference.uncertainty import with_dropout
from medlearn.inference.windows import windows_along
from medlearn.preprocess import Preprocess
from medlearn.train.run import CONFIG_FILE, MODEL_FILE

RECIPE = Preprocess(spacing=(1.0, 1.0), canvas=(48, 48), mirror=False)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def directly(model, volume):
    """The whole volume in one forward pass."""
    with torch.inference_mode():
        logits = model(torch.from_numpy(volume)[None, None])
    probabilities = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
    return probabilities[0].permute(1, 2, 3, 0).numpy()


def conv3d(kernel, out_channels=1, seed=0):
    torch.manual_seed(seed)
    return nn.Conv3d(1, out_channels, kernel, padding="same").eval()


# ---- Windows


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.75])
@pytest.mark.parametrize(("length", "size"), [(8, 8), (9, 8), (20, 8), (50, 16), (5, 1)])
def test_weights_of_the_windows_sum_to_one_and_none_is_zero(length, size, overlap):
    windows = windows_along(length, size, overlap)
    total = np.zeros(length)
    for window, weights in windows:
        assert window.stop - window.start == len(weights) == size
        assert (weights > 0).all()
        total[window] += weights.numpy()
    np.testing.assert_allclose(total, 1, atol=1e-6)
    starts = [window.start for window, _ in windows]
    assert (starts[0], starts[-1]) == (0, length - size)
    assert all(b - a <= max(1, size * (1 - overlap)) for a, b in pairwise(starts))


def test_the_middle_of_a_window_weighs_more_than_its_rim():
    (_, first), (_, second) = windows_along(12, 8, 0.5)
    assert first[:4].tolist() == [1] * 4  # no other window
    assert first[4] > 0.9 > 0.1 > first[7]
    assert first[4:].tolist() == pytest.approx(second[:4].flip(0).tolist())


@pytest.mark.parametrize("patch", [(4, 8, 8), (6, 16, 8), (7, 20, 19), (12, 32, 24)])
@pytest.mark.parametrize("out_channels", [1, 3])
def test_windows_of_a_pointwise_network_give_the_whole(patch, out_channels):
    model, volume = conv3d(1, out_channels), noise(7, 20, 19)
    blended = predict_patches(model, volume, patch=patch, batch_size=3)
    assert blended.shape == (7, 20, 19, out_channels)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, directly(model, volume), atol=1e-6)


class Interior(nn.Module):
    """Right where its 3×3×3 neighborhood lies in the window, and 100 off where padding enters."""

    def __init__(self):
        super().__init__()
        self.mean = nn.AvgPool3d(3, stride=1)
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return nn.functional.pad(self.mean(x), (1,) * 6, value=100.0)


def test_what_a_window_knows_little_about_counts_little():
    """The rim voxel of a window is wrong here; where windows overlap by half its weight is below a thousandth."""
    model, volume = Interior().eval(), noise(32, 32, 32)
    blended, whole = predict_patches(model, volume, patch=(16, 16, 16))[..., 0], directly(model, volume)[..., 0]
    inside = (slice(1, -1),) * 3
    assert np.abs(blended - whole)[inside].max() < 0.01
    touching = predict_patches(model, volume, patch=(16, 16, 16), overlap=0)[..., 0]
    assert np.abs(touching - whole)[inside].max() > 0.3


def test_one_window_is_one_forward_pass_and_constants_stay():
    model, volume = conv3d(3), noise(8, 16, 16)
    np.testing.assert_array_equal(predict_patches(model, volume, patch=(8, 16, 16)), directly(model, volume))
    constant = predict_patches(conv3d(1), np.full((9, 21, 13), 2, np.float32), patch=(4, 8, 8), overlap=0.6)
    assert np.ptp(constant) < 1e-6


def test_flips_make_the_prediction_symmetric():
    model, volume = conv3d(3), noise(8, 16, 16)
    there = predict_patches(model, volume, patch=(8, 16, 8), flip=True)
    back = predict_patches(model, volume[..., ::-1].copy(), patch=(8, 16, 8), flip=True)
    np.testing.assert_allclose(there, back[:, :, ::-1], atol=1e-6)
    one_way = [directly(model, v) for v in (volume, volume[..., ::-1].copy())]
    both = predict_patches(model, volume, patch=(8, 16, 16), flip=True)
    np.testing.assert_allclose(both, (one_way[0] + one_way[1][:, :, ::-1]) / 2, atol=1e-6)


def test_bf16_is_near_fp32():
    model, volume = conv3d(3, 2), noise(8, 16, 16)
    low = predict_patches(model, volume, patch=(8, 8, 8), precision="bf16")
    full = predict_patches(model, volume, patch=(8, 8, 8))
    assert low.dtype == np.float32
    assert 0 < np.abs(low - full).max() < 0.02


def test_windows_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match=r"axes \(z, y, x\)"):
        predict_patches(conv3d(1), noise(8, 8), patch=(8, 8, 8))
    with pytest.raises(ValueError, match="overlap must be at least 0 and below 1; got 1"):
        predict_patches(conv3d(1), noise(8, 8, 8), patch=(8, 8, 8), overlap=1)


# ---- Images and ensembles


def conv2d(seed=0, dropout=0.0, out_channels=1):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Dropout2d(dropout), nn.Conv2d(8, out_channels, 1)).eval()


def in_memory(model, recipe=RECIPE):
    """What `predict` needs of a run."""
    return SimpleNamespace(model=model, preprocess=recipe)


def test_an_ensemble_is_the_mean_of_its_members():
    image = blob_case(0).image
    runs = [in_memory(conv2d(seed)) for seed in range(3)]
    alone = [ml.predict(run, image).array for run in runs]
    together = ml.predict(runs, image)
    np.testing.assert_allclose(together.array, np.mean(alone, axis=0), atol=1e-7)
    assert together.array.dtype == np.float32
    assert together.grid_distance(image) == 0
    np.testing.assert_array_equal(ml.predict(runs[:1], image).array, alone[0])


def test_an_ensemble_needs_members_that_agree_on_the_labels():
    runs = [in_memory(conv2d()), in_memory(conv2d(), replace(RECIPE, labels=("gland",)))]
    with pytest.raises(ValueError, match="same labels"):
        ml.predict(runs, blob_case(0).image)
    with pytest.raises(ValueError, match="at least one run"):
        ml.predict([], blob_case(0).image)
    with pytest.raises(ValueError, match="precision"):
        ml.predict(runs[0], blob_case(0).image, precision="fp8")


def test_slices_and_flips():
    """A network without neighborhood gives the same with and without flip; another one does not."""
    slices = noise(3, 16, 16)
    pointwise = nn.Conv2d(1, 1, 1).eval()
    np.testing.assert_allclose(
        predict_slices(pointwise, slices, flip=True), predict_slices(pointwise, slices), atol=1e-6
    )
    flipped = predict_slices(conv2d(), slices, flip=True)
    mirrored = predict_slices(conv2d(), slices[..., ::-1].copy(), flip=True)
    np.testing.assert_allclose(flipped, mirrored[:, :, ::-1], atol=1e-6)


# ---- Uncertainty


def test_uncertainty_of_an_ensemble_by_hand():
    """Members that say 0.5 are uncertain and agree; members that say 0 and 1 are as uncertain, and disagree."""

    def saying(probability):
        model = nn.Conv2d(1, 1, 1).eval()
        nn.init.zeros_(model.weight)
        nn.init.constant_(model.bias, float(np.log(probability) - np.log1p(-probability)))
        return in_memory(model)

    image = blob_case(0).image
    probabilities, entropy, disagreement = predict_uncertainty([saying(0.5), saying(0.5)], image)
    assert np.ptp(probabilities.array) == 0
    np.testing.assert_allclose(entropy.array, 1, atol=1e-6)
    np.testing.assert_allclose(disagreement.array, 0, atol=1e-6)
    _, entropy, disagreement = predict_uncertainty([saying(1e-7), saying(1 - 1e-7)], image)
    np.testing.assert_allclose(entropy.array, 1, atol=1e-5)
    np.testing.assert_allclose(disagreement.array, 1, atol=1e-4)
    _, entropy, _ = predict_uncertainty([saying(0.25), saying(0.25)], image)
    np.testing.assert_allclose(entropy.array, 2 - 0.75 * np.log2(3), atol=1e-6)


def test_dropout_is_reproducible_by_seed_whatever_else_draws():
    run, image = in_memory(conv2d(dropout=0.5)), blob_case(0).image
    torch.manual_seed(1)
    first = predict_uncertainty(run, image, n_samples=4, seed=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = predict_uncertainty(run, image, n_samples=4, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    other = predict_uncertainty(run, image, n_samples=4, seed=8)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.array, b.array)
    assert not np.array_equal(first.probabilities.array, other.probabilities.array)
    for volume in first:
        assert volume.axes == image.axes
        assert volume.grid_distance(image) == 0
        assert volume.array.dtype == np.float32
    assert 0 <= first.uncertainty.array.min() < first.uncertainty.array.max() <= 1
    assert (first.disagreement.array <= first.uncertainty.array + 1e-6).all()
    assert first.disagreement.array.max() > 0.001


def test_several_labels_have_up_to_log2_bits():
    run = in_memory(conv2d(dropout=0.3, out_channels=4), replace(RECIPE, labels=("a", "b", "c")))
    probabilities, entropy, _ = predict_uncertainty(run, blob_case(0).image, n_samples=3)
    assert probabilities.axes == "zyxc"
    assert entropy.axes == "zyx"
    assert 1 < entropy.array.max() <= 2 + 1e-6


def test_dropout_at_work_has_the_mean_and_the_zeros_of_training():
    model = nn.Sequential(nn.Conv3d(1, 64, 1), nn.Dropout3d(0.25), nn.Dropout(0.0)).eval()
    x = torch.ones(8, 1, 2, 2, 2)
    with torch.inference_mode():
        plain, sampled = model(x), with_dropout(model, seed=0)(x)
        ratio = sampled / plain
        assert torch.equal(model(x), plain)  # the network itself is unchanged
    np.testing.assert_allclose(ratio[ratio > 0], 4 / 3, rtol=1e-5)
    assert (ratio.flatten(2).std(-1) < 1e-6).all()  # whole channels
    assert (ratio == 0).float().mean().item() == pytest.approx(0.25, abs=0.08)  # 512 draws: 4 standard deviations
    assert with_dropout(model, seed=0)[0].weight is model[0].weight


def test_uncertainty_needs_chance_or_company():
    image = blob_case(0).image
    with pytest.raises(ValueError, match=r"no dropout.*several runs"):
        predict_uncertainty(in_memory(conv2d()), image)
    with pytest.raises(ValueError, match="n_samples must be at least 2"):
        predict_uncertainty(in_memory(conv2d(dropout=0.5)), image, n_samples=1)


# ---- Folders


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two untrained runs on disk, the second with dropout."""
    found = []
    for name, dropout in (("plain", 0.0), ("dropout", 0.5)):
        folder = tmp_path_factory.mktemp(name)
        torch.manual_seed(len(found))
        model = ml.UNet(ndim=2, widths=(4, 8), dropout=dropout).eval()
        save_checkpoint(folder / MODEL_FILE, model, RECIPE)
        (folder / CONFIG_FILE).write_text(json.dumps({"labels": {"foreground": [1]}}))
        found.append(ml.Run(folder))
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three images, and one whose voxels are missing."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(3):
        ml.save(blob_case(seed).image, folder / f"Case{seed:02d}.mha")
    ml.save(blob_case(3).image, folder / "Case03.mhd")
    (folder / "Case03.raw").unlink()
    return folder


EXECUTORS = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (1,)),
}


@pytest.mark.parametrize("kind", EXECUTORS)
def test_executors_write_the_same_and_lose_nothing(runs, images, tmp_path, kind):
    options = {"probabilities": True, "uncertainty": True, "progress": False}
    serial = predict_folder(runs, images, tmp_path / "serial", **options)
    with EXECUTORS[kind]() as executor:
        parallel = predict_folder(runs, images, tmp_path / kind, executor=executor, **options)
    for done in (serial, parallel):
        assert list(done.files) == ["Case00", "Case01", "Case02"]
        assert list(done.failed) == ["Case03"]
    assert serial.failed == parallel.failed
    serial, parallel = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("serial", kind)
    )
    assert serial == parallel
    endings = ("probabilities", "segmentation", "uncertainty")
    assert list(parallel) == [f"Case0{k}_{ending}.mha" for k in range(3) for ending in endings]


def test_a_folder_gives_what_predict_gives(runs, images, tmp_path):
    done = predict_folder(runs[0], images, tmp_path, ids=["Case01"], flip=True, progress=False)
    expected = ml.to_labels(ml.predict(runs[0], ml.load(images / "Case01.mha"), flip=True))
    np.testing.assert_array_equal(ml.load(done.files["Case01"]).array, expected.array)
    one = predict_folder(runs[0], images / "Case01.mha", tmp_path / "one", flip=True, progress=False)
    assert one.files["Case01"].read_bytes() == done.files["Case01"].read_bytes()


def test_dropout_in_threads_is_as_reproducible(runs, images, tmp_path):
    options = {"ids": ["Case00", "Case01", "Case02"], "uncertainty": True, "n_samples": 3, "progress": False}
    predict_folder(runs[1], images, tmp_path / "a", **options)
    with ThreadPoolExecutor(3) as pool:
        predict_folder(runs[1], images, tmp_path / "b", executor=pool, **options)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_folder_refuses_at_once_what_would_fail_for_every_case(runs, images, tmp_path):
    with pytest.raises(ValueError, match="no dropout"):
        predict_folder(runs[0], images, tmp_path / "a", uncertainty=True)
    with pytest.raises(ValueError, match="has no Case77"):
        predict_folder(runs[0], images, tmp_path / "a", ids=["Case77"])
    with pytest.raises(TypeError, match="n_samples"):
        predict_folder(runs[0], images, tmp_path / "a", n_samples=3)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        predict_folder(runs[0], images / "nowhere", tmp_path / "a")
    with pytest.raises(ValueError, match="workers must be at least 1"):
        process_pool(0)
    assert not (tmp_path / "a").exists()


class Dying(ThreadPoolExecutor):
    """As a pool whose worker was killed: the second case is lost, and nothing is taken after the third."""

    def submit(self, function, job, case_id, *rest):
        if case_id == "Case01":
            return super().submit(os.fdopen, -1)  # raises there
        if case_id == "Case02":
            raise RuntimeError("a worker was killed")
        return super().submit(function, job, case_id, *rest)


def test_a_broken_pool_costs_its_cases_and_no_more(runs, images, tmp_path):
    with Dying(1) as pool:
        done = predict_folder(runs[0], images, tmp_path, executor=pool, progress=False)
    assert list(done.files) == ["Case00"]
    assert list(done.failed) == ["Case01", "Case02", "Case03"]
    assert done.failed["Case02"] == "RuntimeError: a worker was killed"


def test_labels_are_smoothed_across_slices_and_cleaned(volume_of):
    array = np.full((9, 12, 12), 0.1, np.float32)
    array[2:7, 2:8, 2:8] = 0.9
    array[4, 2:8, 2:8] = 0.45  # a dropout in one slice
    array[4, 10, 10] = 1.0  # and a speck
    probabilities = volume_of(array)
    plain = ml.to_labels(probabilities).array
    assert plain[4].sum() == 1
    smooth = ml.to_labels(probabilities, smooth_slices=1.0).array
    assert smooth[4, 2:8, 2:8].all()
    both = ml.to_labels(probabilities, largest_component=True).array
    assert both[4].sum() == 0
    assert both.sum() < plain.sum(), "the smaller of the two parts goes as well"
    assert ml.to_labels(probabilities, smooth_slices=1.0, largest_component=True).array.sum() >= 5 * 36


def test_largest_part_of_every_label(volume_of):
    array = np.zeros((3, 8, 8, 3), np.float32)
    array[..., 0] = 0.5
    array[:, 1:4, 1:4, 1] = 1.0
    array[:, 6, 6, 1] = 1.0
    array[:, 4:7, 1:3, 2] = 1.0
    array[0, 0, 7, 2] = 1.0
    labels = ml.to_labels(volume_of(array, axes="zyxc"), largest_component=True).array
    assert (labels[:, 1:4, 1:4] == 1).all()
    assert (labels[:, 4:7, 1:3] == 2).all()
    assert (labels > 0).sum() == 27 + 18


@pytest.fixture
def volume_of():
    def make(array, axes="zyx"):
        return ml.Volume(array=array, spacing=(1, 1, 1), origin=(0, 0, 0), direction=np.eye(3), axes=axes)

    return make
