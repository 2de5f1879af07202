"""Functional MRI: a slice of the head, taken again and again while a hand moves, and the map of t."""

import functools

import numpy as np

from ... import phantom
from ...modalities import functional
from .._base import Interval
from ._parts import Answer, Curves, Dial, Machine, Picture

TR_S = 2.0
BLOCK_S = 20.0
SPACING = (2.5, 2.5, 2.5)


@functools.cache
def _slice() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signal at rest, share of activity (0 to 1) and where the brain is, of the slice with the hand's place."""
    whole = phantom.head_anatomy(0)
    site = phantom.head_sites(0)[0]
    z = round(float(whole.to_index(site.center_mm)[0]))
    rest = phantom.head(0).image.array[z]
    share = phantom.head_activation(whole, [site]).array[z] / site.amplitude_percent
    brain = whole.array[z] >= phantom.HEAD_TISSUES["gray_matter"].label
    rows, columns = (np.flatnonzero((rest > 0).any(axis=1 - axis)) for axis in (0, 1))
    box = slice(rows[0] - 3, rows[-1] + 4), slice(columns[0] - 3, columns[-1] + 4)  # air costs as much time as brain
    return rest[box].astype(float), share[box].astype(float), brain[box]


def simulate(*, percent: float, n_scans: int, noise_percent: float, threshold: float) -> Answer:
    """Take the series, fit the model, show t where it exceeds the threshold, and the series of the best voxel."""
    rest, share, brain = _slice()
    stimulus = functional.block_design(n_scans, tr_s=TR_S, block_s=BLOCK_S)
    noise = noise_percent / 100 * rest[brain].mean()
    series = functional.bold_series(rest, percent * share, stimulus, tr_s=TR_S, noise=noise, drift_percent=2.0, rng=0)
    design = functional.design_matrix(stimulus, tr_s=TR_S)
    _, t = functional.glm_t_map(series, design)
    shown = np.where(brain & (t > threshold), t, 0.0)
    found = (shown > 0) & (share > 0.5)
    false = (shown > 0) & (share == 0)
    place = np.unravel_index(np.argmax(share), share.shape)
    own = series[(slice(None), *place)].astype(float)
    change = 100 * (own / own.mean() - 1)
    fit = design @ np.linalg.lstsq(design, change, rcond=None)[0]
    time = TR_S * np.arange(n_scans)
    panels = (
        Picture("one volume", series[0], (0.0, float(rest[brain].max() * 1.2)), SPACING[1:], "mm"),
        Picture("t above the threshold", shown, (0.0, 12.0), SPACING[1:], "mm", "inferno"),
        Curves("the best voxel", "s", "% change", time, [("measured", change), ("fitted", fit)], (-8.0, 8.0)),
    )
    words = (
        f"{found.sum()} of {(share > 0.5).sum()} active voxels found, {false.sum()} false ones · "
        f"{n_scans * TR_S:.0f} s in the scanner"
    )
    return Answer(panels, words)


MACHINE = Machine(
    title="Functional MRI",
    dials=(
        Dial("percent", "signal of the active place (%)", Interval(0.0, 5.0), 3.0),
        Dial("n_scans", "volumes, one every 2 s", range(20, 301, 10), 100),
        Dial("noise_percent", "noise (%)", Interval(0.5, 10.0), 2.0),
        Dial("threshold", "threshold of t", Interval(0.0, 8.0), 3.5),
    ),
    simulate=simulate,
    body="a slice of the built-in head while the left hand moves in blocks of 20 s",
)
