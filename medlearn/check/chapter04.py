"""Checks of chapter 4: the right file, the terms of a data set, the share of a class, folds of patients."""

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from ._core import Exercise, Wrong


def _digest(method: str, data: bytes) -> str:
    return hashlib.new(method, data).hexdigest()


def _is_right_file(name, data, published, *, read=lambda name, data: data, digits=None):
    """Compare hashes; the mistakes change what is read, or compare a few digits only."""
    method, _, expected = published.partition(":")
    return _digest(method, read(name, data))[:digits] == expected.lower()[:digits]


def _is_sha256(name, data, published):
    return _digest("sha256", data) == published.partition(":")[2].lower()


def _same_letters(name, data, published):
    method, _, expected = published.partition(":")
    return _digest(method, data) == expected


_SHORT = b"48 voxels, and then a line ends\n"
_WINDOWS = bytes([7, 0, 13, 10, 3, 0, 13, 10])  # four int16 voxels; 13, 10 would be the end of a line in a text
_LONG = bytes(range(256)) * 400
_SHA = _digest("sha256", _SHORT)

FILE = Exercise(
    number="4.1",
    right=_is_right_file,
    probes=(
        ("mask.raw", _SHORT, f"sha256:{_SHA}"),
        ("mask.raw", _SHORT.replace(b"48", b"49"), f"sha256:{_SHA}"),
        ("image.raw", _WINDOWS, f"sha256:{_digest('sha256', _WINDOWS)}"),
        ("data.zip", _LONG, f"sha256:{_digest('sha256', _LONG)}"),
        ("mask.raw", _SHORT, f"sha256:{_SHA.upper()}"),
        ("mask.raw", _SHORT, f"md5:{_digest('md5', _SHORT)}"),
        ("mask.raw", _SHORT, f"sha256:{_SHA[:8]}{_SHA[:7:-1]}"),
        ("mask.raw", _SHORT, f"sha256:{_digest('sha256', b'mask.raw')}"),
        ("mask.raw", _SHORT, f"sha256:{_digest('sha256', str(_SHORT).encode())}"),
    ),
    praise="Every byte counts, and nothing but the bytes.",
    wrong={
        "name_hashed": Wrong(
            lambda n, d, p: _is_right_file(n, d, p, read=lambda name, data: name.encode()),
            "You hashed the name of the file. Anybody can give that name to any bytes: hash `data`.",
        ),
        "text_of_bytes": Wrong(
            lambda n, d, p: _is_right_file(n, d, p, read=lambda name, data: str(data).encode()),
            "You hashed str(data): the way Python prints bytes, with a b and quotation marks. Hash the bytes "
            "themselves; they need no decoding.",
        ),
        "text_mode": Wrong(
            lambda n, d, p: _is_right_file(n, d, p, read=lambda name, data: data.replace(b"\r\n", b"\n")),
            "You read the file as text: the bytes 13, 10 became one end of line. In an image they are voxels. "
            "Hash the bytes as they came.",
        ),
        "truncated": Wrong(
            lambda n, d, p: _is_right_file(n, d, p, read=lambda name, data: data[: 1 << 16]),
            "You hashed the first 64 KiB. The published hash is that of the whole file, to its last byte.",
        ),
        "few_digits": Wrong(
            lambda n, d, p: _is_right_file(n, d, p, digits=8),
            "You compared the first eight digits. In one probe they agree and the rest does not. Somebody who wants "
            "to deceive you tries files until the first digits fit; compare all of them.",
        ),
        "case_sensitive": Wrong(
            _same_letters,
            "You compared letters, not numbers: some publishers write AF, others af. Bring both to lower case.",
        ),
        "always_sha256": Wrong(
            _is_sha256,
            "You always computed SHA-256. The word before the colon names the method; one probe says md5.",
        ),
        "method_not_removed": Wrong(
            lambda n, d, p: False,
            "No file is ever right for you. `published` begins with the name of the method and a colon, and they are "
            "no part of the hash: did you take them off?",
        ),
        "everything_passes": Wrong(
            lambda n, d, p: True, "Every file is right for you, the damaged one as well. Compare with the hash."
        ),
        "inverted": Wrong(
            lambda n, d, p: not _is_right_file(n, d, p),
            "Just the other way round: return True where the hashes agree.",
        ),
    },
)


