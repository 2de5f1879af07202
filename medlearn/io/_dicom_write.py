"""Write volumes as DICOM series, and masks as DICOM segmentations."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FileFormatError, LossyFormatError
from ..volume import Volume, as_labels

if TYPE_CHECKING:
    import pydicom

_CT, _MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_TYPES = {np.dtype(t) for t in (bool, np.uint8, np.int8, np.uint16, np.int16)}


def save_series(
    volume: Volume,
    folder: str | os.PathLike,
    *,
    modality: str | None = None,
    description: str | None = None,
    patient_id: str = "",
    patient_name: str = "",
) -> Path:
    """Write a volume as a DICOM series, one file a slice, not compressed.

    The files go to a temporary folder beside `folder`, which gets its name when all are written.

    Parameters
    ----------
    volume : Volume
        Axes ``zyx`` or ``tzyx`` (a series of time points: `split` by ``"time"`` gets them back). Whole numbers of up
        to 16 bits; those of 8 bits and booleans are stored in 16, as the standard wants it for CT and MR.
    folder : path
        A new folder, or an empty one.
    modality : str, optional
        Two letters, such as ``"MR"``; from ``volume.meta`` if not given, else ``"OT"`` (other). Modalities other than
        CT and MR are written as secondary captures with positions.
    description : str, optional
        Series description; from ``volume.meta`` if not given.
    patient_id, patient_name : str
        Empty if not given. Nothing of the sort is ever taken from ``volume.meta``.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    LossyFormatError
        If DICOM cannot hold the type or the axes, or the slices run against row × column (a left-handed grid).
    FileExistsError
        If the folder holds something.
    """
    folder = Path(folder)
    _check_series(volume, folder)
    meta = volume.meta
    shared = {
        "modality": modality or str(meta.get("modality", "OT")),
        "description": str(meta.get("series_description", "")) if description is None else description,
        "patient_id": patient_id,
        "patient_name": patient_name,
    }
    base = _series_dataset(volume, **shared)
    stacks = volume.array if "t" in volume.axes else volume.array[None]
    stacks = stacks.astype(np.int16 if stacks.dtype.kind == "i" else np.uint16, copy=False)
    with tempfile.TemporaryDirectory(prefix=".medlearn-", dir=folder.parent) as temporary:
        draft = Path(temporary) / "series"
        draft.mkdir()
        number = 0
        for t, slices in enumerate(stacks):
            for z, pixels in enumerate(slices):
                number += 1
                file = draft / f"{number:05d}.dcm"
                _write_slice(base, file, pixels, volume.to_world((z, 0, 0)), number, t if len(stacks) > 1 else None)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    return folder


def _check_series(volume: Volume, folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"cannot write a DICOM series to {folder}: it exists already. Name a new folder.")
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"cannot write {folder}: there is no folder {folder.parent}")
    refuse = f"{folder} was not written, because a DICOM series cannot hold {volume!r} as it is: "
    if volume.axes not in ("zyx", "tzyx"):
        raise LossyFormatError(refuse + f"its axes must be zyx or tzyx; got {volume.axes}")
    if volume.array.dtype not in _TYPES:
        raise LossyFormatError(
            refuse + f"its voxels must be whole numbers of up to 16 bits; got {volume.array.dtype}. "
            "Scale and round them first, or write .nrrd"
        )
    if np.linalg.det(volume.direction) < 0:
        raise LossyFormatError(
            refuse + "its slices run against row × column, which DICOM has no way to say. "
            'medlearn.orient(volume, "LPS") turns them'
        )


def _series_dataset(
    volume: Volume, modality: str, description: str, patient_id: str, patient_name: str
) -> "pydicom.Dataset":
    """All elements that the slices share."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import generate_uid

    bits = 8 if volume.array.dtype.itemsize == 1 and volume.array.dtype.kind != "i" else 16
    base = Dataset()
    base.file_meta = FileMetaDataset()
    base.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    base.SOPClassUID = {"CT": _CT, "MR": _MR}.get(modality, _SECONDARY_CAPTURE)
    base.ImageType = ["DERIVED", "SECONDARY", *{"CT": ["AXIAL"], "MR": ["OTHER"]}.get(modality, [])]
    base.Modality, base.SeriesDescription, base.Manufacturer = modality, description[:64], "medlearn"
    base.PatientName, base.PatientID = patient_name, patient_id
    base.PatientBirthDate = base.PatientSex = base.ReferringPhysicianName = ""  # must be there, may be empty
    base.StudyDate = base.StudyTime = base.StudyID = base.AccessionNumber = base.PositionReferenceIndicator = ""
    base.StudyInstanceUID, base.SeriesInstanceUID = generate_uid(prefix=None), generate_uid(prefix=None)
    base.FrameOfReferenceUID = generate_uid(prefix=None)
    base.SeriesNumber, base.AcquisitionNumber = 1, 1
    base.ImageOrientationPatient = [_decimal(v) for v in volume.direction[:, :2].T.ravel()]
    base.PixelSpacing = [_decimal(v) for v in volume.spacing[1:]]
    base.SliceThickness = base.SpacingBetweenSlices = _decimal(volume.spacing[0])
    base.SamplesPerPixel, base.PhotometricInterpretation = 1, "MONOCHROME2"
    base.Rows, base.Columns = volume.spatial_shape[1:]
    base.BitsAllocated, base.BitsStored, base.HighBit = 16, bits, bits - 1
    base.PixelRepresentation = int(volume.array.dtype.kind == "i")
    if modality == "CT":
        base.RescaleSlope, base.RescaleIntercept, base.RescaleType, base.KVP = 1, 0, "HU", None
    if modality == "MR":
        base.ScanningSequence, base.SequenceVariant, base.ScanOptions = "RM", "NONE", ""
        base.MRAcquisitionType, base.EchoTime, base.EchoTrainLength = "", None, None
        if "b_value" in volume.meta:
            base.DiffusionBValue = float(volume.meta["b_value"])
    if "t" in volume.axes:
        base.NumberOfTemporalPositions = volume.shape[0]
    return base


