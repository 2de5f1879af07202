"""From a name or a folder to a sequence of cases that are read when they are asked for."""

import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import phantom
from ..errors import BadCasesError, FileFormatError
from ..io import load, stem, suffix
from ..io.itk import FORMATS
from ..volume import Case, Volume
from .download import fetched, registry

_PHANTOM = re.compile(r"phantom(?::(\d+))?")
_MASK = "_segmentation"
_IMAGES = (FORMATS.keys() - {".img"}) | {".vti"}  # its header, .hdr, stands for it
_CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's CASE_0000, CASE_0001 ...
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue: ITU-R BT.601, as OpenCV and Pillow use it
_MAX_JSON = 1 << 26  # bytes

Labels = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Cases(Sequence[Case]):
    """A data set: ids, and how to read the case of an id. Files are read when a case is asked for, each time anew.

    Parameters
    ----------
    ids : tuple of str
        Sorted.
    read_image : callable
        ``id -> Volume``
    read_mask : callable
        ``id -> Volume or None``
    labels : mapping, optional
        Name of each foreground label to the values in the files that mean it: ``{"gland": [1, 2]}``. The masks of the
        cases then hold 1 for the first name, 2 for the second ...; all other values become background. None leaves
        masks as they are.
    suffixes : mapping of str to str
        Id to the file name extension of its image.
    mask_name : str
        Where the mask of a case is looked for, with the fields ``{id}`` and ``{suffix}``; for messages.
    """

    ids: tuple[str, ...]
    read_image: Callable[[str], Volume]
    read_mask: Callable[[str], Volume | None]
    labels: Labels | None
    suffixes: Mapping[str, str]
    mask_name: str = f"{{id}}{_MASK}{{suffix}}"

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int | slice) -> "Case | Cases":
        if isinstance(index, slice):
            return replace(self, ids=self.ids[index])
        return self.read(self.ids[index])

    def read(self, case_id: str) -> Case:
        """Image and mask of a case, labels chosen and merged."""
        case = Case(case_id, self.read_image(case_id), self.read_mask(case_id))
        if case.mask is None or self.labels is None:
            return case
        return replace(case, mask=case.mask.map(choose_labels, self.labels))

    def select(self, ids: Sequence[str]) -> "Cases":
        """Only these cases.

        Raises
        ------
        KeyError
            If the data set has no case of one of the ids.
        """
        if unknown := sorted(set(ids) - set(self.ids)):
            raise KeyError(f"no such case: {', '.join(unknown)}; the set has {', '.join(self.ids)}")
        return replace(self, ids=tuple(i for i in self.ids if i in set(ids)))

    def without(self, ids: Sequence[str]) -> "Cases":
        """All but these cases."""
        return replace(self, ids=tuple(i for i in self.ids if i not in set(ids)))

    def problems(self) -> dict[str, str]:
        """Read every case and return, by id, why it cannot be trained on."""
        found = {}
        for case_id in self.ids:
            try:
                case = self.read(case_id)
            except (OSError, ValueError) as error:
                found[case_id] = str(error)
                continue
            if case.mask is None:
                wanted = self.mask_name.format(id=case_id, suffix=self.suffixes[case_id])
                found[case_id] = f"it has no mask ({wanted})"
            elif not case.mask.array.any():
                wanted = "" if self.labels is None else f" among the wanted ones ({_describe(self.labels)})"
                found[case_id] = f"its mask holds no label{wanted}"
            elif np.isnan(case.image.array.min()):
                found[case_id] = "its image holds values that are not finite (NaN)"
        return found

    def check(self, *, skip_bad: bool = False) -> "Cases":
        """Read every case; return the usable ones, with `labels` settled.

        Parameters
        ----------
        skip_bad : bool
            Leave out unusable cases instead of raising.

        Raises
        ------
        BadCasesError
            Naming every unusable case with its reason.
        """
        problems = self.problems()
        if problems and (not skip_bad or len(problems) == len(self)):
            raise BadCasesError(problems)
        good = self.without(problems)
        if good.labels is not None:
            return good
        values = np.unique(np.concatenate([np.unique(case.mask.array) for case in good]))
        names = {f"label{v}": [int(v)] for v in values if v} if values.max() > 1 else {"foreground": [1]}
        return replace(good, labels=names)


def choose_labels(mask: np.ndarray, labels: Labels) -> np.ndarray:
    """Merge and renumber label values: the values of the first name become 1, of the second 2 ..., all others 0."""
    chosen = np.zeros(mask.shape, np.uint8)
    for number, values in enumerate(labels.values(), start=1):
        chosen[np.isin(mask, values)] = number
    return chosen


