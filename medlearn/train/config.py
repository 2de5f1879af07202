"""What can be chosen about a training. Everything is stored with the run, in ``config.json``."""

from dataclasses import dataclass, field

from ..augment import Augment
from ..errors import check_choice, check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of `medlearn.fit`.

    Parameters
    ----------
    minutes, epochs : float, int
        How long: a budget of wall-clock minutes, or a number of passes over the training slices. One of the two.
    batch_size : int
        Slices per step.
    learning_rate : float
        Peak of the schedule: linear rise over the first 3 %, then a cosine down to zero at the end of the budget.
    weight_decay : float
        Of AdamW.
    ema_decay : float
        The weights that are kept are an exponential moving average of the trained ones; 0 keeps the last ones.
    foreground : float
        Share of every batch that is drawn from slices with a label (every label equally often); the rest is drawn from all.
    spacing : (y, x), optional
        Pixel size in mm that the network works at; the median of the training set where it is not given.
    adjacent_slices : int
        Neighbors on each side that enter as extra channels; the model then needs 1 + 2 · adjacent_slices `in_channels`.
    augment : Augment or None
    validations : int
        How often the held-out cases are predicted during training.
    checkpoint_minutes : float
        How often the state is saved, so that a killed run can go on.
    device : str
        "auto" takes CUDA, then Apple's MPS, then the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        "auto" decides by what the device can do, on a CPU by timing (bf16 is 2.4 times faster with AMX and 10 to 25 times
        *slower* on an ordinary laptop).
    seed : int
        Of everything random. (seed, step, sample) determine every draw.
    """

    minutes: float | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.99
    foreground: float = 0.5
    spacing: tuple[float, float] | None = None
    adjacent_slices: int = 0
    augment: Augment | None = field(default_factory=Augment)
    validations: int = 10
    checkpoint_minutes: float = 2.0
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0

    def __post_init__(self):
        if (self.minutes is None) == (self.epochs is None):
            raise ValueError("give either minutes or epochs: TrainConfig(minutes=10) or TrainConfig(epochs=30)")
        check_positive("minutes" if self.epochs is None else "epochs", self.epochs or self.minutes)
        for name in ("batch_size", "learning_rate", "validations", "checkpoint_minutes"):
            check_positive(name, getattr(self, name))
        for name in ("foreground", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1; got {getattr(self, name)!r}")
        check_choice("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
