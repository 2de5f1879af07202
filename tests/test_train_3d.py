"""Training on volumes: the sampler of patches, the pre-processing, overfitting, and exact resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.train.data import crop_size
from medlearn.train.precision import choose_arithmetic
from medlearn.train.sampler import PatchSampler, SliceSampler

CPU = torch.device("cpu")


def network(**changes):
    torch.manual_seed(0)
    shape = {"widths": (8, 16, 32), "strides": ((1, 2, 2), 2), "kernels": ((1, 3, 3), 3, 3)}
    return ml.UNet(ndim=3, norm="instance", **(shape | changes))


def config(**changes):
    quick = {"epochs": 20, "patch": (8, 32, 32), "batch_size": 2, "samples_per_epoch": 4, "augment": None}
    return ml.TrainConfig(**(quick | {"learning_rate": 5e-3, "ema_decay": 0.9, "precision": "fp32"} | changes))


@pytest.fixture(scope="module")
def cases():
    return [ml.phantom.prostate(n, shape=(10, 40, 44), spacing=(8.0, 4.0, 4.0)) for n in range(2)]


@pytest.fixture(scope="module")
def volumes():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=size).astype(np.float32) for size in ((6, 20, 18), (9, 16, 24), (3, 12, 30))]
    masks = [np.zeros(image.shape, np.uint8) for image in images]
    masks[0][2:4, 5:8, 5:8] = 1
    masks[1][1:3, 2:4, 20:23] = 2
    return images, masks


def test_patches_are_cut_as_a_plain_loop_cuts_them(volumes):
    images, masks = volumes
    sampler = PatchSampler(images, masks, patch=(4, 8, 8), foreground=0.5, device=CPU)
    padded = [np.pad(v, [(0, 0)] * 3) if v.shape[0] >= 4 else None for v in images]
    index = sampler.draw(torch.rand(200, sampler.n_draw, generator=torch.Generator().manual_seed(0)))
    patches, labels = sampler.gather(index)
    assert patches.shape == (200, 1, 4, 8, 8)
    assert labels.shape == (200, 4, 8, 8)
    for patch, label, (case, z, y, x) in zip(patches, labels, index.tolist(), strict=True):
        if padded[case] is None:
            continue
        box = np.s_[z : z + 4, y : y + 8, x : x + 8]
        np.testing.assert_array_equal(patch[0].numpy(), images[case].astype(np.float16)[box].astype(np.float32))
        np.testing.assert_array_equal(label.numpy(), masks[case][box])
    assert set(index[:, 0].tolist()) == {0, 1, 2}


def test_small_volumes_are_padded_with_their_smallest_value(volumes):
    images, masks = volumes
    sampler = PatchSampler(images[2:], masks[2:], patch=(5, 8, 8), foreground=0.5, device=CPU)
    patches, labels = sampler.gather(torch.tensor([[0, 0, 0, 0]]))
    lowest = np.float16(images[2].min())
    assert (patches[0, 0, 0] == float(lowest)).all()
    assert (patches[0, 0, -1] == float(lowest)).all()
    np.testing.assert_array_equal(patches[0, 0, 1:4], images[2].astype(np.float16)[:, :8, :8])
    assert not labels.any()


@pytest.mark.parametrize("foreground", [0.0, 0.5, 1.0])
def test_share_of_patches_with_each_label(volumes, foreground):
    sampler = PatchSampler(*volumes, patch=(3, 6, 6), foreground=foreground, device=CPU)
    random = torch.rand(2000, sampler.n_draw, generator=torch.Generator().manual_seed(1))
    _, labels = sampler.gather(sampler.draw(random))
    with_label = [(labels == k).flatten(1).any(1).float().mean().item() for k in (1, 2)]
    if foreground == 0:
        assert max(with_label) < 0.15, "only by luck"
    for share in with_label:
        assert foreground / 2 - 0.04 <= share <= foreground / 2 + 0.2


def test_labels_are_seen_equally_often_however_large(volumes):
    images, masks = volumes
    masks = [mask.copy() for mask in masks]
    masks[1][:, 6:14, 2:16] = 1  # label 1 has now fifty times the voxels of label 2
    sampler = PatchSampler(images, masks, patch=(2, 3, 3), foreground=1.0, device=CPU)
    random = torch.rand(2000, sampler.n_draw, generator=torch.Generator().manual_seed(1))
    _, labels = sampler.gather(sampler.draw(random))
    assert 0.45 < (labels == 2).flatten(1).any(1).float().mean() < 0.55


def test_a_set_too_large_for_the_device_stays_in_main_memory(volumes, monkeypatch, caplog):
    here = PatchSampler(*volumes, patch=(3, 6, 6), foreground=0.5, device=CPU)
    monkeypatch.setattr("medlearn.train.sampler.fits_on", lambda n_bytes, device: False)
    away = PatchSampler(*volumes, patch=(3, 6, 6), foreground=0.5, device=CPU)
    assert "main memory" in caplog.text
    index = here.draw(torch.rand(4, here.n_draw))
    for one, other in zip(here.gather(index), away.gather(index), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("n_bytes", "fits"), [(100, True), (600, False)])
def test_half_of_the_free_memory_is_the_limit(monkeypatch, n_bytes, fits):
    from medlearn.train.sampler import fits_on

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert fits_on(n_bytes, torch.device("cuda")) is fits
    assert fits_on(10**15, CPU), "the CPU has no other place"


def test_volumes_there_and_back():
    case = blob_case(0)
    recipe = ml.Preprocess.fit([case.image], spacing=(2.0, 1.5, 1.5), patch=(8, 32, 32), multiple=(1, 4, 4))
    image, mask = recipe.image(case.image), recipe.mask(case.mask)
    assert image.shape == mask.shape
    assert image.dtype == np.float32
    back = recipe.restore(mask[..., None].astype(np.float32), case.image)
    back.check_same_grid(case.image)
    assert ml.dice(back.array > 0.5, case.mask.array > 0) > 0.9
    assert ml.Preprocess.from_json(recipe.to_json()) == recipe


def test_windows_follow_the_median_image():
    images = [ml.phantom.prostate(n, shape=(9, 40, 44), spacing=(8.0, 4.0, 4.0)).image for n in range(2)]
    recipe = ml.Preprocess.fit(images, patch=(64, 32, 64), multiple=(2, 8, 8))
    assert recipe.spacing == (8.0, 4.0, 4.0)
    assert recipe.patch == (10, 32, 48), "no larger than the image, but a multiple; else as was asked for"
    with pytest.raises(ValueError, match=r"spacing must be \(z, y, x\)"):
        ml.Preprocess.fit(images, patch=(64, 32, 64), spacing=(1.0, 1.0))


def test_overfits_two_volumes_and_predicts_them_by_windows(cases, tmp_path):
    run = ml.fit(network(), cases, held_out=(), config=config(epochs=40), out=tmp_path / "run", progress=False)
    assert run.preprocess.patch == (8, 32, 32)
    for case in cases:
        probabilities = ml.predict(run, case.image)
        probabilities.check_same_grid(case.image)
        assert ml.dice(ml.to_labels(probabilities).array > 0, case.mask.array > 0) > 0.8


def test_held_out_volumes_are_predicted_as_training_goes_on(cases, tmp_path):
    settings = config(epochs=2, validations=2)
    run = ml.fit(network(), cases[:1], held_out=cases[1:], config=settings, out=tmp_path / "run", progress=False)
    assert run.history.val_dice.notna().sum() == 2


def test_resuming_is_exact(cases, tmp_path):
    settings = config(epochs=3, augment=ml.Augment(), checkpoint_minutes=1e-9)

    def train(out, stop_at=None):
        def stop(model, preprocess, share):
            if stop_at is not None and share >= stop_at:
                raise KeyboardInterrupt

        return ml.fit(
            network(),
            cases,
            config=replace(settings, validations=3),
            out=out,
            resume="auto",
            progress=False,
            on_validation=stop,
        )

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", stop_at=0.3)
    parts = train(tmp_path / "parts")
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, parts.model.state_dict()[name]), name


def test_dimensions_must_fit(cases, tmp_path):
    with pytest.raises(ValueError, match=r"3-D: the configuration needs patch=\(z, y, x\)"):
        ml.fit(network(), cases, config=ml.TrainConfig(epochs=1), out=tmp_path / "a")
    with pytest.raises(ValueError, match="2-D: the configuration needs no patch"):
        ml.fit(ml.UNet(widths=(4, 8)), cases, config=config(), out=tmp_path / "b")
    with pytest.raises(ValueError, match="without adjacent_slices"):
        config(adjacent_slices=1)


@pytest.mark.parametrize("augment", [None, ml.Augment()])
def test_a_network_for_slices_learns_from_crops_and_predicts_whole_slices(tmp_path, augment):
    blobs = [blob_case(seed) for seed in range(4)]
    settings = ml.TrainConfig(epochs=40, batch_size=8, crop=0.6, augment=augment, learning_rate=5e-3, precision="fp32")
    torch.manual_seed(0)
    model = ml.UNet(widths=(4, 8, 16))
    seen = []
    model.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].shape) if module.training else None
    )
    run = ml.fit(model, blobs[:3], config=settings, out=tmp_path / "run", progress=False)
    assert set(seen) == {(8, 1, 32, 32)}  # 0.6 of 48 is 28.8; the strides of this network want multiples of 4
    assert run.preprocess.canvas == (48, 48)
    pred = ml.to_labels(ml.predict(run, blobs[3].image))
    assert ml.dice(pred.array == 1, blobs[3].mask.array > 0) > 0.8


@pytest.mark.parametrize(("shape", "tried"), [((2, 1, 16, 16), {"fp32", "bf16"}), ((2, 1, 4, 16, 16), {"fp32"})])
def test_volumes_on_a_cpu_are_not_trained_in_bf16(monkeypatch, shape, tried):
    """However fast it is: there torch's 3-D convolutions use memory that nobody wrote."""
    seen = []

    def seconds(model, images, precision, layout):
        seen.append(precision)
        return {"fp32": 1.0, "bf16": 0.1}[precision]

    monkeypatch.setattr("medlearn.train.precision._seconds", seconds)
    model = ml.UNet(ndim=len(shape) - 2, widths=(4, 8))
    precision, _ = choose_arithmetic(model, torch.zeros(shape), "auto")
    assert set(seen) == tried
    assert precision == ("bf16" if "bf16" in tried else "fp32")
    assert choose_arithmetic(model, torch.zeros(shape), "bf16")[0] == "bf16"


