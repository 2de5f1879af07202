"""What a run is made of, and the folder it lives in."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .. import __version__
from ..volume import Case
from .config import TrainConfig
from .run import CONFIG_FILE, CURVES_FILE, HISTORY_FILE, LOG_FILE, MODEL_FILE, STATE_FILE

#: Settings that a run may be resumed with others of: they decide nothing about its weights.
MAY_CHANGE = ("device", "checkpoint_minutes", "tensorboard")


def make_plan(
    model: nn.Module,
    cases: Sequence[Case],
    held_out: Sequence[Case],
    config: TrainConfig,
    *,
    own_objective: bool = False,
) -> dict:
    """What a run is made of; two runs with the same plan give the same weights.

    With an objective of one's own the masks may hold any labels, and the model may do something else with them than
    segmenting.
    """
    if not len(cases):
        raise ValueError("there is no case to train on")
    ndim = model.config.get("ndim", 2)
    if ndim != (3 if config.patch else 2):
        wanted = "patch=(z, y, x)" if ndim == 3 else "no patch"
        raise ValueError(f"the model works in {ndim}-D: the configuration needs {wanted}, not patch={config.patch}")
    channels, wanted = model.config["in_channels"], config.n_channels
    if channels != wanted:
        position = " and slice_position" if config.slice_position else ""
        raise ValueError(
            f"adjacent_slices={config.adjacent_slices}{position} gives {wanted} channel(s), "
            f"but the model has in_channels={channels}"
        )
    if shared := set(_ids(cases)) & set(_ids(held_out)):
        raise ValueError(f"these cases are both trained on and held out: {', '.join(sorted(shared))}")
    if held_out and "out_channels" not in model.config:
        raise ValueError(
            f"held-out cases are predicted as a segmentation, which {type(model).__name__} does not give: train it "
            "with held_out=() and measure it yourself"
        )
    n_labels = max(model.config.get("out_channels", 1) - 1, 1)
    labels = getattr(cases, "labels", None) or {
        "foreground" if n_labels == 1 else f"label{k}": [k] for k in range(1, n_labels + 1)
    }
    if len(labels) != n_labels and not own_objective:
        raise ValueError(
            f"the cases have {len(labels)} label(s) ({', '.join(labels)}): the model needs out_channels="
            f"{1 if len(labels) == 1 else len(labels) + 1}, not {model.config['out_channels']}"
        )
    return {
        "medlearn": __version__,
        "model": model.config,
        "train": config.to_dict(),
        "labels": labels,
        "training_cases": _ids(cases),
        "held_out_cases": _ids(held_out),
    }


def _ids(cases: Sequence[Case]) -> list[str]:
    return list(getattr(cases, "ids", None) or [case.id for case in cases])


def open_folder(out: Path, plan: dict, resume: bool | str) -> tuple[str, torch.memory_format] | None:
    """Make the folder of a new run, or check that the run in it is the one to go on with and return its arithmetic.

    With ``resume="auto"`` a run that was stopped is gone on with, or begun anew if it has not saved its state yet.
    """
    begun = resume == "auto" and not (out / STATE_FILE).is_file()
    if begun or not resume:
        if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or (begun and _only_begun(out)))):
            raise FileExistsError(
                f"{out} exists: choose another folder, or go on with the run in it by resume (--resume)"
            )
        out.mkdir(parents=True, exist_ok=True)
        return None
    if not (out / STATE_FILE).is_file() or not (out / CONFIG_FILE).is_file():
        advice = ""
        if (out / CONFIG_FILE).is_file() and _only_begun(out):
            advice = "; the run was stopped before it first saved its state: remove the folder, and train anew"
        raise FileNotFoundError(f"{out} holds no run to resume: {STATE_FILE} or {CONFIG_FILE} is missing{advice}")
    stored = json.loads((out / CONFIG_FILE).read_text())
    stored["train"] = TrainConfig.from_dict(stored["train"]).to_dict()  # an older run lacks newer settings
    stored, new = json.loads(json.dumps(stored)), json.loads(json.dumps(plan))
    new["train"] |= {key: stored["train"][key] for key in MAY_CHANGE}
    differing = [
        key for key in ("model", "train", "labels", "training_cases", "held_out_cases") if new[key] != stored[key]
    ]
    if differing:
        changes = "\n".join(f"  {key}: {stored[key]} became {new[key]}" for key in differing)
        raise ValueError(f"the run in {out} was started with other settings; resume needs the same:\n{changes}")
    plan |= {key: stored[key] for key in ("precision", "memory_format", "device")}
    return stored["precision"], getattr(torch, stored["memory_format"].removeprefix("torch."))


def _only_begun(out: Path) -> bool:
    """Whether `out` holds a run that was stopped before it could save its state, and nothing else."""
    written = {CONFIG_FILE, CURVES_FILE, HISTORY_FILE, LOG_FILE, MODEL_FILE}
    if not all(path.name in written or path.name.endswith(".part") for path in out.iterdir()):
        return False
    config = out / CONFIG_FILE
    return not (config.is_file() and json.loads(config.read_text(encoding="utf-8"))["complete"])
