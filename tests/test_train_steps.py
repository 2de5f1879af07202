"""What can go wrong in a step, and the choices of how a step is made."""

import json
import logging
import math

import numpy as np
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.nn import dice_ce_loss
from medlearn.train.objective import learning_rate, make_optimizer, segmentation_objective

CASES = [blob_case(seed) for seed in range(4)]  # six slices each


def small_model(**keywords):
    torch.manual_seed(0)
    return ml.UNet(**{"widths": (4, 8, 16), **keywords})


def config(**keywords):
    return ml.TrainConfig(**{"epochs": 2, "batch_size": 8, "precision": "fp32", **keywords})


# --- numbers that are none --------------------------------------------------------------------------------------------


class Broken:
    """Dice + cross-entropy that is not a number from one step on."""

    def __init__(self, from_step):
        self.calls, self.from_step = 0, from_step

    def __call__(self, model, images, labels):
        self.calls += 1
        return dice_ce_loss(model(images), labels) * (float("nan") if self.calls >= self.from_step else 1.0)


@pytest.mark.parametrize(("checkpoint_minutes", "good"), [(2.0, 6), (1e-6, 7)])
def test_a_loss_that_is_no_number_stops_training_and_says_where(tmp_path, checkpoint_minutes, good):
    """The device is looked at after every epoch of three steps, and before a checkpoint is written."""
    settings = config(epochs=4, checkpoint_minutes=checkpoint_minutes)
    with pytest.raises(FloatingPointError, match=r"became nan at step 8 \(epoch 3\)") as error:
        ml.fit(small_model(), CASES[:3], config=settings, objective=Broken(8), out=tmp_path / "run")
    assert f"holds the weights of step {good}" in str(error.value)
    assert "smaller learning_rate" in str(error.value)
    assert not ml.Run(tmp_path / "run").complete


def test_the_last_good_weights_are_kept(tmp_path):
    averaged = []

    def remember(model, preprocess, share):
        averaged.append({name: tensor.clone() for name, tensor in model.state_dict().items()})

    keywords = {"config": config(epochs=4, validations=4), "on_validation": remember}
    with pytest.raises(FloatingPointError):
        ml.fit(small_model(), CASES[:3], objective=Broken(8), out=tmp_path / "run", **keywords)
    assert len(averaged) == 2  # the last one after step 6
    for name, tensor in ml.Run(tmp_path / "run").model.state_dict().items():
        assert tensor.isfinite().all(), name
        if tensor.is_floating_point():
            assert torch.equal(tensor, averaged[1][name]), name


def test_a_resumed_run_knows_that_what_it_read_was_good(tmp_path):
    settings = config(epochs=4, checkpoint_minutes=1e-6)  # saved after every step
    with pytest.raises(FloatingPointError):
        ml.fit(small_model(), CASES[:3], config=settings, objective=Broken(6), out=tmp_path / "run")
    kept = ml.Run(tmp_path / "run").model.state_dict()
    with pytest.raises(FloatingPointError, match=r"at step 6 .* holds the weights of step 5, the last"):
        ml.fit(small_model(), CASES[:3], config=settings, objective=Broken(1), out=tmp_path / "run", resume=True)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in ml.Run(tmp_path / "run").model.state_dict().items())


def test_the_smallest_budget_is_one_step(tmp_path):
    settings = config(epochs=None, minutes=1e-9)
    run = ml.fit(small_model(), CASES[:2], held_out=CASES[2:3], config=settings, out=tmp_path / "run")
    assert run.complete
    assert run.history["step"].tolist() == [1]
    assert run.history["val_dice"].notna().all()


def test_an_image_with_nan_is_named_before_training_and_refused_in_prediction(tmp_path):
    def spoil(array):
        array = array.astype(np.float32)
        array[2, 3, 4] = np.nan
        return array

    case = ml.Case("x", CASES[0].image.map(spoil), CASES[0].mask)
    for name, cases, held_out in (("a", [*CASES[:2], case], ()), ("b", CASES[:2], [case])):
        with pytest.raises(ml.BadCasesError, match="x: the image holds values that are not finite"):
            ml.fit(small_model(), cases, held_out=held_out, config=config(), out=tmp_path / name)
    with pytest.raises(ValueError, match="the image holds values that are not finite"):  # not an empty mask
        ml.predict(small_model(), case.image, preprocess=ml.Preprocess(spacing=(1, 1), canvas=(48, 48)))


