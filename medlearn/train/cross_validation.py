"""Cross-validation: every case is predicted by a network that has not seen it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from ..datasets import Cases
from . import distributed
from .config import TrainConfig
from .loop import fit
from .plan import MAY_CHANGE
from .run import CONFIG_FILE, MODEL_FILE, Run


def fold_ids(ids: Sequence[str], fold: int, folds: int) -> list[str]:
    """Ids of the cases that fold number `fold` holds out: those whose position, modulo `folds`, is `fold`.

    Raises
    ------
    ValueError
        If there is no such fold, or there are fewer cases than folds.
    """
    if not (0 <= fold < folds and 2 <= folds <= len(ids)):
        raise ValueError(
            f"--fold must lie between 0 and {folds - 1} (--folds {folds}), with at least two folds and not more folds "
            f"than cases; got --fold {fold} and {len(ids)} cases"
        )
    return list(ids[fold::folds])


def cross_validate(
    make_model: Callable[[], nn.Module],
    cases: Cases,
    *,
    folds: int = 5,
    config: TrainConfig | None = None,
    out: str | Path,
    resume: bool = False,
) -> list[Run]:
    """Train `folds` networks, each without the cases of one fold, in the folders ``fold0``, ``fold1`` ... of `out`.

    Parameters
    ----------
    make_model : callable
        Returns a new network for each fold.
    cases : Cases
    folds : int
    config : TrainConfig, optional
        Its minutes or epochs are those of every fold.
    out : path
        An existing folder with files in it is refused unless `resume`.
    resume : bool
        Leave finished folds as they are, go on with the one that was stopped, and train those that are missing.

    Returns
    -------
    list of Run
        One for each fold. After Ctrl-C the last one is incomplete, and those that would have followed are missing.

    Raises
    ------
    FileExistsError
        If `out` exists.
    ValueError
        If there are fewer cases than folds, or a finished fold held out other cases or was trained with other settings.
    """
    out, runs, config = Path(out), [], config or TrainConfig()
    with distributed.process_group():
        resume = resume or distributed.restarted()
        distributed.from_rank_0(lambda: _make_folder(out, resume))
        for fold in range(folds):
            held_out = fold_ids(cases.ids, fold, folds)
            run = _finished(out / f"fold{fold}", held_out, config) or fit(
                make_model(),
                cases.without(held_out),
                held_out=cases.select(held_out),
                config=config,
                out=out / f"fold{fold}",
                resume="auto" if resume else False,
            )
            runs.append(run)
            if not run.complete:
                break
    return runs


def _make_folder(out: Path, resume: bool) -> None:
    if not resume and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists: choose another folder, or go on with it by resume (--resume)")
    out.mkdir(parents=True, exist_ok=True)


def _finished(folder: Path, held_out: list[str], config: TrainConfig) -> Run | None:
    """The run in `folder`, if it is complete; it must have held out the same cases, and have the same settings."""
    if not ((folder / CONFIG_FILE).is_file() and (folder / MODEL_FILE).is_file() and Run(folder).complete):
        return None
    run = Run(folder)
    if run.config["held_out_cases"] != held_out:
        raise ValueError(
            f"{folder} held out {', '.join(run.config['held_out_cases'])}, not {', '.join(held_out)}: resume needs the "
            "same cases and the same number of folds"
        )
    stored, wanted = TrainConfig.from_dict(run.config["train"]).to_dict(), config.to_dict()
    changes = [f"{k}: {stored[k]} became {wanted[k]}" for k in wanted if stored[k] != wanted[k] and k not in MAY_CHANGE]
    if changes:
        raise ValueError(f"{folder} was trained with other settings; resume needs the same: {', '.join(changes)}")
    return run
