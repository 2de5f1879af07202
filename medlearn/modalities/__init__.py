"""Simulated devices: what a scanner would measure of a body whose tissue properties are given as arrays.

One module a device, arrays in and arrays out, every quantity with its unit: `xray` (projection, angiography), `ct`
(parallel and fan beam, and its relatives with ultrasound and γ-rays), `mri` (echoes, k-space),
`ultrasound` (A-, B- and M-mode, Doppler), `nuclear` (γ camera, SPECT, PET), `optical` (fundus, OCT, fluorescence,
endoscopy) and `functional` (BOLD, EEG, MEG). The modules know nothing of the built-in bodies and are loaded when they
are first used.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__, submodules=["ct", "functional", "mri", "nuclear", "optical", "ultrasound", "xray"]
)
