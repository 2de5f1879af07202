"""Training in two processes under torchrun, and training that is killed. Run as a script, this file is the training."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import blob_case

import medlearn as ml
from medlearn.train import distributed
from medlearn.train.objective import segmentation_objective

CASES = [blob_case(seed) for seed in range(3)]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# two processes with several threads each would fight for the cores; no user's torchrun settings
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("TORCHELASTIC")} | {"OMP_NUM_THREADS": "1"}


def train(out, *, resume=False, kill_rank=None, kill_step=None, epochs=4, seed=0, **keywords):
    """Eight steps of a network without batch statistics and with a loss per image: any split of a batch is the same."""

    def objective(model, images, labels):
        objective.calls += 1
        if objective.calls == kill_step and distributed.rank() == kill_rank and not distributed.restarted():
            os.kill(os.getpid(), signal.SIGKILL)
        return segmentation_objective(model, images, labels, dice_batch=False)

    objective.calls = 0
    torch.manual_seed(seed)
    return ml.fit(
        ml.UNet(widths=(4, 8, 16), norm="instance", **keywords),
        CASES[:2],
        held_out=CASES[2:],
        config=ml.TrainConfig(
            epochs=epochs,
            batch_size=6,
            precision="fp32",
            device="cpu",
            validations=2,
            checkpoint_minutes=1e-6 if kill_step or resume else 2,  # saved after every step, or at the end
        ),
        objective=objective,
        out=out,
        resume=resume,
    )


def popen(command):
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def start(launcher, out, **keywords):
    return popen([*launcher, __file__, str(out), json.dumps(keywords)])


def finish(process, status=0):
    text, _ = process.communicate(timeout=120)
    assert process.returncode == status, text
    return text


def weights(run):
    return run.model.state_dict()


def assert_equal_weights(a, b):
    for name, tensor in weights(a).items():
        assert torch.equal(tensor, weights(b)[name]), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone") / "run")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """In two processes, which begin with different weights unless rank 0 shares its own."""
    out = tmp_path_factory.mktemp("together") / "run"
    finish(start(TORCHRUN, out, seed="rank"))
    return ml.Run(out)


def test_two_processes_have_the_loss_curve_of_one(alone, together):
    assert len(alone.history) == 4
    np.testing.assert_allclose(together.history["train_loss"], alone.history["train_loss"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(together.history["step"], alone.history["step"])
    for name, tensor in weights(alone).items():
        torch.testing.assert_close(weights(together)[name], tensor, rtol=0, atol=1e-3)


def test_rank_0_alone_writes(alone, together):
    assert {p.name for p in together.folder.iterdir()} == {p.name for p in alone.folder.iterdir()}
    assert together.complete
    assert (together.folder / "log.txt").read_text().count("slices per second") == 1
    assert together.history["val_dice"].notna().sum() == 2


def test_a_killed_process_is_started_again_and_training_goes_on_exactly(together, tmp_path):
    victim, step = random.randint(0, 1), random.randint(2, 8)
    finish(start([*TORCHRUN, "--max-restarts", "1"], tmp_path / "run", kill_rank=victim, kill_step=step))
    assert f"resumed at step {step - 1}," in (tmp_path / "run" / "log.txt").read_text()
    assert_equal_weights(ml.Run(tmp_path / "run"), together)


def test_resume_after_kill_9_at_a_random_step_gives_the_same_bits(tmp_path):
    straight = train(tmp_path / "straight", dropout=0.3)
    step = random.randint(2, 8)
    finish(start([sys.executable], tmp_path / "run", kill_rank=0, kill_step=step, dropout=0.3), -signal.SIGKILL)
    assert not ml.Run(tmp_path / "run").complete
    resumed = train(tmp_path / "run", resume=True, dropout=0.3)
    assert_equal_weights(straight, resumed)
    np.testing.assert_array_equal(straight.history["train_loss"], resumed.history["train_loss"])


def test_kill_9_at_any_moment_even_while_saving(tmp_path):
    """The state is saved after every step here, which takes longer than the step: most often the kill hits that."""
    straight = train(tmp_path / "straight", epochs=15)
    process = start([sys.executable], tmp_path / "run", kill_rank=0, kill_step=10**9, epochs=15)  # it lives until:
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "state.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.5))
    process.kill()
    finish(process, -signal.SIGKILL)
    resumed = train(tmp_path / "run", resume=True, epochs=15)
    assert_equal_weights(straight, resumed)
    np.testing.assert_array_equal(straight.history["train_loss"], resumed.history["train_loss"])


def test_the_command_in_two_processes_and_its_ctrl_c(tmp_path):
    (tmp_path / "data").mkdir()
    for case in CASES:
        ml.save(case.image, tmp_path / "data" / f"{case.id}.mhd")
        ml.save(case.mask, tmp_path / "data" / f"{case.id}_segmentation.mhd")
    out = tmp_path / "run"
    command = [*TORCHRUN, "-m", "medlearn", "train", str(tmp_path / "data"), "--out", str(out), "--val", "blob-01"]
    command += ["--preset", "unet2d-small", "--epochs", "100000", "--precision", "auto"]
    process = popen(command)
    deadline = time.monotonic() + 60
    while not (out / "history.csv").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert text.count("interrupted at step") == 1
    assert text.count("--resume goes on from here") == 1
    run = ml.Run(out)
    assert not run.complete
    assert torch.load(out / "state.pt")["step"] >= len(run.history)

    text, _ = popen(command).communicate(timeout=60)  # a mistake that rank 0 notices ends both, each with its message
    assert text.count("exists: choose another folder") == 2


def test_shares_of_a_batch(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares += range(10)[distributed.own_slice(10)]
    assert shares == list(range(10))
    with pytest.raises(ValueError, match="a batch of 2 cannot be shared by 3 processes"):
        distributed.own_slice(2)


if __name__ == "__main__":
    import matplotlib as mpl

    mpl.use("agg")
    options = json.loads(sys.argv[2])  # what `start` wrote
    if options.get("seed") == "rank":
        options["seed"] = int(os.environ["RANK"])
    run = train(Path(sys.argv[1]), **options)
    sys.exit(0 if run.complete else 130)
