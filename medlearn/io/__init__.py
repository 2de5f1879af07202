"""Image files: `load`, `save` and `describe`, whatever the format, and what only DICOM needs in `dicom`."""

from . import dicom
from .itk import Description, describe, load, save, stem, suffix

__all__ = ["Description", "describe", "dicom", "load", "save", "stem", "suffix"]
