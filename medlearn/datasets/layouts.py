"""From a name or a folder to a sequence of cases that are read when they are asked for."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .. import phantom
from ..errors import BadCasesError
from ..io import load, stem, suffix
from ..io.itk import FORMATS
from ..volume import Case, Volume

_PHANTOM = re.compile(r"phantom(?::(\d+))?")
_MASK = "_segmentation"
_IMAGES = FORMATS.keys() - {".img"}  # its header, .hdr, stands for it

Labels = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Cases(Sequence[Case]):
    """A data set: ids, and how to read the case of an id. Nothing is read before it is asked for, and nothing is kept.

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
    """

    ids: tuple[str, ...]
    read_image: Callable[[str], Volume]
    read_mask: Callable[[str], Volume | None]
    labels: Labels | None
    suffixes: Mapping[str, str]

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
                found[case_id] = f"it has no mask ({case_id}{_MASK}{self.suffixes[case_id]})"
            elif not case.mask.array.any():
                wanted = "" if self.labels is None else f" among the wanted ones ({_describe(self.labels)})"
                found[case_id] = f"its mask holds no label{wanted}"
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


def cases(name_or_folder: str | Path, *, labels: Labels | None = None) -> Cases:
    """Open a data set.

    Parameters
    ----------
    name_or_folder : str or path
        A folder in the layout of PROMISE12: ``Case07.mhd`` with its mask ``Case07_segmentation.mhd`` beside it, in
        any format that `medlearn.load` reads; images without a mask are fine for prediction. Or ``"phantom"``, the
        built-in prostate phantom (40 cases, seeds 0 ... 39), or ``"phantom:N"`` for N cases.
    labels : mapping, optional
        Name of each wanted label to the values in the mask files that mean it, such as ``{"gland": [1, 2]}``.

    Returns
    -------
    Cases
        Sorted by id. An id is a file name without its extension.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no image in it.
    ValueError
        If two images have the same id, or `labels` is not such a mapping.
    """
    if labels is not None:
        _check_labels(labels)
    if match := _PHANTOM.fullmatch(str(name_or_folder)):
        return _phantom_cases(int(match[1] or 40), labels)
    return _folder_cases(Path(name_or_folder), labels)


def _phantom_cases(n: int, labels: Labels | None) -> Cases:
    if n < 1:
        raise ValueError("phantom:N needs at least one case, such as phantom:40")
    seeds = {f"phantom-{seed:04d}": seed for seed in range(n)}
    return Cases(
        ids=tuple(seeds),
        read_image=lambda case_id: phantom.prostate(seeds[case_id]).image,
        read_mask=lambda case_id: phantom.prostate(seeds[case_id]).mask,
        labels=labels or {"gland": [1]},
        suffixes=dict.fromkeys(seeds, ".mha"),
    )


def _folder_cases(folder: Path, labels: Labels | None) -> Cases:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder} (a data set is a folder, or phantom, or phantom:N)")
    images, masks = {}, {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or suffix(path) not in _IMAGES:
            continue
        name = stem(path)
        kind, case_id = (masks, name.removesuffix(_MASK)) if name.endswith(_MASK) else (images, name)
        if case_id in kind:
            raise ValueError(f"{folder} holds {kind[case_id].name} and {path.name}: which one is case {case_id}?")
        kind[case_id] = path
    if not images:
        raise FileNotFoundError(f"{folder} holds no image that can be read (such as .mhd, .nrrd, .nii.gz)")
    return Cases(
        ids=tuple(sorted(images)),
        read_image=lambda case_id: load(images[case_id]),
        read_mask=lambda case_id: load(masks[case_id]) if case_id in masks else None,
        labels=labels,
        suffixes={case_id: suffix(path) for case_id, path in images.items()},
    )


def _check_labels(labels: Labels) -> None:
    values = [value for group in labels.values() for value in group]
    if not values or any(int(v) != v or v < 1 for v in values) or len(set(values)) < len(values):
        raise ValueError(
            "labels must map names to lists of whole numbers from 1 up, each used once: {'gland': [1, 2]}; "
            f"got {labels}"
        )


def _describe(labels: Labels) -> str:
    return ", ".join(f"{name} = {'+'.join(map(str, values))}" for name, values in labels.items())
