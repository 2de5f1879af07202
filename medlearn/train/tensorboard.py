"""The curves of a training for TensorBoard, for who has it installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path


class Board:
    """Writes each row of the history where TensorBoard finds it.

    Parameters
    ----------
    folder : Path
    after_step : int
        Rows up to this step are there already: the training was resumed.

    Raises
    ------
    ValueError
        If the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, after_step: int = 0):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("tensorboard=True needs the package tensorboard: pip install tensorboard") from error
        self._writer, self._step = SummaryWriter(folder), after_step

    def update(self, history: Sequence[Mapping]) -> None:
        """Write loss, learning rate and Dice, where it was measured, of the rows that are new."""
        for row in history:
            if row["step"] > self._step:
                for name in ("train_loss", "learning_rate", "val_dice"):
                    if row[name] is not None:
                        self._writer.add_scalar(name, row[name], row["step"])
                self._step = row["step"]
        self._writer.flush()
