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
        self._writer, self._after_step = SummaryWriter(folder), after_step
        self._written: set[tuple[str, int]] = set()

    def update(self, history: Sequence[Mapping]) -> None:
        """Write loss, learning rate and Dice of the rows that are new, and Dice that was measured since."""
        for row in history:
            for name in ("train_loss", "learning_rate", "val_dice"):
                place = name, row["step"]
                if row["step"] > self._after_step and row[name] is not None and place not in self._written:
                    self._writer.add_scalar(name, row[name], row["step"])
                    self._written.add(place)
        self._writer.flush()
