"""From cases to a trained network: settings, the sampler, the loop, the run folder."""

from .config import TrainConfig
from .loop import fit
from .run import Run

__all__ = ["Run", "TrainConfig", "fit"]
