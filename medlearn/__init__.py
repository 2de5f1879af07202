"""medlearn: an interactive course on deep learning for medical images, and the library it teaches with.

Names are loaded when they are first used, so that ``import medlearn`` stays fast and brings in neither torch nor
matplotlib. The list of public names stands in ``__init__.pyi``.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
