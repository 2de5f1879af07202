"""Who looks at what is printed: somebody at a terminal or in a notebook, or nobody."""

import sys


def kernel():
    """The kernel of the notebook that runs this code; None where there is none."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None)


def watched() -> bool:
    """Whether to show how far a long computation is."""
    return sys.stderr.isatty() or kernel() is not None
