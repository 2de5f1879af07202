"""What students move: widgets that run in the browser, in JupyterLab as well as on a page without a kernel."""

from ._base import Interval, Widget
from .augment_explorer import AugmentExplorer
from .clahe_explorer import ClaheExplorer
from .denoise_explorer import DenoiseExplorer
from .loss_field import LossField
from .measure_bench import MeasureBench
from .modality_lab import ModalityLab
from .receptive_field_explorer import ReceptiveFieldExplorer
from .region_grow_explorer import RegionGrowExplorer
from .skip_switchboard import SkipSwitchboard
from .slice_explorer import SliceExplorer
from .threshold_explorer import ThresholdExplorer
from .training_doctor import TrainingDoctor
from .viewer3d import view3d

__all__ = [
    "AugmentExplorer",
    "ClaheExplorer",
    "DenoiseExplorer",
    "Interval",
    "LossField",
    "MeasureBench",
    "ModalityLab",
    "ReceptiveFieldExplorer",
    "RegionGrowExplorer",
    "SkipSwitchboard",
    "SliceExplorer",
    "ThresholdExplorer",
    "TrainingDoctor",
    "Widget",
    "view3d",
]