def cases(name_or_folder: str | Path, *, labels: Labels | None = None, channel: int | str | None = None) -> Cases:
    """Open a data set.

    Parameters
    ----------
    name_or_folder : str or path
        The name of a data set that `fetch` has downloaded; or ``"phantom"``, the built-in prostate phantom (40 cases,
        seeds 0 ... 39), or ``"phantom:N"`` for N cases; or a folder in one of these layouts, with images in any format
        that `medlearn.load` reads:

        * PROMISE12: ``Case07.mhd`` with its mask ``Case07_segmentation.mhd`` beside it; images without a mask are fine
          for prediction. If the names of all images end in ``_0000``, the ids do not.
        * Medical Segmentation Decathlon: ``dataset.json``, ``imagesTr/prostate_00.nii.gz`` with all channels in one
          4-D image, ``labelsTr/prostate_00.nii.gz``.
        * nnU-Net: ``dataset.json``, ``imagesTr/CASE_0000.nii.gz`` with one file a channel, ``labelsTr/CASE.nii.gz``.
        * ``images/`` and ``masks/`` with files of equal names up to the extension. Colors become gray (luminance after
          ITU-R BT.601, transparency dropped), because the networks here take one channel. A mask that holds 0 and 255
          only is read as 0 and 1, unless `labels` is given.
    labels : mapping, optional
        Name of each wanted label to the values in the mask files that mean it, such as ``{"gland": [1, 2]}``. By
        default the labels of ``dataset.json``, where there is one.
    channel : int or str, optional
        Number (from 0) or name of the channel to read from images with several channels (Decathlon, nnU-Net). By
        default the first, with a warning that says so.

    Returns
    -------
    Cases
        Sorted by id. An id is a file name without its extension.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it, or if the data set has not been fetched yet.
    ValueError
        If two images have the same id, or `labels` is not such a mapping, or there is no such channel.
    """
    if labels is not None:
        _check_labels(labels)
    if match := _PHANTOM.fullmatch(str(name_or_folder)):
        return _phantom_cases(int(match[1] or 40), labels)
    folder = Path(name_or_folder)
    if not folder.is_dir() and str(name_or_folder) in registry():
        folder = fetched(str(name_or_folder))
    return _folder_cases(folder, labels, channel)


def _phantom_cases(n: int, labels: Labels | None) -> Cases:
    if n < 1:
        raise ValueError("phantom:N needs at least one case, such as phantom:40")
    seeds = {f"phantom-{seed:04d}": seed for seed in range(n)}
    return Cases(
        ids=tuple(seeds),
        read_image=lambda case_id: _phantom_case(seeds[case_id]).image,
        read_mask=lambda case_id: _phantom_case(seeds[case_id]).mask,
        labels=labels or {"gland": [1]},
        suffixes=dict.fromkeys(seeds, ".mha"),
    )


@lru_cache(maxsize=40)
def _phantom_case(seed: int) -> Case:
    """Making a case takes half a second, and training reads each three times; forty of them hold 190 MB."""
    return phantom.prostate(seed)


def _folder_cases(folder: Path, labels: Labels | None, channel: int | str | None) -> Cases:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no such folder: {folder} (a data set is a folder, or phantom, or phantom:N, "
            "or a name that medlearn.datasets.available() lists)"
        )
    if (folder / "dataset.json").is_file() and (folder / "imagesTr").is_dir():
        return _json_cases(folder, labels, channel)
    if channel is not None:
        raise ValueError(f"channel is for data sets with a dataset.json; {folder} has none, but channel={channel!r}")
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        return _paired_cases(folder, labels)
    return _flat_cases(folder, labels)


def _flat_cases(folder: Path, labels: Labels | None) -> Cases:
    """Masks beside the images, as in PROMISE12."""
    inside = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())[:10])
    hint = f"; perhaps one of its folders is meant: {inside}" if inside else ""
    files = _image_files(folder, f"{folder} holds no image that can be read (such as .mhd, .nrrd, .nii.gz){hint}")
    images = {name: path for name, path in files.items() if not name.endswith(_MASK)}
    masks = {name.removesuffix(_MASK): path for name, path in files.items() if name.endswith(_MASK)}
    if not images:
        raise FileNotFoundError(f"{folder} holds no image that can be read, only masks (…{_MASK})")
    if all(name.endswith("_0000") for name in images):
        images = {name.removesuffix("_0000"): path for name, path in images.items()}
        masks = {name.removesuffix("_0000"): path for name, path in masks.items()}
    return _file_cases(images, masks, labels)


