"""Every preset builds its network, trains it for a step and predicts; what goes around the training is optional."""

import logging
import sys
from dataclasses import replace

import pytest
import torch

import medlearn as ml
from medlearn.cli import main
from medlearn.nn import build
from medlearn.train.compile import compiled
from medlearn.train.config import PRESETS


@pytest.fixture(scope="module")
def cases():
    return [ml.phantom.prostate(n, shape=(6, 32, 32), spacing=(12.0, 5.0, 5.0)) for n in range(2)]


@pytest.mark.parametrize("name", PRESETS)
def test_preset_trains_and_predicts(name, cases, tmp_path, capsys):
    settings = {"epochs": 1, "samples_per_epoch": 2, "batch_size": 2, "precision": "fp32", "spacing": None}
    config = ml.TrainConfig(**{**PRESETS[name]["train"], **settings})
    torch.manual_seed(0)
    model = build({**PRESETS[name]["model"], "in_channels": config.n_channels, "out_channels": 1})
    run = ml.fit(model, cases, config=config, out=tmp_path / "run", progress=False)
    assert ml.predict(run, cases[0].image).shape == cases[0].image.shape
    again = ml.Run(tmp_path / "run")
    assert again.config["train"]["loss"] == config.loss
    assert again.postprocess == config.postprocess
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert f"{name}:" in " ".join(capsys.readouterr().out.split())


def test_rank_8_network_has_their_depth_and_nearly_their_size():
    model = build({**PRESETS["promise12-improved"]["model"], "in_channels": 1, "out_channels": 1})
    n = sum(p.numel() for p in model.parameters())
    assert len(model.config["widths"]) == 8
    assert 25e6 < n < 60e6  # theirs had 53,249,754: more channels were joined at every level


def test_contrast_and_denoising_are_part_of_the_recipe(cases, tmp_path):
    config = ml.TrainConfig(epochs=1, clahe_clip_limit=12.8, curvature_flow=(0.125, 5), precision="fp32")
    run = ml.fit(ml.UNet(widths=(4, 8)), cases, config=config, out=tmp_path / "run", progress=False)
    recipe = ml.Run(tmp_path / "run").preprocess
    assert (recipe.clahe_clip_limit, recipe.curvature_flow) == (12.8, (0.125, 5))
    plain = replace(recipe, clahe_clip_limit=None, curvature_flow=None).image(cases[0].image)
    denoised = replace(recipe, clahe_clip_limit=None).image(cases[0].image)
    assert recipe.image(cases[0].image).shape == plain.shape
    assert abs(denoised[:, 1:] - denoised[:, :-1]).mean() < 0.9 * abs(plain[:, 1:] - plain[:, :-1]).mean()
    assert run.preprocess == recipe


def test_any_labels_for_an_objective_of_ones_own(tmp_path):
    nuclei = [ml.phantom.nuclei(n, shape=(64, 64)) for n in range(2)]
    config = ml.TrainConfig(epochs=1, batch_size=2, foreground=0.0, augment=None)
    torch.manual_seed(0)
    model = ml.MaskRCNN(widths=(4, 8, 8, 8), channels=8, hidden=16)
    seen = []

    def objective(model, images, labels):
        seen.append(int(labels.max()))
        return model.loss(images, labels)

    run = ml.fit(model, nuclei, config=config, objective=objective, out=tmp_path / "run", progress=False)
    assert max(seen) > 1
    assert isinstance(run.model, ml.MaskRCNN)
    with pytest.raises(ValueError, match="MaskRCNN does not give"):
        ml.fit(model, nuclei[:1], held_out=nuclei[1:], config=config, objective=objective, out=tmp_path / "b")
    with pytest.raises(ValueError, match="but there are 1 to learn"):
        ml.fit(ml.UNet(widths=(4, 8)), nuclei, config=config, out=tmp_path / "c")


def test_compiling_is_for_cuda_unless_asked_for():
    model = ml.UNet(widths=(4, 8))
    assert compiled(model, "auto") is model
    assert compiled(model, False) is model
    fast = compiled(model, True, backend="eager")
    images = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(fast(images), model(images))
    assert fast.config == model.config
    assert not list(fast.parameters()), "the weights belong to the model alone"


def test_a_compiler_that_fails_is_left_out(caplog):
    def broken(graph, inputs):
        raise RuntimeError("no C compiler here")

    model = ml.UNet(widths=(4, 8)).eval()
    fast = compiled(model, True, backend=broken)
    images = torch.randn(1, 1, 16, 16)
    with caplog.at_level(logging.WARNING, "medlearn.train"):
        torch.testing.assert_close(fast(images), model(images))
    assert "training goes on without it" in caplog.text
    assert not fast.fast
    with caplog.at_level(logging.WARNING, "medlearn.train"):
        fast(images)
    assert caplog.text.count("goes on without it") == 1


def test_deep_supervision_is_compiled_too():
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    model = ml.UNet(widths=(4, 8, 16), deep_supervision=True).eval()
    fast = compiled(model, True, backend=count)
    images = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(fast.forward_scales(images), model.forward_scales(images))
    assert graphs


def test_tensorboard_is_optional(cases, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = ml.TrainConfig(epochs=1, precision="fp32", tensorboard=True)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        ml.fit(ml.UNet(widths=(4, 8)), cases, config=config, out=tmp_path / "run", progress=False)


def test_rows_for_tensorboard_are_written_once(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from medlearn.train.tensorboard import Board

    written = []

    class SummaryWriter:
        def __init__(self, folder):
            pass

        def add_scalar(self, *arguments):
            written.append(arguments)

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    board = Board(tmp_path, after_step=5)
    rows = [
        {"step": step, "train_loss": 1.0, "learning_rate": 0.1, "val_dice": dice}
        for step, dice in ((5, None), (10, None), (15, 0.5))
    ]
    board.update(rows[:2])
    board.update(rows)
    rows[1]["val_dice"] = 0.4  # a row may be written before the held-out cases are predicted
    board.update(rows)
    names = [(name, step) for name, _, step in written]
    assert names == [
        *(("train_loss", 10), ("learning_rate", 10)),
        *(("train_loss", 15), ("learning_rate", 15), ("val_dice", 15)),
        ("val_dice", 10),
    ]
