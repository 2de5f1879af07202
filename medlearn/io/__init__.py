"""Image files: `load`, `save` and `describe`, whatever the format."""

from .itk import Description, describe, load, save, stem, suffix

__all__ = ["Description", "describe", "load", "save", "stem", "suffix"]
