"""From cases to a trained network: settings, the sampler, the loop, the run folder."""

from .config import TrainConfig
from .cross_validation import cross_validate
from .loop import fit
from .run import Run

__all__ = ["Run", "TrainConfig", "cross_validate", "fit"]