def test_weights_that_break_in_the_last_step_are_noticed(tmp_path):
    class Steep(torch.autograd.Function):
        """The loss is fine; its gradient is not."""

        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * float("inf")

    def objective(model, images, labels):
        objective.calls += 1
        loss = dice_ce_loss(model(images), labels)
        return Steep.apply(loss) if objective.calls == 3 else loss

    objective.calls = 0
    with pytest.raises(FloatingPointError, match=r"weights are no longer finite at step 3 .* no step before was known"):
        ml.fit(small_model(), CASES[:3], config=config(epochs=1), objective=objective, out=tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


# --- memory -----------------------------------------------------------------------------------------------------------


class Narrow:
    """Dice + cross-entropy on a device that holds only so many slices at once."""

    def __init__(self, n, error=None):
        self.n, self.sizes = n, []
        self.error = error or torch.OutOfMemoryError("tried to allocate too much")

    def __call__(self, model, images, labels):
        self.sizes.append(len(images))
        if len(images) > self.n:
            raise self.error
        return dice_ce_loss(model(images), labels, batch=False)


def test_out_of_memory_computes_the_batch_in_parts_with_the_same_result(tmp_path, caplog):
    settings = config(epochs=4, batch_size=8)
    few = Narrow(3)
    wide, narrow = (
        ml.fit(small_model(norm="instance"), CASES[:3], config=settings, objective=objective, out=tmp_path / str(i))
        for i, objective in enumerate((Narrow(8), few))
    )
    assert few.sizes[:6] == [8, 4, 2, 2, 2, 2]
    assert set(few.sizes[6:]) == {2}
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert messages == [
        "step 1: the memory of cpu is too small for 8 samples at once; going on with 4 at a time",
        "step 1: the memory of cpu is too small for 8 samples at once; going on with 2 at a time",
    ]
    np.testing.assert_allclose(narrow.history["train_loss"], wide.history["train_loss"], atol=1e-5)
    assert "going on with 2 at a time" in (tmp_path / "1" / "log.txt").read_text()
    assert torch.load(tmp_path / "1" / "state.pt")["parts"] == 4  # a resumed run need not find out again


def test_a_memory_too_small_for_one_slice_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="the memory of cpu does not hold one sample"):
        ml.fit(small_model(), CASES[:1], config=config(), objective=Narrow(0), out=tmp_path / "run")


def no_memory_of_a_cpu():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    return error.value


@pytest.mark.parametrize("make", [no_memory_of_a_cpu, lambda: RuntimeError("MPS backend out of memory (MPS ...)")])
def test_devices_without_an_error_of_their_own_are_understood(tmp_path, make):
    few = Narrow(4, make())
    ml.fit(small_model(), CASES[:2], config=config(epochs=1), objective=few, out=tmp_path / "run")
    assert few.sizes == [8, 4, 4, 4, 4]


def test_other_errors_are_no_lack_of_memory(tmp_path):
    broken = Narrow(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        ml.fit(small_model(), CASES[:1], config=config(), objective=broken, out=tmp_path / "run")
    assert broken.sizes == [8]


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "rate", "schedule"),
    [("adamw", 5e-3, "cosine"), ("adamw", 5e-3, "one-cycle"), ("adam", 5e-3, "poly"), ("sgd", 5e-2, "poly")],
)
def test_every_optimizer_and_every_schedule_learns(tmp_path, optimizer, rate, schedule):
    settings = config(epochs=15, optimizer=optimizer, schedule=schedule, learning_rate=rate, augment=None)
    run = ml.fit(small_model(), CASES[:2], config=settings, out=tmp_path / "run")
    losses = run.history["train_loss"]
    assert losses.iloc[-1] < 0.75 * losses.iloc[0]
    assert run.config["train"]["optimizer"] == optimizer


