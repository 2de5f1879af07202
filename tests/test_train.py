import json
import signal
import time

import numpy as np
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.nn import dice_ce_loss
from medlearn.train.sampler import SliceSampler, generator

CPU = torch.device("cpu")


def small_model(**keywords):
    torch.manual_seed(0)
    return ml.UNet(widths=(8, 16, 32), **keywords)


def config(**keywords):
    return ml.TrainConfig(**{"epochs": 2, "batch_size": 8, "precision": "fp32", **keywords})


def weights(run):
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def assert_equal_weights(a, b):
    for name, tensor in weights(a).items():
        assert torch.equal(tensor, weights(b)[name]), name


CASES = [blob_case(seed) for seed in range(4)]


# --- the sampler ------------------------------------------------------------------------------------------------------


def make_sampler(foreground=0.5, adjacent_slices=0, masks=None):
    """Slice i of a case of five holds the value i (plus 10 for the second case), so that draws can be recognized."""
    images = [np.arange(5.0)[:, None, None] + np.zeros((5, 4, 4)) + 10 * k for k in range(2)]
    if masks is None:
        masks = [np.zeros((5, 4, 4), np.uint8) for _ in range(2)]
        masks[0][2], masks[1][3:] = 1, 1
    return SliceSampler(images, masks, adjacent_slices=adjacent_slices, foreground=foreground, device=CPU)


def test_neighbors_never_cross_into_another_case():
    images, _ = make_sampler(adjacent_slices=1).gather(torch.tensor([0, 4, 5, 7]))
    assert images[:, :, 0, 0].tolist() == [[0, 0, 1], [3, 4, 4], [10, 10, 11], [11, 12, 13]]


def test_foreground_share_of_the_draw():
    random = torch.rand(20000, 3, generator=generator(0, 0))
    for share in (0.0, 0.5, 1.0):
        sampler = make_sampler(foreground=share)
        index = sampler.draw(random)
        shown = torch.isin(index, torch.tensor([2, 8, 9])).float().mean().item()
        assert abs(shown - (share + (1 - share) * 3 / 10)) < 0.02
        assert set(index.tolist()) == (set(range(10)) if share < 1 else {2, 8, 9})


def test_rare_labels_are_drawn_as_often_as_common_ones():
    masks = [np.zeros((5, 4, 4), np.uint8) for _ in range(2)]
    masks[0][:], masks[1][0] = 1, 2
    index = make_sampler(foreground=1.0, masks=masks).draw(torch.rand(20000, 3, generator=generator(0, 0)))
    assert abs((index == 5).float().mean().item() - 0.5) < 0.02


def test_a_set_without_any_label_can_still_be_drawn():
    masks = [np.zeros((5, 4, 4), np.uint8)] * 2
    assert len(make_sampler(masks=masks).draw(torch.rand(100, 3)).unique()) == 10


