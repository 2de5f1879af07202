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
    loss : {"dice_ce", "dice", "cross_entropy"}
        What is minimized: soft Dice plus cross-entropy, or one of them alone.
    dice_batch : bool
        Whether the Dice loss is one number over a batch, or one per slice. Only with one per slice is the loss of a
        batch the mean over its slices, and a step in several processes or parts the same as in one.
    ema_decay : float
        The weights that are kept are an exponential moving average of the trained ones; 0 keeps the last ones.
    foreground : float
        Share of every batch that is drawn from slices with a label (every label equally often); the rest is drawn
        from all.
    samples_per_epoch : int, optional
        How many samples are drawn in an epoch; the number of slices, or of patches that cover all volumes, where it is
        not given.
    spacing : (y, x) or (z, y, x), optional
        Pixel size in mm that the network works at, or with `patch` its voxel size; the median of the training set where
        it is not given.
    patch : (z, y, x), optional
        Train a network for volumes on windows of at most this many voxels. Without it the network sees slices.
    crop : float
        Train a network for slices on crops of this share of their height and width, rounded up to what its strides
        divide: around the labels of a slice that was drawn for them, or anywhere. At 0.75 a step costs about half as
        much. Prediction sees whole slices.
    adjacent_slices : int
        Neighbors on each side that enter as extra channels.
    slice_position : bool
        One more channel that tells how high a slice lies in the scan, from -1 to 1. It helps where all scans cover
        about the same part of the body. The model needs `n_channels` as its ``in_channels``.
    clahe_clip_limit, curvature_flow
        Steps of `Preprocess`: equalized contrast, denoised slices.
    smooth_slices, largest_component
        How probabilities become labels, for held-out cases and in prediction: see `medlearn.to_labels`.
    augment : Augment or None
    validations : int
        How often the held-out cases are predicted during training.
    checkpoint_minutes : float
        How often the state is saved, so that a killed run can go on.
    device : str
        "auto" takes CUDA, then Apple's MPS, then the CPU.
    precision : {"auto", "fp32", "bf16", "fp16"}
        "auto" decides by what the device can do, on a CPU by timing (bf16 is 2.4 times faster with AMX, 10 to 25 times
        *slower* on an ordinary laptop); volumes on a CPU are trained in fp32.
    compile : "auto" or bool
        Compile the network with torch.compile; "auto" does it on CUDA. Where that fails, training goes on without.
    tensorboard : bool
        Also write the curves for TensorBoard, into the folder ``tensorboard`` of the run.
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
    loss: str = "dice_ce"
    dice_batch: bool = True
    ema_decay: float = 0.99
    foreground: float = 0.5
    samples_per_epoch: int | None = None
    spacing: tuple[float, ...] | None = None
    patch: tuple[int, int, int] | None = None
    crop: float = 1.0
    adjacent_slices: int = 0
    slice_position: bool = False
    clahe_clip_limit: float | None = None
    curvature_flow: tuple[float, int] | None = None
    smooth_slices: float = 0.0
    largest_component: bool = False
    augment: Augment | None = field(default_factory=Augment)
    validations: int = 10
    checkpoint_minutes: float = 2.0
    device: str = "auto"
    precision: str = "auto"
    compile: str | bool = "auto"
    tensorboard: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.minutes is None and self.epochs is None:
            object.__setattr__(self, "minutes", 10.0)
        if self.minutes is not None and self.epochs is not None:
            raise ValueError("give minutes or epochs, not both: TrainConfig(minutes=10) or TrainConfig(epochs=30)")
        positive = ("minutes", "epochs", "batch_size", "learning_rate", "gradient_clip")
        for name in (*positive, "samples_per_epoch", "validations", "checkpoint_minutes"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name, kind in (("spacing", float), ("patch", int)):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(kind(value) for value in values))
        if self.patch and (len(self.patch) != 3 or min(self.patch) < 1 or self.adjacent_slices or self.slice_position):
            raise ValueError(
                f"patch must be (z, y, x) in voxels, without adjacent_slices and slice_position; got {self.patch}"
            )
        if not 0 < self.crop <= 1 or (self.patch and self.crop < 1):
            raise ValueError(f"crop must be a share of a slice, above 0 and up to 1, and 1 with patch; got {self.crop}")
        if self.curvature_flow is not None:
            object.__setattr__(self, "curvature_flow", tuple(self.curvature_flow))
        for name in ("foreground", "ema_decay", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1; got {getattr(self, name)!r}")
        check_choice("optimizer", self.optimizer, ("adamw", "adam", "sgd"))
        check_choice("schedule", self.schedule, ("cosine", "poly", "one-cycle"))
        check_choice("loss", self.loss, ("dice_ce", "dice", "cross_entropy"))
        check_choice("compile", self.compile, ("auto", True, False))
        check_choice("precision", self.precision, ("auto", "fp32", "bf16", "fp16"))

    @property
    def n_channels(self) -> int:
        """How many channels the network is given."""
        return 1 + 2 * self.adjacent_slices + self.slice_position

    @property
    def postprocess(self) -> dict[str, Any]:
        """Keywords of `medlearn.to_labels`."""
        return {"smooth_slices": self.smooth_slices, "largest_component": self.largest_component}

    def to_dict(self) -> dict[str, Any]:
        """As plain types, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """From what `to_dict` gave; a setting that did not exist then has its default."""
        augment = values["augment"]
        return cls(**{**values, "augment": augment and Augment(**augment)})


# A slice with its neighbors and how high it lies in the scan; three quarters of its width make steps twice as fast.
_UNET2D = {
    "model": {"kind": "unet", "ndim": 2, "widths": (16, 32, 64, 128, 256)},
    "train": {"adjacent_slices": 1, "slice_position": True, "crop": 0.75},
}

#: What ``medlearn train --preset`` offers: keywords of the network and of `TrainConfig`.
PRESETS = {
    "unet2d": _UNET2D,
    # For an organ of which there is one: in one piece, and as smooth across the slices as within them.
    "unet2d-organ": {
        "model": _UNET2D["model"],
        "train": {**_UNET2D["train"], "smooth_slices": 1.0, "largest_component": True},
    },
    "unet2d-small": {
        "model": {"kind": "unet", "ndim": 2, "widths": (8, 16, 32, 64, 128)},
        "train": {"adjacent_slices": 1, "spacing": (1.25, 1.25)},
    },
    "unet3d": {
        "model": {
            "kind": "unet",
            "ndim": 3,
            "widths": (32, 64, 128, 256, 320),
            "norm": "instance",
            # thick slices: the pixels grow to their size first
            "strides": ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
            "kernels": ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
        },
        "train": {"patch": (20, 192, 192), "batch_size": 2, "learning_rate": 1e-3, "dice_batch": False},
    },
    # The network of rank 8 in PROMISE12, from its description (github.com/mirzaevinom/promise12_segmentation). As
    # there: contrast, denoising, eight levels from 8 to 1024 channels, dropout of one half at the bottom, Dice of the
    # whole batch as the only loss, Adam at 1e-3, 32 slices a step, 50,000 drawn slices an epoch, elastic fields of 3.5
    # of its 256 pixels rms along each axis. Its levels joined more channels: 53 million weights, ours has 29.
    # Corrected: slices keep their shape (they were squeezed to 256×256), each scan is normalized by itself, the
    # probability that decides is 1/2 (it was 1), and no held-out case is trained on.
    "promise12-improved": {
        "model": {"kind": "unet", "ndim": 2, "widths": (8, 16, 32, 64, 128, 256, 512, 1024), "dropout": 0.5},
        "train": {
            "loss": "dice",
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "batch_size": 32,
            "samples_per_epoch": 50_000,
            "clahe_clip_limit": 12.8,
            "curvature_flow": (0.125, 5),
            "augment": Augment(elastic_mm=2.7, elastic_grid_mm=28.0),
        },
    },
}
