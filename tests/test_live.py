"""The curves that a notebook shows while it trains."""

import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from medlearn.train import live

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))

import build

TRAINING = """
import medlearn as ml
from medlearn.train import live

live._PATIENCE = live._WORTH = 0  # draw after every epoch
run = ml.fit(
    ml.UNet(widths=(4, 8)),
    [ml.phantom.prostate(0, shape=(6, 32, 32), spacing=(9.0, 4.0, 4.0))],
    config=ml.TrainConfig(epochs=5, batch_size=6, precision="fp32", device="cpu"),
    out={out!r},
    progress={progress},
)
"""


def train(out, *, progress):
    cell = nbformat.v4.new_code_cell(TRAINING.format(out=str(out), progress=progress))
    cell.metadata["tags"] = ["nbval-ignore-output"]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    messages = []

    class Client(NotebookClient):
        def process_message(self, message, cell, cell_index):
            messages.append(message["msg_type"])
            return super().process_message(message, cell, cell_index)

    Client(notebook, kernel_name="python3", timeout=60).execute()
    return cell, messages


def test_a_notebook_shows_one_picture_that_is_replaced(tmp_path):
    cell, messages = train(tmp_path / "run", progress=True)
    [shown] = [output for output in cell.outputs if output.output_type == "display_data"]
    assert base64.b64decode(shown.data["image/png"]).startswith(b"\x89PNG")
    assert "up to step 5: loss" in shown.metadata["image/png"]["alt"]
    assert messages.count("display_data") == 1
    assert messages.count("update_display_data") == 4  # after three more epochs, and at the end
    assert all(build.is_progress(output, cell) for output in cell.outputs)  # not stored with the course


def test_who_wants_no_progress_sees_no_picture(tmp_path):
    cell, _ = train(tmp_path / "run", progress=False)
    assert not cell.outputs


def test_outside_of_a_notebook_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(live, "plot_curves", None)
    rows = [{"step": step, "train_loss": 1.0, "val_dice": None} for step in (1, 2)]
    live.LiveCurves(True).show(rows, last=True)


def test_drawing_costs_little_of_the_time(monkeypatch):
    from types import SimpleNamespace

    drawn, clock = [], [100.0]

    def plot(history):
        drawn.append(len(history))
        clock[0] += 0.5  # a slow drawing
        return SimpleNamespace(_repr_png_=lambda: b"\x89PNG")

    monkeypatch.setattr(live, "kernel", lambda: object())
    monkeypatch.setattr(live, "plot_curves", plot)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    rows = [{"step": step, "train_loss": 1.0, "val_dice": 0.5} for step in range(1, 32)]
    curves = live.LiveCurves(True)
    for n in range(1, 31):
        clock[0] += 1.0
        curves.show(rows[:n])
    assert drawn == [2, 17]  # not one row alone; the second after 15 s
    curves.show(rows, last=True)
    assert drawn == [2, 17, 31]


def test_who_is_shown_how_far_a_computation_is(monkeypatch):
    from types import SimpleNamespace

    from medlearn import _watched

    def stderr(isatty):
        monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: isatty))

    def shell(**attributes):
        module = SimpleNamespace(get_ipython=lambda: SimpleNamespace(**attributes))
        monkeypatch.setitem(sys.modules, "IPython", module)

    shell(kernel="of a notebook")
    stderr(False)
    assert _watched.watched()
    shell()  # IPython in a pipe
    assert not _watched.watched()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not _watched.watched()
    stderr(True)
    assert _watched.watched()
