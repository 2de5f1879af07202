from . import phantom as phantom
from .errors import BadCasesError as BadCasesError
from .errors import FileFormatError as FileFormatError
from .errors import GridMismatchError as GridMismatchError
from .errors import LossyFormatError as LossyFormatError
from .volume import Case as Case
from .volume import Volume as Volume