def test_draws_depend_on_seed_and_step_alone():
    a, b = (torch.rand(4, generator=generator(7, 100)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(4, generator=generator(7, 101)))
    assert not torch.equal(a, torch.rand(4, generator=generator(8, 100)))


def test_crops_lie_around_the_label_that_was_drawn_or_anywhere():
    masks = [np.zeros((5, 32, 48), np.uint8)]
    masks[0][2:, 20:26, 4:8] = 1  # its middle is at row 23, column 6
    images = [np.zeros((5, 32, 48))]
    sampler = SliceSampler(images, masks, adjacent_slices=0, foreground=0.6, crop=(16, 12), device=CPU)
    random = torch.rand(20000, sampler.n_draw, generator=generator(0, 0))
    index = sampler.draw(random)
    x, y = ((sampler.centers(index, random) + 1) / 2 * torch.tensor([48, 32])).T
    rows, columns = y - 8, x - 6  # where the crops begin
    torch.testing.assert_close(rows, rows.round(), atol=1e-4, rtol=0)
    assert (rows.min().round(), rows.max().round()) == (0, 16)
    assert (columns.min().round(), columns.max().round()) == (0, 36)
    around = random[:, 0] < 0.6
    assert (abs(y[around] - 23).max(), abs(x[around] - 6).max()) <= (7.1, 3.1)  # held back by the lower border
    assert abs(columns[~around].mean() - 18) < 0.5
    assert set(columns[~around].round().int().tolist()) == set(range(37))


def test_crops_of_slices_without_label_lie_anywhere():
    sampler = SliceSampler(
        [np.zeros((2, 8, 8))],
        [np.zeros((2, 8, 8), np.uint8)],
        adjacent_slices=0,
        foreground=1.0,
        crop=(4, 4),
        device=CPU,
    )
    random = torch.rand(1000, sampler.n_draw, generator=generator(0, 0))
    assert len(sampler.centers(sampler.draw(random), random).unique()) == 5


# --- fit --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    shares = []
    run = ml.fit(
        small_model(in_channels=3),
        CASES[:3],
        held_out=CASES[3:],
        config=config(epochs=30, adjacent_slices=1, learning_rate=5e-3),
        out=out,
        on_validation=lambda model, preprocess, share: shares.append((share, model.training)),
    )
    return run, shares


def test_one_network_learns_its_cases_and_a_new_one(trained):
    run, _ = trained
    for case in CASES:
        pred = ml.to_labels(ml.predict(run, case.image))
        assert ml.dice(pred.array, case.mask.array) > 0.9, case.id


def test_one_case_can_be_learned_by_heart(tmp_path):
    settings = config(epochs=80, augment=None, learning_rate=5e-3)
    run = ml.fit(small_model(), CASES[:1], config=settings, out=tmp_path / "run")
    pred = ml.to_labels(ml.predict(run, CASES[0].image))
    assert ml.dice(pred.array, CASES[0].mask.array) > 0.97


def test_run_folder_holds_what_it_promises(trained):
    run, shares = trained
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.json", "history.csv", "model.safetensors", "curves.png", "log.txt", "state.pt")
    }
    assert run.complete
    assert run.config["training_cases"] == ["blob-00", "blob-01", "blob-02"]
    assert run.config["held_out_cases"] == ["blob-03"]
    assert run.config["train"]["learning_rate"] == 5e-3
    assert run.config["precision"] == "fp32"
    assert run.config["labels"] == {"foreground": [1]}
    history = run.history
    assert len(history) == 30
    assert history["step"].iloc[-1] == 30 * 3  # 18 slices in batches of 8
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert history["val_dice"].notna().sum() == len(shares) == 10
    assert history["val_dice"].iloc[-1] > 0.9
    assert [share for share, _ in shares] == pytest.approx(np.arange(1, 11) / 10)
    assert not any(training for _, training in shares)
    assert "held-out Dice" in (run.folder / "log.txt").read_text()
    assert run.preprocess.adjacent_slices == 1


def test_learning_rate_rises_and_falls_to_zero(trained):
    rates = trained[0].history["learning_rate"]
    assert rates.max() > 4.9e-3
    assert rates.iloc[-1] < 1e-4


def test_the_callers_random_numbers_are_left_alone(tmp_path):
    model, state = small_model(), torch.get_rng_state()
    ml.fit(model, CASES[:1], config=config(epochs=1), out=tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), state)


class InterruptedObjective:
    """Dice + cross-entropy that presses Ctrl-C at one of its calls."""

    def __init__(self, at):
        self.calls, self.at = 0, at

    def __call__(self, model, images, labels):
        self.calls += 1
        if self.calls == self.at:
            signal.raise_signal(signal.SIGINT)
        return dice_ce_loss(model(images), labels)


