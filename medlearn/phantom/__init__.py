"""Built-in bodies: label maps with tissue properties, and images made from them, deterministic by seed.

Nothing has to be downloaded to have data worth learning on.
"""

from ._gland import GLAND as GLAND
from ._mri import TISSUES as TISSUES
from ._mri import Tissue as Tissue
from ._prostate import prostate as prostate
from ._prostate import prostate_anatomy as prostate_anatomy

__all__ = ["GLAND", "TISSUES", "Tissue", "prostate", "prostate_anatomy"]