def _file_cases(images: dict[str, Path], masks: dict[str, Path], labels: Labels | None, **changes) -> Cases:
    ordinary = {
        "ids": tuple(sorted(images)),
        "read_image": lambda case_id: load(images[case_id]),
        "read_mask": lambda case_id: load(masks[case_id]) if case_id in masks else None,
        "labels": labels,
        "suffixes": {case_id: suffix(path) for case_id, path in images.items()},
    }
    return Cases(**ordinary | changes)


def _image_files(folder: Path, if_none: str) -> dict[str, Path]:
    """Every image of a folder by its name without extension. Hidden files, such as a Mac's ``._*``, are none."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or suffix(path) not in _IMAGES:
            continue
        name = stem(path)
        if name in files:
            case_id = name.removesuffix(_MASK)
            raise ValueError(f"{folder} holds {files[name].name} and {path.name}: which one is case {case_id}?")
        files[name] = path
    if not files:
        raise FileNotFoundError(if_none)
    return files


# images/ and masks/ ---------------------------------------------------------------------------------------------------


def _paired_cases(folder: Path, labels: Labels | None) -> Cases:
    images = _image_files(folder / "images", f"{folder / 'images'} holds no image that can be read")
    masks = _image_files(folder / "masks", f"{folder / 'masks'} holds no mask that can be read")
    masks = {name.removesuffix(_MASK): path for name, path in masks.items()}
    if not images.keys() & masks.keys():
        raise ValueError(
            f"no mask in {folder / 'masks'} is named as an image in {folder / 'images'}: "
            f"there is {min(images)}, but {min(masks)}"
        )
    return _file_cases(
        images,
        masks,
        labels,
        read_image=lambda case_id: _to_gray(load(images[case_id])),
        read_mask=lambda case_id: _load_mask(masks[case_id], labels) if case_id in masks else None,
        mask_name="masks/{id}.*",
    )


def _to_gray(volume: Volume) -> Volume:
    """Colors to luminance, in the type of the image; transparency, the second or fourth component, is dropped."""
    if "c" not in volume.axes:
        return volume
    n = volume.shape[-1]
    array = volume.array[..., :3] @ _LUMINANCE if n >= 3 else volume.array[..., 0]
    array = np.rint(array) if volume.array.dtype.kind in "iu" else array
    meta = {**volume.meta, "colors": "turned to gray"}
    return replace(volume, array=array.astype(volume.array.dtype), axes=volume.axes.rstrip("c"), meta=meta)


def _load_mask(path: Path, labels: Labels | None) -> Volume:
    if suffix(path) in (".jpg", ".jpeg"):
        raise FileFormatError(f"{path} is no mask: JPEG changes the values, which are labels. Store masks as PNG")
    mask = load(path)
    if "c" in mask.axes:
        colors = mask.array[..., : 3 if mask.shape[-1] >= 3 else 1]
        if (colors != colors[..., :1]).any():
            raise FileFormatError(f"{path} marks labels by colors; store it in gray, with the values 0, 1, 2 ...")
        mask = replace(mask, array=colors[..., 0], axes=mask.axes.rstrip("c"))
    black_or_white = mask.array.max() == 255 and np.isin(mask.array, (0, 255)).all()
    return mask.map(np.floor_divide, mask.array.dtype.type(255)) if labels is None and black_or_white else mask


# dataset.json: the Decathlon, and nnU-Net -----------------------------------------------------------------------------


def _json_cases(folder: Path, labels: Labels | None, channel: int | str | None) -> Cases:
    about = _read_json(folder / "dataset.json")
    files = _image_files(folder / "imagesTr", f"{folder / 'imagesTr'} holds no image that can be read")
    masks = {}
    if (folder / "labelsTr").is_dir():
        masks = _image_files(folder / "labelsTr", f"{folder / 'labelsTr'} holds no mask that can be read")
    labels = _json_labels(folder, about) if labels is None else labels
    names, images = _channel_names(about), files
    if per_channel := _is_nnunet(about, files, masks):
        channels = _split_channels(files)
        names += [f"channel {number}" for number in range(len(names), 1 + max(channels))]
    number, name = _pick_channel(folder, names, channel)
    if per_channel:
        images = channels.get(number, {})
        if missing := set().union(*channels.values()) - images.keys():
            raise FileNotFoundError(f"{folder / 'imagesTr'} lacks {min(missing)}_{number:04d}, the channel {name}")
    return _file_cases(
        images,
        masks,
        labels,
        read_image=lambda i: _one_channel(load(images[i]), number, name, images[i], 1 if per_channel else len(names)),
        mask_name="labelsTr/{id}{suffix}",
    )


def _is_nnunet(about: dict, files: dict[str, Path], masks: dict[str, Path]) -> bool:
    """Only nnU-Net's new form has channel_names; in the old one, images bear a channel number that masks lack."""
    return "channel_names" in about or (all(map(_CHANNEL.fullmatch, files)) and not files.keys() & masks.keys())


