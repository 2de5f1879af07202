"""Trained networks on disk: weights as safetensors, how to rebuild and to feed the network as JSON in the header.

Loading executes no code, unlike a pickle.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from .errors import FileFormatError, check_choice
from .nn import build
from .preprocess import Preprocess

_WEIGHTS = Path(__file__).with_name("weights")


def save_checkpoint(path: str | Path, model: nn.Module, preprocess: Preprocess) -> Path:
    """Write a network and its pre-processing to one ``.safetensors`` file, atomically.

    Parameters
    ----------
    path : path
    model : nn.Module
        With a ``config`` that `medlearn.nn.build` understands.
    preprocess : Preprocess

    Returns
    -------
    Path of the file.
    """
    path = Path(path)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.part")
    metadata = {"model": json.dumps(model.config), "preprocess": preprocess.to_json()}
    temporary.write_bytes(save(weights, metadata))
    temporary.replace(path)
    return path


def load_checkpoint(path: str | Path) -> tuple[nn.Module, Preprocess]:
    """Rebuild what `save_checkpoint` wrote; the network is on the CPU and in evaluation mode.

    Raises
    ------
    FileNotFoundError
    FileFormatError
        If the file is damaged or was not written by `save_checkpoint`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        model = build(json.loads(metadata["model"]))
        preprocess = Preprocess.from_json(metadata["preprocess"])
        model.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FileFormatError(f"{path} is not a checkpoint of medlearn, or is damaged: {error}") from error
    return model.eval(), preprocess


def pretrained(name: str) -> tuple[nn.Module, Preprocess]:
    """Load a small network that comes with the library, for a reader who has no time to train one.

    Parameters
    ----------
    name : str
        ``"prostate-phantom"``: a 2-D U-Net trained on the built-in prostate phantom. ``"nodule-classification"``,
        ``"nodule-localization"``, ``"nodule-detection"``, ``"nodule-segmentation"``: the four vision tasks of
        `medlearn.tasks` on slices of the built-in chest. ``medlearn/weights/README.md`` says with which commands they
        were made, and how good they are.

    Returns
    -------
    model, preprocess
        As `load_checkpoint` returns them.

    Raises
    ------
    ValueError
        If there is no network of this name.
    """
    names = sorted(path.stem for path in _WEIGHTS.glob("*.safetensors"))
    check_choice("name", name, names)
    return load_checkpoint(_WEIGHTS / f"{name}.safetensors")
