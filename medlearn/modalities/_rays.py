"""What the loops over rays share."""

import math

import numpy as np

from .._jit import compiled

ONE = np.uint32(1)  # an unsigned index plus 1 stays unsigned


@compiled
def planes_inside(first, step, last, begin, end):
    """Those of the planes from `begin` to `end` (excluded) on which ``first + plane · step`` is between 0 and `last`.

    Known before the loop, it need not ask at every sample: that halves its time.
    """
    if step == 0:
        return (begin, end) if 0 <= first <= last else (begin, begin)
    enter, leave = -first / step, (last - first) / step
    if enter > leave:
        enter, leave = leave, enter
    # limited as floats first: where the step is tiny, these numbers are beyond the range of integers
    enter, leave = min(max(enter, begin), end), max(min(leave, end - 1), begin - 1)
    return math.ceil(enter), math.floor(leave) + 1