@pytest.mark.parametrize("at", [1, 4, 6])
def test_ctrl_c_leaves_a_usable_run_and_resume_gives_the_same_bits(tmp_path, at):
    keywords = {"held_out": CASES[3:], "config": config(epochs=4)}
    straight = ml.fit(small_model(dropout=0.3), CASES[:3], out=tmp_path / "straight", **keywords)
    stopped = ml.fit(
        small_model(dropout=0.3), CASES[:3], out=tmp_path / "run", objective=InterruptedObjective(at), **keywords
    )
    assert not stopped.complete
    assert ml.predict(stopped, CASES[3].image).shape == CASES[3].image.shape
    resumed = ml.fit(small_model(dropout=0.3), CASES[:3], out=tmp_path / "run", resume=True, **keywords)
    assert resumed.complete
    assert_equal_weights(straight, resumed)
    same = ["epoch", "step", "learning_rate", "train_loss", "val_dice"]
    np.testing.assert_array_equal(straight.history[same], resumed.history[same])
    assert resumed.history["seconds"].is_monotonic_increasing


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path):
    runs = [
        ml.fit(small_model(), CASES[:3], config=config(seed=seed), out=tmp_path / str(i))
        for i, seed in enumerate((0, 0, 1))
    ]
    assert_equal_weights(runs[0], runs[1])
    assert not torch.equal(weights(runs[0])["head.weight"], weights(runs[2])["head.weight"])


@pytest.mark.parametrize("n_held_out", [0, 2])
def test_the_budget_of_minutes_holds_with_validation_and_saving(tmp_path, n_held_out):
    budget = 8.0
    started = time.monotonic()
    run = ml.fit(
        small_model(),
        CASES[:2],
        held_out=CASES[2 : 2 + n_held_out],
        config=config(epochs=None, minutes=budget / 60),
        out=tmp_path / "run",
    )
    total = time.monotonic() - started
    assert run.complete
    assert abs(run.history["seconds"].iloc[-1] - budget) < 2
    assert total < budget + 5
    assert run.history["learning_rate"].iloc[-1] < 1e-4


def test_several_labels(tmp_path):
    cases = [ml.Case(c.id, c.image, c.mask.map(lambda m: m * (1 + (np.indices(m.shape)[2] > 24)))) for c in CASES]
    run = ml.fit(
        small_model(out_channels=3),
        cases[:3],
        held_out=cases[3:],
        config=config(epochs=40, augment=None),
        out=tmp_path / "run",
    )
    assert not run.preprocess.mirror  # the label depends on the side, and training did not exchange sides
    probabilities = ml.predict(run, cases[3].image)
    assert probabilities.axes == "zyxc"
    np.testing.assert_allclose(probabilities.array.sum(-1), 1, atol=1e-5)
    labels = ml.to_labels(probabilities)
    assert labels.axes == "zyx"
    assert ml.dice(labels.array == 2, cases[3].mask.array == 2) > 0.7
    assert run.config["labels"] == {"label1": [1], "label2": [2]}


