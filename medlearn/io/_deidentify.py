"""Remove from DICOM images what identifies a person, after the basic profile of DICOM PS3.15, Annex E.

The table of attributes (Table E.1-1, edition 2026c) comes from dicom-anonymizer, which keeps it; the rules here read:

====  ==========================================================================================
X     remove the element
Z     empty it
D     put in a dummy value that says nothing
U     put in a new UID, the same one wherever the old one stood, in whichever file
====  ==========================================================================================

Where the table leaves a choice, depending on the kind of object, the choice is the one that suits every kind: Z before
X, D before Z. Besides the table, private elements, elements unknown to the standard, overlays, curves, free text,
names, dates and times are removed or emptied wherever they stand. The pixels stay as they are.
"""

import os
import secrets
import tempfile
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FileFormatError
from ._dicom_header import Source, b_value, dicom_files, frames_of, quiet_pydicom, read_header, transfer_syntax

if TYPE_CHECKING:
    import pydicom

_STANDARD_UID = "1.2.840.10008."
_CLASS_UIDS = ("SOPClassUID", "ReferencedSOPClassUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID")
_FREE_TEXT = ("LT", "ST", "UT", "UC", "UR", "UN")
_MOMENTS = ("DA", "DT", "TM")
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UI": "2.25.0", "PN": "REMOVED"}
_NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV")
_TEXT_IN_PIXELS = {"US": "ultrasound", "IVUS": "ultrasound", "ES": "endoscopy", "XC": "photograph", "SC": "screenshot"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_DATES = "dates"


@dataclass(slots=True, eq=False)
class Report:
    """What `deidentify` did. It names no patient; ``print`` shows it as a table.

    Attributes
    ----------
    n_files, n_series, n_patients : int
        What was written.
    actions : dict of str to Counter
        What was done (``"removed"``, ``"emptied"``, ``"replaced"``, ``"new UID"``, ``"shifted"``, ``"kept"``) to the
        keywords it was done to, with the number of elements.
    left_out : dict of str to str
        Files that were not written, and why.
    warnings : list of str
        What a person should look at before the files go anywhere.
    """

    n_files: int = 0
    n_series: int = 0
    n_patients: int = 0
    actions: dict[str, Counter] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def count(self, action: str, keyword: str) -> None:
        """Note that an element was treated."""
        self.actions.setdefault(action, Counter())[keyword] += 1

    def __str__(self):
        lines = [f"{self.n_files} files of {self.n_series} series of {self.n_patients} patient(s) written"]
        for action, words in self.actions.items():
            lines.append(f"{action}: " + ", ".join(f"{word} ({n})" for word, n in sorted(words.items())))
        lines += [f"left out: {name}: {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines + [f"WARNING: {warning}" for warning in self.warnings])


def deidentify(src: str | os.PathLike, dst: str | os.PathLike, *, keep: Collection[str] = ()) -> Report:
    """Write copies of DICOM images without what identifies a person; the originals are never touched.

    Only images are written, under new names (``series-01/00001.dcm``), because file names often hold names of people.
    Reports, plans, presentation states and directories are left out. UIDs are replaced consistently within one call.

    Parameters
    ----------
    src : path
        A folder, a zip archive or one file.
    dst : path
        A new folder, or an empty one, neither in `src` nor around it. It appears when all files are written.
    keep : collection of str
        Keywords of the standard to keep as they are, such as ``"SeriesDescription"`` or ``"PatientAge"``; and
        ``"dates"``, which shifts all dates of a patient by the same random number of days, one to ten years back,
        instead of removing them, and keeps the times.

    Returns
    -------
    Report

    Warns
    -----
    UserWarning
        Where text is likely in the pixels: ultrasound, endoscopy, photographs, screenshots, or where the header says
        so. Nothing is done to pixels.

    Raises
    ------
    FileExistsError
        If `dst` holds something.
    ValueError
        If `dst` and `src` lie in one another, or `keep` holds what is no keyword.
    FileNotFoundError, FileFormatError
        If there is no `src`, no DICOM image in it, or one that cannot be read.

    References
    ----------
    DICOM PS3.15, Annex E, *Attribute Confidentiality Profiles*: basic profile (code 113100), with ``keep=["dates"]``
    the option *Retain Longitudinal Temporal Information Modified Dates* (113107).
    """
    src, dst = Path(src), Path(dst)
    _check_places(src, dst)
    cleaner = _Cleaner(keep)
    report = cleaner.report
    with dicom_files(src) as sources, tempfile.TemporaryDirectory(prefix=".medlearn-", dir=dst.parent) as temporary:
        draft = Path(temporary) / "images"
        draft.mkdir()
        folders: dict[str, list] = {}
        for source in sources:
            header = read_header(source)
            if not frames_of(header):
                report.left_out[source.name] = f"no image ({header.facts.get('Modality', 'directory')})"
                continue
            uid = str(header.facts.get("SeriesInstanceUID"))
            members = folders.setdefault(uid, [])
            members.append(source)
            number = list(folders).index(uid) + 1
            file = draft / f"series-{number:02d}" / f"{len(members):05d}.dcm"
            file.parent.mkdir(exist_ok=True)
            cleaner.clean_file(source, file)
        if not folders:
            raise FileFormatError(f"{src} holds no DICOM image, so nothing was written.")
        if dst.exists():
            dst.rmdir()
        draft.rename(dst)
    report.n_series, report.n_patients = len(folders), len(cleaner.pseudonyms)
    for warning in report.warnings:
        warnings.warn(warning, stacklevel=2)
    return report


def _check_places(src: Path, dst: Path) -> None:
    if not src.exists():
        raise FileNotFoundError(f"there is no file or folder {src}")
    source, target = src.resolve(), dst.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise ValueError(f"dst must lie apart from src; got src {src} and dst {dst}")
    if dst.exists() and (not dst.is_dir() or any(dst.iterdir())):
        raise FileExistsError(f"cannot write to {dst}: it exists already. Name a new folder.")
    if not dst.parent.is_dir():
        raise FileNotFoundError(f"cannot write {dst}: there is no folder {dst.parent}")


@cache
def _profile() -> tuple[dict[int, str], list[tuple[int, int, str]]]:
    """The basic profile: tag to action, and (mask, tag, action) for groups that repeat."""
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

    tags, repeated = {}, []
    for names, action in (
        ("X_TAGS", "X"),
        ("Z_TAGS X_Z_TAGS", "Z"),
        ("D_TAGS Z_D_TAGS X_D_TAGS X_Z_D_TAGS", "D"),
        ("U_TAGS X_Z_U_STAR_TAGS", "U"),
    ):
        for group, element, *masks in (tag for name in names.split() for tag in getattr(table, name)):
            tag = group << 16 | element
            if masks:
                repeated.append((masks[0] << 16 | masks[1], tag, action))
            else:
                tags[tag] = action
    return tags, repeated


class _Cleaner:
    """What must stay the same over all files: the new UIDs, the pseudonyms, the shift of the dates."""

    def __init__(self, keep: Collection[str]):
        from pydicom.datadict import tag_for_keyword

        if isinstance(keep, str):
            raise ValueError(f"keep must be a collection of keywords, such as [{keep!r}]; got the text {keep!r}")
        unknown = [word for word in keep if word != _DATES and tag_for_keyword(word) is None]
        if unknown:
            raise ValueError(f'keep must hold keywords of DICOM, or "dates"; got {", ".join(map(repr, unknown))}')
        self.keep = frozenset(keep)
        self.report = Report()
        self.uids: dict[str, str] = {}
        self.pseudonyms: dict[str, str] = {}
        self.shifts: dict[str, timedelta] = {}

    def clean_file(self, source: Source, file: Path) -> None:
        """Write a clean copy of a file."""
        from pydicom import dcmread

        with quiet_pydicom():
            try:
                dataset = dcmread(source.path, force=True)
                self._clean(dataset)
                dataset.save_as(file, enforce_file_format=True)
            except Exception as error:  # pydicom raises whatever the damaged bytes lead to
                raise FileFormatError(
                    f"{source.name} cannot be de-identified, so nothing was written "
                    f"({type(error).__name__}: {error}). Copy it again, or take it out."
                ) from None
        self.report.n_files += 1

    def _clean(self, dataset: "pydicom.Dataset") -> None:
        from pydicom.dataset import FileMetaDataset

        syntax, weighting = transfer_syntax(dataset), b_value(dataset, dataset)
        patient = f"{dataset.get('PatientID', '')}^{dataset.get('PatientName', '')}"
        pseudonym = self.pseudonyms.setdefault(patient, f"ANON-{secrets.token_hex(4).upper()}")
        shift = self.shifts.setdefault(patient, timedelta(days=-365 - secrets.randbelow(3286)))
        self._warn_of_text(dataset)
        self._clean_elements(dataset, shift)
        for word in ("PatientName", "PatientID"):
            if word not in self.keep:
                setattr(dataset, word, pseudonym)
        if weighting is not None and "DiffusionBValue" not in dataset and dataset.get("Modality") == "MR":
            dataset.DiffusionBValue = weighting  # otherwise it would go with the private elements
        self._record(dataset)
        dataset.preamble = bytes(128)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID

    def _clean_elements(self, dataset: "pydicom.Dataset", shift: timedelta) -> None:
        for tag in list(dataset.keys()):
            if tag.is_private:
                del dataset[tag]
                self.report.count("removed", "private elements")
                continue
            element = dataset[tag]
            self._clean_element(dataset, element, shift)
            if element.VR == "SQ" and tag in dataset:
                for item in element.value:
                    self._clean_elements(item, shift)

    def _clean_element(self, dataset: "pydicom.Dataset", element: "pydicom.DataElement", shift: timedelta) -> None:
        word = element.keyword or f"unknown {element.tag}"
        action = self._action(element)
        if action == "X" or (action in ("Z", "D") and element.VR == "SQ"):
            del dataset[element.tag]
            self.report.count("removed", word)
        elif action == "Z":
            element.value = None if element.VR in _NUMBERS else ""
            self.report.count("emptied", word)
        elif action == "D":
            element.value = self._dummy(element)
            self.report.count("replaced", word)
        elif action == "U":
            values = element.value if element.VM > 1 else [element.value]
            element.value = [self._new_uid(str(value)) for value in values if value]
            self.report.count("new UID", word)
        elif action == "shift":
            values = element.value if element.VM > 1 else [element.value]
            element.value = [_shifted(str(value), shift) for value in values]
            self.report.count("shifted", word)
        elif action == "K":
            self.report.count("kept", word)

    def _action(self, element: "pydicom.DataElement") -> str:
        """What to do: a letter of the table, ``shift``, ``K`` for what the caller keeps, or nothing."""
        if element.keyword in self.keep:
            return "K"
        if element.VR in _MOMENTS and _DATES in self.keep and element.keyword != "PatientBirthDate":
            return "shift" if element.VR != "TM" else ""
        tags, repeated = _profile()
        action = tags.get(int(element.tag)) or next((a for m, tag, a in repeated if int(element.tag) & m == tag), "")
        if action == "U" and element.VR == "SQ":
            return ""  # the UIDs in it are replaced
        if action:
            return action
        if not element.keyword or element.tag.group >> 8 in (0x50, 0x60) or element.VR in _FREE_TEXT:
            return "X"
        if element.VR == "PN" or element.VR in _MOMENTS:
            return "Z"
        return "U" if element.VR == "UI" and element.keyword not in _CLASS_UIDS else ""

    def _new_uid(self, uid: str) -> str:
        from pydicom.uid import generate_uid

        if uid.startswith(_STANDARD_UID):
            return uid
        return self.uids.setdefault(uid, str(generate_uid(prefix=None)))

    @staticmethod
    def _dummy(element: "pydicom.DataElement") -> Any:
        if element.VR in _NUMBERS:
            return 0
        if element.VR in ("OB", "OW", "OD", "OF", "OL", "OV", "UN"):
            return bytes(8)
        return _DUMMIES.get(element.VR, "REMOVED")

    def _record(self, dataset: "pydicom.Dataset") -> None:
        from pydicom import Dataset

        from .. import __version__

        codes = [("113100", "Basic Application Confidentiality Profile")]
        if _DATES in self.keep:
            codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = f"medlearn {__version__}: DICOM PS3.15 Annex E, basic profile 2026c"
        dataset.LongitudinalTemporalInformationModified = "MODIFIED" if _DATES in self.keep else "REMOVED"
        dataset.DeidentificationMethodCodeSequence = []
        for value, meaning in codes:
            item = Dataset()
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
            dataset.DeidentificationMethodCodeSequence.append(item)

    def _warn_of_text(self, dataset: "pydicom.Dataset") -> None:
        modality, said = str(dataset.get("Modality", "")), str(dataset.get("BurnedInAnnotation", ""))
        kind = _TEXT_IN_PIXELS.get(modality)
        if kind is None and str(dataset.get("SOPClassUID", "")).startswith(_SECONDARY_CAPTURE):
            kind = "secondary capture"
        if said == "YES" or (kind and said != "NO"):
            why = "the header says so" if said == "YES" else f"{kind} images often hold names in their pixels"
            warning = f"text may be burned into images of modality {modality or 'unknown'}: {why}. Look at them."
            if warning not in self.report.warnings:
                self.report.warnings.append(warning)


def _shifted(value: str, shift: timedelta) -> str:
    """A date (DA) or date and time (DT) moved by whole days; empty where it is none."""
    try:
        return (datetime.strptime(value[:8], "%Y%m%d") + shift).strftime("%Y%m%d") + value[8:]
    except ValueError:
        return ""
