"""What every experiment of the book shares: two sizes, and a record of how its results came about.

An experiment is a script ``NN_name.py`` with a function that computes, and a ``main``:

    python book/experiments/05_ladder.py --quick             a few seconds: prints, and writes only with --out
    python book/experiments/05_ladder.py --full              what the chapter quotes: writes book/results/05_ladder.json
    python book/experiments/05_ladder.py --full --out FILE

``tests/test_experiments.py`` runs every script with ``--quick``, and compares the stored results with their chapters.
"""

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import medlearn

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "results"


def conduct(script: str, experiment: Callable[[bool], dict], argv: Sequence[str] | None = None) -> dict:
    """Run an experiment at the size that the command line asks for, and store its record.

    Parameters
    ----------
    script : str
        Path of the script: its ``__file__``. The record is named after it.
    experiment : callable
        Called with True for the quick size. Returns what it found as a dictionary that JSON can hold; ``seeds`` must be
        among its keys.
    argv : sequence of str, optional
        The command line; that of the process where it is not given.

    Returns
    -------
    dict
        The record: the results, and how they came about.
    """
    name = Path(script).stem
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=f"The experiment {name} of the book.")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    size.add_argument("--full", action="store_true", help="what the chapter quotes")
    parser.add_argument("--out", type=Path, help=f"the record; with --full {RESULTS.name}/{name}.json unless given")
    arguments = parser.parse_args(argv)
    results = experiment(arguments.quick)
    if "seeds" not in results:
        raise ValueError(f"{name}: the results must say which seeds they belong to")
    record = {"experiment": name, "size": "quick" if arguments.quick else "full", **circumstances(), **results}
    out = arguments.out or (None if arguments.quick else RESULTS / f"{name}.json")
    if out:
        write(record, out)
    return record


def circumstances() -> dict:
    """When, on what and with which code: what a reader needs who gets other numbers."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "hardware": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "medlearn": medlearn.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
        },
    }


def write(record: dict, path: Path) -> None:
    """Write a record as JSON, whole or not at all; NaN and infinity have no place in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _commit() -> str | None:
    """The commit, with ``-dirty`` where the code differs from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    without_locks = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # it only asks; someone may be at work in the checkout
    try:
        run = subprocess.run(command, cwd=BOOK, env=without_locks, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None


def _processor() -> str:
    """The processor's name, as well as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
