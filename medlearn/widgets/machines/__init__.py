"""The machines that a `ModalityLab` can be, one short module each: controls, and a function from them to pictures.

Python computes the answer with `medlearn.modalities`, from the tissue properties of a built-in body that is prepared
once. Bodies are one slice or a coarse volume, so that an answer takes a few hundredths of a second.
"""

from importlib import import_module

from ...errors import check_choice
from ._parts import Answer, Curves, Dial, Machine, Picture
from .comparison import body_through_machines

#: Names of the machines; each is a module of this package with a constant ``MACHINE``.
NAMES = (
    "xray",
    "angiography",
    "ct",
    "mri",
    "kspace",
    "ultrasound",
    "doppler",
    "gamma_camera",
    "pet",
    "oct",
    "endoscope",
    "fluorescence",
    "fmri",
    "eeg_meg",
)


def machine(name: str) -> Machine:
    """Load a machine by its name; raise ``ValueError`` if there is none of that name."""
    check_choice("machine", name, NAMES)
    return import_module(f"{__name__}.{name}").MACHINE


__all__ = ["NAMES", "Answer", "Curves", "Dial", "Machine", "Picture", "body_through_machines", "machine"]