def test_optimizers_are_what_they_are_called():
    parameters = [torch.nn.Parameter(torch.ones(3))]
    made = {
        name: make_optimizer(parameters, config(optimizer=name, weight_decay=0.1)) for name in ("adamw", "adam", "sgd")
    }
    assert {name: type(o).__name__ for name, o in made.items()} == {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}
    assert made["sgd"].defaults["momentum"] == 0.9
    assert made["sgd"].defaults["nesterov"]
    assert all(o.defaults["weight_decay"] == 0.1 for o in made.values())
    assert not make_optimizer(parameters, config(optimizer="sgd", momentum=0)).defaults["nesterov"]


@pytest.mark.parametrize(("schedule", "peak"), [("cosine", 0.03), ("poly", 0.03), ("one-cycle", 0.3)])
def test_schedules_rise_to_their_peak_and_fall_to_zero(schedule, peak):
    shares = np.linspace(0, 1, 1001)
    rates = np.array([learning_rate(config(schedule=schedule, learning_rate=0.5), share) for share in shares])
    assert 0 < rates[0] < 0.025
    assert abs(shares[rates.argmax()] - peak) < 0.005
    assert 0.48 < rates.max() <= 0.5
    assert (np.diff(rates[: rates.argmax()]) > 0).all()
    assert (np.diff(rates[rates.argmax() :]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_known_values_of_the_schedules():
    rate = {s: learning_rate(config(schedule=s, learning_rate=1.0), 0.5) for s in ("cosine", "poly", "one-cycle")}
    assert rate["cosine"] == pytest.approx(0.5)
    assert rate["poly"] == pytest.approx(0.5**0.9)
    assert rate["one-cycle"] == pytest.approx(0.5 * (1 + math.cos(math.pi * 2 / 7)))


@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_kept_weights_are_the_moving_average_of_the_trained_ones(tmp_path, decay):
    """The decay grows to its value, since the first weights know nothing: step / (step + 10)."""
    model, after = small_model(norm=None), []

    def objective(model, images, labels):
        after.append(model.head.weight.detach().clone())  # after the steps before this one
        return dice_ce_loss(model(images), labels)

    run = ml.fit(model, CASES[:2], config=config(epochs=10, ema_decay=decay), objective=objective, out=tmp_path / "run")
    expected = after[0]
    for step, weight in enumerate([*after[1:], model.head.weight.detach()], start=1):
        now = min(decay, step / (step + 10))
        expected = now * expected + (1 - now) * weight
    assert len(after) == 20  # the last steps at the full decay
    torch.testing.assert_close(run.model.head.weight, torch.nn.Parameter(expected))
    assert torch.equal(run.model.head.weight, model.head.weight) == (decay == 0)


def test_gradients_are_clipped(tmp_path):
    """With plain SGD the first step is learning rate times gradient; its length shows the clip."""
    plain = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "learning_rate": 1000}  # one at share 0
    settings = config(epochs=1, batch_size=6, gradient_clip=0.01, **plain)
    model = small_model()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    ml.fit(model, CASES[:1], config=settings, out=tmp_path / "run")
    moved = torch.cat([p.detach().flatten() for p in model.parameters()]) - before
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_dice_of_every_image_or_of_the_batch():
    model = small_model(norm=None)
    images, labels = torch.randn(4, 1, 16, 16), torch.randint(0, 2, (4, 16, 16))
    labels[:2] = 0
    for batch in (True, False):
        loss = segmentation_objective(model, images, labels, dice_batch=batch)
        assert torch.equal(loss, dice_ce_loss(model(images), labels, batch=batch))
    each = [segmentation_objective(model, images[[i]], labels[[i]], dice_batch=False) for i in range(4)]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_deep_supervision_judges_every_level():
    model = small_model(widths=(4, 8, 16, 32), deep_supervision=True)
    images, labels = torch.randn(2, 1, 16, 16), torch.zeros(2, 16, 16, dtype=torch.uint8)
    labels[:, 4:12, 8:] = 1  # edges on multiples of four: halved and quartered exactly
    fine, half, quarter = model.forward_scales(images)
    expected = dice_ce_loss(fine, labels) + dice_ce_loss(half, labels[:, ::2, ::2]) / 2
    expected = (expected + dice_ce_loss(quarter, labels[:, ::4, ::4]) / 4) / (1 + 1 / 2 + 1 / 4)
    torch.testing.assert_close(segmentation_objective(model, images, labels), expected)


def test_deep_supervision_trains_the_coarse_heads(tmp_path):
    model = small_model(deep_supervision=True)
    before = [head.weight.detach().clone() for head in model.coarse_heads]
    run = ml.fit(model, CASES[:2], held_out=CASES[2:3], config=config(epochs=3), out=tmp_path / "run")
    assert all(not torch.equal(a, head.weight) for a, head in zip(before, model.coarse_heads, strict=True))
    assert ml.predict(run, CASES[3].image).shape == CASES[3].image.shape


def test_a_run_of_an_earlier_version_can_be_resumed(tmp_path):
    """It lacks the settings that have been added since."""
    run = ml.fit(small_model(), CASES[:2], config=config(), out=tmp_path / "run")
    stored, path = dict(run.config), tmp_path / "run" / "config.json"
    new = ("optimizer", "schedule", "momentum", "gradient_clip", "dice_batch")
    stored["train"] = {key: value for key, value in stored["train"].items() if key not in new}
    path.write_text(json.dumps(stored))
    state = torch.load(tmp_path / "run" / "state.pt")
    del state["parts"]
    torch.save(state, tmp_path / "run" / "state.pt")
    assert ml.fit(small_model(), CASES[:2], config=config(), out=tmp_path / "run", resume=True).complete
    with pytest.raises(ValueError, match="other settings"):
        ml.fit(small_model(), CASES[:2], config=config(optimizer="sgd"), out=tmp_path / "run", resume=True)


def test_a_resumed_run_may_be_saved_more_often(tmp_path):
    ml.fit(small_model(), CASES[:1], config=config(), out=tmp_path / "run")
    again = config(checkpoint_minutes=0.5)
    run = ml.fit(small_model(), CASES[:1], config=again, out=tmp_path / "run", resume=True)
    assert run.config["train"]["checkpoint_minutes"] == 0.5


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_damaged_state_is_named(tmp_path, keep):
    ml.fit(small_model(), CASES[:1], config=config(), out=tmp_path / "run")
    path = tmp_path / "run" / "state.pt"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ml.FileFormatError, match=r"state\.pt is damaged"):
        ml.fit(small_model(), CASES[:1], config=config(), out=tmp_path / "run", resume=True)


def test_resume_auto_begins_what_was_never_saved_and_touches_nothing_else(tmp_path):
    run = ml.fit(small_model(), CASES[:1], config=config(), out=tmp_path / "run", resume="auto")
    weights = run.model.state_dict()
    (run.folder / "state.pt").unlink()
    with pytest.raises(FileExistsError):  # a complete run without its state
        ml.fit(small_model(), CASES[:1], config=config(), out=run.folder, resume="auto")
    (run.folder / "config.json").write_text(json.dumps({**run.config, "complete": False}))
    with pytest.raises(FileNotFoundError, match="stopped before it first saved its state: remove the folder"):
        ml.fit(small_model(), CASES[:1], config=config(), out=run.folder, resume=True)
    again = ml.fit(small_model(), CASES[:1], config=config(), out=run.folder, resume="auto")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.model.state_dict().items())

    (run.folder / "state.pt").unlink()
    (run.folder / "config.json").write_text(json.dumps({**run.config, "complete": False}))
    (run.folder / "thesis.txt").write_text("three years of work")
    with pytest.raises(FileExistsError):
        ml.fit(small_model(), CASES[:1], config=config(), out=run.folder, resume="auto")
