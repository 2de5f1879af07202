"""From a trained network and an image to probabilities, labels and uncertainty on the image's own grid."""

from .folders import PredictedFolder as PredictedFolder
from .folders import image_suffixes as image_suffixes
from .folders import predict_folder as predict_folder
from .folders import process_pool as process_pool
from .images import predict as predict
from .images import predict_prepared as predict_prepared
from .images import to_labels as to_labels
from .passes import autocast as autocast
from .passes import choose_device as choose_device
from .passes import predict_slices as predict_slices
from .passes import relative_heights as relative_heights
from .passes import with_position as with_position
from .uncertainty import Uncertainty as Uncertainty
from .uncertainty import predict_uncertainty as predict_uncertainty
from .windows import predict_patches as predict_patches