def test_a_crop_as_large_as_the_canvas_is_none(cases):
    model = ml.UNet(widths=(4, 8, 16, 32, 64))
    recipe = ml.Preprocess(spacing=(1.0, 1.0), canvas=(32, 48))
    assert crop_size(model, ml.TrainConfig(crop=0.9), recipe) is None
    assert crop_size(model, ml.TrainConfig(crop=0.5), recipe) == (16, 32)
    for wrong in ({"crop": 0.0}, {"crop": 1.2}, {"crop": 0.5, "patch": (2, 8, 8)}):
        with pytest.raises(ValueError, match="crop must be a share"):
            ml.TrainConfig(**wrong)


def test_height_of_a_slice_is_a_channel_of_its_own(cases):
    images = [np.zeros((5, 8, 8)), np.zeros((1, 8, 8))]
    masks = [np.zeros(image.shape, np.uint8) for image in images]
    sampler = SliceSampler(images, masks, adjacent_slices=0, foreground=0.0, device=CPU)
    assert sampler.heights_of(torch.arange(6)).tolist() == [-1, -0.5, 0, 0.5, 1, 0]


def test_network_that_knows_the_height(cases, tmp_path):
    settings = ml.TrainConfig(epochs=1, adjacent_slices=1, slice_position=True, precision="fp32", batch_size=4)
    assert settings.n_channels == 4
    torch.manual_seed(0)
    model = ml.UNet(in_channels=4, widths=(4, 8))
    seen = []
    model.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach().clone()))
    run = ml.fit(model, cases, config=settings, out=tmp_path / "run", progress=False)
    heights = torch.cat([images[:, 3].flatten(1) for images in seen])
    assert (heights == heights[:, :1]).all(), "one number for the whole slice, untouched by augmentation"
    assert heights.abs().max() <= 1
    assert run.preprocess.slice_position
    assert ml.predict(run, cases[0].image).shape == cases[0].image.shape
    with pytest.raises(ValueError, match=r"slice_position gives 4 channel\(s\)"):
        ml.fit(ml.UNet(in_channels=3, widths=(4, 8)), cases, config=settings, out=tmp_path / "b")