def _write_slice(base: "pydicom.Dataset", file: Path, pixels: np.ndarray, position, number: int, time: int | None):
    from pydicom.uid import generate_uid

    base.SOPInstanceUID = generate_uid(prefix=None)
    base.InstanceNumber = number
    base.ImagePositionPatient = [_decimal(v) for v in position]
    if time is not None:
        base.TemporalPositionIdentifier = time + 1
    base.add_new(0x7FE00010, "OW", np.ascontiguousarray(pixels.astype("<" + pixels.dtype.str[1:])).tobytes())
    base.file_meta.MediaStorageSOPInstanceUID = base.SOPInstanceUID
    base.save_as(file, enforce_file_format=True)


def _decimal(value: float) -> str:
    """A number in the 16 characters that the standard allows."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def save_seg(
    mask: Volume,
    source_series: str | os.PathLike,
    path: str | os.PathLike,
    *,
    label: str | Mapping[int, str],
    series_uid: str | None = None,
) -> Path:
    """Write a mask as a DICOM segmentation that belongs to the images it was drawn on (needs highdicom).

    Parameters
    ----------
    mask : Volume
        Labels on the grid of the source series; 0 is background, the others 1, 2, …
    source_series : path
        The folder, or the file, with the images.
    path : path
        The file to write, ``NAME.dcm``. An existing file is replaced.
    label : str or dict
        What was segmented, such as ``"Prostate"``, or label to name where there are several. Names of SNOMED CT that
        pydicom knows get their code; others one of this library's own.
    series_uid : str, optional
        Which series, where there are several.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ImportError
        If highdicom is not installed.
    GridMismatchError
        If the mask does not lie on the grid of the series.
    ValueError
        If `label` does not name every label of the mask.
    """
    try:
        import highdicom
    except ImportError:
        raise ImportError("save_seg needs highdicom, which is not installed: pip install highdicom") from None
    from pydicom import dcmread

    from . import dicom

    path = Path(path)
    with dicom._opened(source_series) as series:
        grid = dicom._arrange(source_series, dicom._choose(source_series, series, series_uid))
        _check_mask(mask, grid)
        files = list(dict.fromkeys(frame.header.source for frame in grid.frames))
        sources = [dcmread(file.path, stop_before_pixels=True) for file in files]
        order = np.argsort([files.index(f.header.source) * 10**6 + f.index for f in grid.frames])
    labels = as_labels(mask.array, "the mask")[order].astype(np.uint8)
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=labels,
        segmentation_type="BINARY",
        segment_descriptions=_segments(labels, label),
        series_instance_uid=highdicom.UID(),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="medlearn",
        manufacturer_model_name="medlearn",
        software_versions=_version(),
        device_serial_number="0",
        omit_empty_frames=False,
    )
    with tempfile.TemporaryDirectory(prefix=".medlearn-", dir=path.parent) as folder:
        draft = Path(folder) / "segmentation.dcm"
        segmentation.save_as(draft, enforce_file_format=True)
        draft.replace(path)
    return path


def _check_mask(mask: Volume, grid: Any) -> None:
    if mask.axes != "zyx" or grid.axes != "zyx":
        raise FileFormatError(f"mask and source series must be volumes (zyx); got {mask.axes} and {grid.axes}")
    image = Volume(
        array=np.broadcast_to(np.uint8(0), grid.shape),
        spacing=grid.spacing,
        origin=grid.origin,
        direction=grid.direction,
    )
    image.check_same_grid(mask, "the source series and the mask")


def _segments(labels: np.ndarray, label: str | Mapping[int, str]) -> list:
    import highdicom
    from pydicom.sr.codedict import codes

    found = [int(v) for v in np.unique(labels) if v]
    names = {1: label} if isinstance(label, str) else {int(k): v for k, v in label.items()}
    if sorted(names) != list(range(1, len(names) + 1)) or not set(found) <= set(names):
        raise ValueError(
            f"label must name the labels of the mask, 1, 2, … without gaps; the mask holds {found}, "
            f"label names {sorted(names)}"
        )
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="medlearn", version=_version(), family=codes.DCM.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=_code(name),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, name in sorted(names.items())
    ]


def _code(name: str):
    """The concept of SNOMED CT with this name, if pydicom knows it; else one of our own."""
    import highdicom
    from pydicom.sr.codedict import codes

    try:
        return getattr(codes.SCT, "".join(word.capitalize() for word in name.split()))
    except AttributeError:
        return highdicom.sr.CodedConcept(value=name[:16], scheme_designator="99MEDLEARN", meaning=name[:64])


def _version() -> str:
    from .. import __version__

    return __version__