def _split_channels(files: dict[str, Path]) -> dict[int, dict[str, Path]]:
    """Channel number → id of the case → file."""
    channels: dict[int, dict[str, Path]] = {}
    for name, path in files.items():
        if not (match := _CHANNEL.fullmatch(name)):
            raise ValueError(f"{path}: nnU-Net wants names that end in the number of the channel, such as {name}_0000")
        channels.setdefault(int(match[2]), {})[match[1]] = path
    return channels


def _read_json(path: Path) -> dict:
    if path.stat().st_size > _MAX_JSON:
        raise FileFormatError(f"{path} has {path.stat().st_size:,} bytes, too many for a description of a data set")
    try:
        about = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path} is no JSON: {error}") from None
    if not isinstance(about, dict):
        raise FileFormatError(f"{path} must hold a JSON object; got a {type(about).__name__}")
    return about


def _channel_names(about: dict) -> list[str]:
    """Names of the channels, at least one; the Decathlon calls them modality."""
    names = about.get("channel_names", about.get("modality"))
    names = names if isinstance(names, dict) and names else {"0": "channel 0"}
    return [str(names.get(str(number), f"channel {number}")) for number in range(len(names))]


def _pick_channel(folder: Path, names: list[str], channel: int | str | None) -> tuple[int, str]:
    listed = ", ".join(f"{number} = {name}" for number, name in enumerate(names))
    if channel is None:
        if len(names) > 1:
            warnings.warn(
                f"the images in {folder} have several channels ({listed}); only {names[0]} is used. "
                "channel=... chooses one and silences this",
                stacklevel=5,
            )
        return 0, names[0]
    number = names.index(channel) if channel in names else channel
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise ValueError(f"the images in {folder} have no channel {channel!r}; there is {listed}")
    return number, names[number]


def _one_channel(volume: Volume, number: int, name: str, path: Path, n_channels: int) -> Volume:
    """The Decathlon stores channels along the fourth axis, which NIfTI calls time."""
    n = volume.shape[0] if "t" in volume.axes else 1
    if n != n_channels:
        raise FileFormatError(f"{path} has {n} channel(s), but dataset.json lists {n_channels}: correct one of them")
    meta = {**volume.meta, "channel": name}
    if "t" not in volume.axes:
        return replace(volume, meta=meta)
    return replace(volume, array=volume.array[number], axes=volume.axes.lstrip("t"), meta=meta)


def _json_labels(folder: Path, about: dict) -> Labels | None:
    """Names of the labels to their values. The Decathlon writes ``{"1": "PZ"}``, nnU-Net ``{"PZ": 1}``."""
    found = about.get("labels") or {}
    try:
        pairs = [(v, [int(k)]) if isinstance(v, str) else (k, np.ravel(v).tolist()) for k, v in found.items()]
        labels = {str(name): values for name, values in pairs if values != [0]}
        if "ignore" in labels:
            del labels["ignore"]
            warnings.warn(f"{folder}: voxels that nnU-Net would ignore count as background here", stacklevel=5)
        if labels:
            _check_labels(labels)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"the labels in {folder / 'dataset.json'} cannot be used as they are, because they overlap or are no whole "
            f"numbers: {found}. Choose with labels={{'name': [values]}}"
        ) from None
    return labels or None


def _check_labels(labels: Labels) -> None:
    values = [value for group in labels.values() for value in group]
    if not values or any(int(v) != v or v < 1 for v in values) or len(set(values)) < len(values):
        raise ValueError(
            "labels must map names to lists of whole numbers from 1 up, each used once: {'gland': [1, 2]}; "
            f"got {labels}"
        )


def _describe(labels: Labels) -> str:
    return ", ".join(f"{name} = {'+'.join(map(str, values))}" for name, values in labels.items())