@pytest.mark.parametrize(
    ("model", "cases", "keywords", "message"),
    [
        ({}, [], {}, "no case to train on"),
        ({}, CASES[:2], {"config": config(adjacent_slices=1)}, "gives 3 channel"),
        ({}, CASES[:2], {"held_out": CASES[1:2]}, "both trained on and held out: blob-01"),
        ({}, CASES[:2], {"config": config(device="gpu")}, "Try device='auto'"),
        ({}, [ml.Case("x", CASES[0].image)], {}, "x: it has no mask"),
        ({}, [ml.Case("x", CASES[0].image, CASES[0].mask.map(lambda m: m * 3))], {}, "case x holds label 3"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path, model, cases, keywords, message):
    with pytest.raises(ValueError, match=message):
        ml.fit(small_model(**model), cases, **{"config": config(), **keywords}, out=tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    "keywords",
    [
        {"epochs": 1, "minutes": 1},
        {"epochs": 0},
        {"minutes": -1},
        {"batch_size": 0},
        {"foreground": 2},
        {"precision": "fp8"},
        {"optimizer": "lion"},
        {"schedule": "linear"},
        {"gradient_clip": 0},
        {"momentum": -0.1},
        {"minutes": float("nan")},
    ],
)
def test_settings_are_checked(keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        ml.TrainConfig(**keywords)


def test_settings_survive_json():
    settings = ml.TrainConfig(epochs=3, spacing=(0.5, 0.6), augment=ml.Augment(flip=0))
    assert ml.TrainConfig.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert ml.TrainConfig.from_dict(json.loads(json.dumps(ml.TrainConfig(augment=None).to_dict()))).augment is None
    assert ml.TrainConfig().minutes == 10


def test_an_existing_run_is_not_overwritten(trained):
    before = (trained[0].folder / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="--resume"):
        ml.fit(small_model(), CASES[:1], config=config(), out=trained[0].folder)
    assert (trained[0].folder / "model.safetensors").read_bytes() == before


def test_resume_wants_the_same_settings(trained, tmp_path):
    with pytest.raises(ValueError, match="other settings") as error:
        ml.fit(small_model(), CASES[:3], held_out=CASES[3:], config=config(), out=trained[0].folder, resume=True)
    assert "learning_rate" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        ml.fit(small_model(), CASES[:1], config=config(), out=tmp_path, resume=True)


def test_a_folder_without_a_run_is_not_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        ml.Run(tmp_path)


# --- checkpoints and prediction ---------------------------------------------------------------------------------------


def test_checkpoint_round_trip(tmp_path):
    model, recipe = small_model(dropout=0.1).eval(), ml.Preprocess(spacing=(1, 1), canvas=(16, 16))
    path = ml.save_checkpoint(tmp_path / "model.safetensors", model, recipe)
    copy, same = ml.load_checkpoint(path)
    assert same == recipe
    assert copy.config == model.config
    images = torch.randn(1, 1, 16, 16)
    assert torch.equal(copy(images), model(images))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_damaged_checkpoints_are_named(tmp_path):
    path = ml.save_checkpoint(tmp_path / "a", small_model(), ml.Preprocess(spacing=(1, 1), canvas=(16, 16)))
    content = path.read_bytes()
    for damaged in (content[:100], content[: len(content) // 2], b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(ml.FileFormatError, match="damaged"):
            ml.load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        ml.load_checkpoint(tmp_path / "b")


def test_flipping_averages_both_views(trained):
    run, _ = trained
    image = CASES[3].image
    mirrored = ml.Volume(array=image.array[:, :, ::-1], spacing=image.spacing, origin=image.origin)
    plain, other = (ml.predict(run, v, flip=False).array for v in (image, mirrored))
    assert run.preprocess.mirror  # training exchanged left and right, so prediction may
    both = ml.predict(run, image).array
    np.testing.assert_allclose(both, (plain + other[:, :, ::-1]) / 2, atol=1e-5)
    assert np.abs(both - plain).max() > 1e-3


def test_prediction_does_not_depend_on_the_batch_size(trained):
    run, _ = trained
    a, b = (ml.predict(run, CASES[3].image, batch_size=n).array for n in (1, 16))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_bare_network_needs_its_recipe(trained):
    run, _ = trained
    with pytest.raises(ValueError, match="preprocess="):
        ml.predict(run.model, CASES[0].image)
    a = ml.predict(run.model, CASES[0].image, preprocess=run.preprocess)
    np.testing.assert_array_equal(a.array, ml.predict(run, CASES[0].image).array)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_training_on_cuda(tmp_path):
    run = ml.fit(
        small_model(),
        CASES[:3],
        held_out=CASES[3:],
        config=config(epochs=30, precision="auto", device="cuda"),
        out=tmp_path / "run",
    )
    assert run.config["precision"] in ("bf16", "fp16")
    assert run.history["val_dice"].iloc[-1] > 0.9
