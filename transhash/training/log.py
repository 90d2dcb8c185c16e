"""The log of a training run, for plotting: CSV, plus TensorBoard events if TensorBoard is installed."""

import csv
import io
from pathlib import Path
from typing import Any, Self

from ..errors import TrainingError
from ..system import files

COLUMNS = ("step", "epoch", "loss", "lr", "images_per_second", "validation_mAP")


class RunLog:
    """Appends the results of each step to ``log.csv`` and to TensorBoard event files in a folder."""

    def __init__(self, folder: Path, step: int) -> None:
        """Open the log of a run that resumes after `step` steps; drop the rows of later steps, which are repeated.

        Raises TrainingError if another kind of file exists there, OSError if the log cannot be written.
        """
        path = folder / "log.csv"
        rows = list(csv.reader(io.StringIO(path.read_text(errors="replace")))) if path.exists() else [list(COLUMNS)]
        if not rows or rows[0] != list(COLUMNS):
            raise TrainingError(f"{path}: exists and is not the log of a run; choose another output")
        kept = [rows[0], *(row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step)]
        with files.replacing(path) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows(kept)
        self._file = path.open("a", newline="", buffering=1)
        self._writer = csv.writer(self._file)
        self._board = _board(folder, step)

    def write(self, step: int, epoch: int, loss: float, lr: float, rate: float, validation: float | None) -> None:
        """Append the results of a step."""
        score = "" if validation is None else f"{validation:.4f}"
        self._writer.writerow([step, epoch, f"{loss:.6g}", f"{lr:.4g}", f"{rate:.1f}", score])
        if self._board:
            for name, value in (
                ("loss", loss),
                ("lr", lr),
                ("images_per_second", rate),
                ("validation_mAP", validation),
            ):
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        self._file.close()
        if self._board:
            self._board.close()


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
