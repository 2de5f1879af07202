"""What can be chosen about a training. Everything is stored with the run, in ``config.json``."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ..augment import Augment
from ..errors import check_choice, check_positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of `medlearn.fit`.

    Parameters
    ----------
    minutes, epochs : float, int
        How long: a budget of wall-clock minutes, or a number of passes over the training slices. Not both; ten
        minutes where neither is given.
    batch_size : int
        Slices per step, over all processes. Where the memory of the device does not hold that many, a step is computed
        in parts; the gradients are added up.
    optimizer : {"adamw", "adam", "sgd"}
        SGD with Nesterov's momentum; it wants a `learning_rate` some ten times larger.
    learning_rate : float
        Peak of the schedule.
    schedule : {"cosine", "poly", "one-cycle"}
        How the rate goes over the budget, epochs or minutes. Cosine and poly (power 0.9) rise over the first 3 % and
        fall to zero; one-cycle rises over 30 % from 1/25 and falls to zero, both as cosines.
    weight_decay : float
        Decoupled from the gradient in AdamW, part of it in Adam and SGD.
    momentum : float
        Of SGD.
    gradient_clip : float
        A gradient whose norm over all weights is larger is scaled down to this norm.
    dice_batch : bool
        Whether the Dice loss is one number over a batch, or one per slice. Only with one per slice is the loss of a
        batch the mean over its slices, and a step in several processes or parts the same as in one.
    ema_decay : float
        The weights that are kept are an exponential moving average of the trained ones; 0 keeps the last ones.
    foreground : float
        Share of every batch that is drawn from slices with a label (every label equally often); the rest is drawn
        from all.
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
        "auto" decides by what the device can do, on a CPU by timing (bf16 is 2.4 times faster with AMX, 10 to 25 times
        *slower* on an ordinary laptop).
    seed : int
        Of everything random. (seed, step, sample) determine every draw.
    """

    minutes: float | None = None
    epochs: int | None = None
    batch_size: int = 16
    optimizer: str = "adamw"
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 1e-2
    momentum: float = 0.9
    gradient_clip: float = 5.0
    dice_batch: bool = True
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
        if self.minutes is None and self.epochs is None:
            object.__setattr__(self, "minutes", 10.0)
        if self.minutes is not None and self.epochs is not None:
            raise ValueError("give minutes or epochs, not both: TrainConfig(minutes=10) or TrainConfig(epochs=30)")
        positive = ("minutes", "epochs", "batch_size", "learning_rate", "gradient_clip")
        for name in (*positive, "validations", "checkpoint_minutes"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        if self.spacing is not None:
            object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing))
        for name in ("foreground", "ema_decay", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1; got {getattr(self, name)!r}")
        check_choice("optimizer", self.optimizer, ("adamw", "adam", "sgd"))
        check_choice("schedule", self.schedule, ("cosine", "poly", "one-cycle"))
        check_choice("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))

    def to_dict(self) -> dict[str, Any]:
        """As plain types, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """From what `to_dict` gave; a setting that did not exist then has its default."""
        augment = values["augment"]
        return cls(**{**values, "augment": augment and Augment(**augment)})


#: What ``medlearn train --preset`` offers: keywords of the network and of `TrainConfig`.
PRESETS = {
    "unet2d": {
        "model": {"kind": "unet", "ndim": 2, "widths": (16, 32, 64, 128, 256)},
        "train": {"adjacent_slices": 1},
    },
    "unet2d-small": {
        "model": {"kind": "unet", "ndim": 2, "widths": (8, 16, 32, 64, 128)},
        "train": {"adjacent_slices": 1, "spacing": (1.25, 1.25)},
    },
}
