"""Built-in bodies: label maps with tissue properties, and images made from them, deterministic by seed.

Nothing has to be downloaded to have data worth learning on.
"""

from ._chest import chest as chest
from ._chest import chest_anatomy as chest_anatomy
from ._chest import chest_nodule_map as chest_nodule_map
from ._chest import chest_nodules as chest_nodules
from ._ct import CHEST_TISSUES as CHEST_TISSUES
from ._ct import ChestTissue as ChestTissue
from ._gland import GLAND as GLAND
from ._head import HEAD_TISSUES as HEAD_TISSUES
from ._head import ActiveSite as ActiveSite
from ._head import HeadTissue as HeadTissue
from ._head import head as head
from ._head import head_activation as head_activation
from ._head import head_anatomy as head_anatomy
from ._head import head_map as head_map
from ._head import head_sites as head_sites
from ._lungs import Nodule as Nodule
from ._mri import TISSUES as TISSUES
from ._mri import Tissue as Tissue
from ._nuclei import nuclei as nuclei
from ._prostate import prostate as prostate
from ._prostate import prostate_anatomy as prostate_anatomy
from ._tissue import CHEST_PROPERTIES as CHEST_PROPERTIES
from ._tissue import tissue_map as tissue_map

__all__ = [
    "CHEST_PROPERTIES",
    "CHEST_TISSUES",
    "GLAND",
    "HEAD_TISSUES",
    "TISSUES",
    "ActiveSite",
    "ChestTissue",
    "HeadTissue",
    "Nodule",
    "Tissue",
    "chest",
    "chest_anatomy",
    "chest_nodule_map",
    "chest_nodules",
    "head",
    "head_activation",
    "head_anatomy",
    "head_map",
    "head_sites",
    "nuclei",
    "prostate",
    "prostate_anatomy",
    "tissue_map",
]
