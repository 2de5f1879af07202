"""The folder of a training, and what can be read from it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from ..checkpoint import load_checkpoint
from ..preprocess import Preprocess

MODEL_FILE, CONFIG_FILE, HISTORY_FILE = "model.safetensors", "config.json", "history.csv"
STATE_FILE, LOG_FILE, CURVES_FILE = "state.pt", "log.txt", "curves.png"
POSTPROCESSING = ("smooth_slices", "largest_component")  # settings of `TrainConfig` that act after the network


@dataclass(frozen=True)
class Run:
    """A training on disk.

    Parameters
    ----------
    folder : Path
        With ``config.json`` (every setting), ``history.csv`` (loss and validation Dice), ``model.safetensors`` (the
        averaged weights with their pre-processing), ``curves.png``, ``log.txt`` and ``state.pt`` (what ``--resume``
        needs).

    Raises
    ------
    FileNotFoundError
        If the folder holds no run.
    """

    folder: Path

    def __post_init__(self):
        object.__setattr__(self, "folder", Path(self.folder))
        for name in (CONFIG_FILE, MODEL_FILE):
            if not (self.folder / name).is_file():
                raise FileNotFoundError(f"{self.folder} is not a training run: it has no {name}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """What was chosen, what "auto" became, and which cases were used."""
        return read_config(self.folder)

    @cached_property
    def _checkpoint(self) -> tuple[nn.Module, Preprocess]:
        return load_checkpoint(self.folder / MODEL_FILE)

    @property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return self._checkpoint[0]

    @property
    def preprocess(self) -> Preprocess:
        """The recipe between a case and the network."""
        return self._checkpoint[1]

    @property
    def postprocess(self) -> dict[str, Any]:
        """How probabilities become labels: keywords of `medlearn.to_labels`, as chosen for the training."""
        settings = self.config.get("train", {})
        return {key: settings[key] for key in POSTPROCESSING if key in settings}

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: step, seconds, learning_rate, train_loss and, where it was measured, val_dice."""
        return pd.read_csv(self.folder / HISTORY_FILE)

    @property
    def complete(self) -> bool:
        """Whether the whole budget was used; False after an interruption."""
        return bool(self.config["complete"])


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a run folder; raise FileNotFoundError where there is none."""
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder} is not a training run: it has no {CONFIG_FILE}")
    return json.loads(path.read_text(encoding="utf-8"))
