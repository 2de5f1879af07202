"""What students move: widgets that run in the browser, in JupyterLab as well as on a page without a kernel."""

from ._base import Interval, Widget
from .slice_explorer import SliceExplorer
from .viewer3d import view3d

__all__ = ["Interval", "SliceExplorer", "Widget", "view3d"]