_OPEN = ("CC0 1.0", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC BY-ND 4.0")


def _may_share(
    entries, commercial, *, known=_OPEN, trusting=False, commercial_refused=("NC",), changes_refused=("ND",)
):
    """Which data sets may be passed on; the mistakes know other licenses, or overlook one of the conditions."""
    answers = []
    for entry in entries:
        parts = re.split("[ -]", entry["license"])
        refused = any(part in parts for part in commercial_refused) and commercial
        refused |= any(part in parts for part in changes_refused) and entry["changed"]
        answers.append(entry["license"] in known and (trusting or entry["verified"]) and not refused)
    return answers


def _share_alike_refused(entries, commercial):
    return _may_share(entries, commercial, known=[name for name in _OPEN if "SA" not in name])


def _entry(license_: str, *, verified: bool = True, changed: bool = True) -> dict:
    return {"license": license_, "verified": verified, "changed": changed}


_ENTRIES = [
    _entry("CC BY-SA 4.0"),
    _entry("own terms: for your research"),
    _entry("CC BY 4.0", verified=False),
    _entry("CC BY-NC 4.0"),
    _entry(""),
    _entry("CC BY-ND 4.0"),
    _entry("CC BY-ND 4.0", changed=False),
    _entry("CC0 1.0"),
]

TERMS = Exercise(
    number="4.2",
    right=_may_share,
    probes=((_ENTRIES, True), (_ENTRIES[::-1], False)),
    praise="What is not known to be allowed is not allowed, and the letters say the rest.",
    wrong={
        "downloadable_is_free": Wrong(
            lambda e, c: [True] * len(e),
            "You would pass on everything. That a file can be downloaded says that you may look at it, and no more.",
        ),
        "unverified_trusted": Wrong(
            lambda e, c: _may_share(e, c, trusting=True),
            "You trusted a license that nobody has verified. Hearsay is no permission: read it at its source first.",
        ),
        "silence_is_consent": Wrong(
            lambda e, c: _may_share(e, c, known=(*_OPEN, "")),
            "One entry states no license, and you took that for a permission. Silence gives none: ask the owner.",
        ),
        "research_terms_suffice": Wrong(
            lambda e, c: _may_share(e, c, known=(*_OPEN, "own terms: for your research")),
            '"For your research" allows you to use the data. To hand them to others is something else, and these terms '
            "do not mention it.",
        ),
        "nc_overlooked": Wrong(
            lambda e, c: _may_share(e, c, commercial_refused=()),
            "NC means not commercial. With `commercial` true, such a data set must stay out.",
        ),
        "nc_always_refused": Wrong(
            lambda e, c: _may_share(e, True),
            "You refused NC in every case. It forbids commercial use only: look at `commercial`.",
        ),
        "nd_overlooked": Wrong(
            lambda e, c: _may_share(e, c, changes_refused=()),
            "ND means no derivatives. You may pass on the files as they are, but not what you made of them.",
        ),
        "nd_always_refused": Wrong(
            lambda e, c: _may_share([{**entry, "changed": True} for entry in e], c),
            "You refused ND in every case. It forbids to pass on a changed copy only: look at `changed`.",
        ),
        "sa_refused": Wrong(
            _share_alike_refused,
            "You refused SA. Share alike is a condition and no prohibition: pass it on under the same license.",
        ),
        "only_cc0": Wrong(
            lambda e, c: _may_share(e, c, known=("CC0 1.0",)),
            "You accept CC0 only. BY asks you to name the source: do that, and you may pass the data on.",
        ),
        "nothing_may_be_shared": Wrong(
            lambda e, c: [False] * len(e),
            "You would pass on nothing. That is safe, but it wastes what people gave away on purpose.",
        ),
        "inverted": Wrong(
            lambda e, c: [not answer for answer in _may_share(e, c)],
            "Just the other way round: True means that it may be passed on.",
        ),
    },
)


def _shares(masks: Sequence[np.ndarray]) -> list[float]:
    return [100 * (mask > 0).mean() for mask in masks]


def _share(masks, spacings):
    return np.median(_shares(masks))


def _share_of_all(masks, weights):
    inside = [np.count_nonzero(mask) * weight for mask, weight in zip(masks, weights, strict=True)]
    return 100 * sum(inside) / sum(mask.size * weight for mask, weight in zip(masks, weights, strict=True))


def _slice_shares(masks):
    return np.concatenate([100 * (mask > 0).mean((1, 2)) for mask in masks])


def _gland(shape: tuple[int, int, int], z: tuple[int, int], edge: int, label: int = 1) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[slice(*z), 2 : 2 + edge, 1 : 1 + edge] = label
    mask[z[0], 2 : 2 + edge, 1 : 1 + edge] = 1
    return mask


SHARE = Exercise(
    number="4.3",
    right=_share,
    probes=(
        (
            [_gland((5, 10, 10), (1, 4), 3), _gland((8, 12, 12), (2, 7), 4, label=2), _gland((6, 16, 16), (1, 3), 5)],
            [(4.0, 0.6, 0.6), (3.0, 0.5, 0.5), (2.2, 0.3, 0.3)],
        ),
        (
            [_gland((5, 9, 9), (0, 4), 3, label=2), _gland((9, 14, 14), (1, 8), 7), _gland((7, 20, 20), (3, 6), 4)],
            [(3.6, 0.6, 0.6), (3.0, 0.4, 0.4), (3.6, 0.7, 0.7)],
        ),
    ),
    praise="One number per patient first, then the patient in the middle. The spacing cancels inside a case.",
    unit="%",
    wrong={
        "fraction": Wrong(
            lambda m, s: _share(m, s) / 100, "Right, but as a fraction. The exercise asks for percent: times 100."
        ),
        "mean_of_cases": Wrong(
            lambda m, s: np.mean(_shares(m)),
            "You took the mean of the cases. One huge gland pulls it up; the exercise asks for the median.",
        ),
        "pooled": Wrong(
            lambda m, s: _share_of_all(m, [1] * len(m)),
            "You put all voxels of all cases into one pot. There a case with a fine grid counts more than one with a "
            "coarse grid. The patient is the sample: one number per case first.",
        ),
        "pooled_mm3": Wrong(
            lambda m, s: _share_of_all(m, [np.prod(spacing) for spacing in s]),
            "You put the volumes of all cases into one pot, in mm³. Now the patient with the largest field of view "
            "counts most. One number per case first; inside a case all voxels are equal, and the spacing cancels.",
        ),
        "in_mm3": Wrong(
            lambda m, s: np.median([share * np.prod(spacing) for share, spacing in zip(_shares(m), s, strict=True)]),
            "You multiplied the gland by the spacing, but not the image. A share has no unit: what stands above the "
            "line in mm³ must stand below in mm³, and then it cancels.",
        ),
        "slices_with_gland": Wrong(
            lambda m, s: np.median([100 * (x > 0)[x.any((1, 2))].mean() for x in m]),
            "You looked at the slices with gland only. A network sees the empty slices, too, and so does your test.",
        ),
        "median_of_slices": Wrong(
            lambda m, s: np.median(_slice_shares(m)),
            "You took the median of all slices. Slices of one patient are sisters: one number per patient first.",
        ),
        "mean_of_slices": Wrong(
            lambda m, s: np.mean(_slice_shares(m)),
            "You took the mean of all slices. A patient with many slices then counts more: one number per patient "
            "first.",
        ),
        "labels_summed": Wrong(
            lambda m, s: np.median([100 * mask.mean() for mask in m]),
            "You summed the mask's numbers, so a voxel of label 2 counted twice. Count the voxels above 0.",
        ),
        "ratio_to_background": Wrong(
            lambda m, s: np.median([100 * (x > 0).sum() / (x == 0).sum() for x in m]),
            "You divided by the background. A share is a part of the whole: divide by all voxels.",
        ),
        "slices_counted": Wrong(
            lambda m, s: np.median([100 * x.any((1, 2)).mean() for x in m]),
            "This is the share of the slices that hold gland. The exercise asks for voxels.",
        ),
        "background": Wrong(lambda m, s: 100 - _share(m, s), "This is the share of the background."),
    },
)


def _case(file: str) -> str:
    return re.search(r"Case\d+", file)[0]


def _positions(keys: Sequence[str]) -> list[int]:
    """Position of each key in the sorted list of the different ones."""
    names = sorted(set(keys))
    return [names.index(key) for key in keys]


def _patients(files, patient_of):
    return [patient_of[_case(file)] for file in files]


def _folds(files, patient_of, n_folds):
    return [position % n_folds for position in _positions(_patients(files, patient_of))]


def _folds_by_case(files, patient_of, n_folds):
    return [position % n_folds for position in _positions([_case(file) for file in files])]


def _folds_with_strange_copies(files, patient_of, n_folds):
    keys = [f"{file.split('Case')[0]}{patient_of[_case(file)]}" for file in files]
    return [position % n_folds for position in _positions(keys)]


def _folds_as_they_come(files, patient_of, n_folds):
    patients = _patients(files, patient_of)
    names = list(dict.fromkeys(patients))
    return [names.index(patient) % n_folds for patient in patients]


def _folds_in_blocks(files, patient_of, n_folds):
    patients = _patients(files, patient_of)
    return [position * n_folds // len(set(patients)) for position in _positions(patients)]


def _folds_by_number(files, patient_of, n_folds):
    return [int(re.sub(r"\D", "", patient)) % n_folds for patient in _patients(files, patient_of)]


_PATIENT_OF = {"Case00": "P17", "Case01": "P03", "Case02": "P17", "Case03": "P08", "Case04": "P21", "Case05": "P05"}
_FILES = [
    *("Case00_z004.png", "Case00_z005.png", "Case01_z007.png", "Case01_z008.png", "Case02_z003.png"),
    *("Case02_z004.png", "Case03_z006.png", "Case04_z002.png", "Case04_z003.png", "Case05_z009.png"),
    *("flipped_Case00_z004.png", "flipped_Case01_z007.png", "flipped_Case03_z006.png", "flipped_Case05_z009.png"),
]

FOLDS = Exercise(
    number="4.4",
    right=_folds,
    probes=((_FILES, _PATIENT_OF, 3), (_FILES[::-1], _PATIENT_OF, 2)),
    praise="Slices, copies and second visits follow their patient into one fold.",
    wrong={
        "by_file": Wrong(
            lambda f, p, n: [i % n for i in range(len(f))],
            "You dealt out the files one by one. Neighbors from one patient land in different folds, and every fold is "
            "tested on acquaintances.",
        ),
        "blocks_of_files": Wrong(
            lambda f, p, n: [i * n // len(f) for i in range(len(f))],
            "You cut the list of files into blocks. The cut runs through a patient, and the flipped copies lie far "
            "from their originals.",
        ),
        "by_case": Wrong(
            _folds_by_case,
            "You split by case. But Case00 and Case02 are the same patient, who came twice: look into `patient_of`.",
        ),
        "copies_are_strangers": Wrong(
            _folds_with_strange_copies,
            "You gave the flipped copies a patient of their own. A copy belongs to the patient it was made from: "
            "split first, augment afterwards.",
        ),
        "order_of_appearance": Wrong(
            _folds_as_they_come,
            "A clean split, but by the order in which the files were listed. Another machine lists them in another "
            "order. Sort the patients first.",
        ),
        "blocks_of_patients": Wrong(
            _folds_in_blocks,
            "A clean split, but in blocks. Names often follow the center or the date, and a block is then one center. "
            "Deal the patients out: position modulo `n_folds`.",
        ),
        "number_in_the_name": Wrong(
            _folds_by_number,
            "A clean split, but by the number in the patient's name. Numbers have gaps, so that folds may become "
            "unequal, and not every name has one. Use the position in the sorted list.",
        ),
        "slice_number": Wrong(
            lambda f, p, n: [int(re.search(r"_z(\d+)", file)[1]) % n for file in f],
            "You split by the number of the slice: every patient is in every fold.",
        ),
        "counted_from_1": Wrong(
            lambda f, p, n: [1 + fold for fold in _folds(f, p, n)], "A clean split, but folds count from 0."
        ),
        "one_fold": Wrong(
            lambda f, p, n: [0] * len(f), "Everybody is in fold 0: nobody is left for training, or for testing."
        ),
    },
)


def is_right_file(function: Callable) -> None:
    """Check exercise 4.1: ``function(name, data, published)`` says whether bytes have the hash that was published."""
    FILE.check(function)


def may_share(function: Callable) -> None:
    """Check exercise 4.2: ``function(entries, commercial)`` says which data sets may be passed on."""
    TERMS.check(function)


def gland_share(function: Callable) -> None:
    """Check exercise 4.3: ``function(masks, spacings)`` returns the median share of gland voxels in percent."""
    SHARE.check(function)


def patient_folds(function: Callable) -> None:
    """Check exercise 4.4: ``function(files, patient_of, n_folds)`` returns the fold of every file."""
    FOLDS.check(function)
