"""The denoise explorer: one slice, a filter applied again and again, what it took away, and the lines of equal gray.

Python computes all iterates of a setting once, keeps them and sends them; the browser shows any of them at once. So the
slider of the iterations also works on a page without a kernel, while another method or time step asks Python.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import traitlets

from .. import denoise
from ..volume import Volume
from ._base import Control, Widget, check_control, complete, front_end
from ._one_slice import STYLE, gray_picture, one_slice

TIME_STEPS = (1 / 64, 1 / 32, 1 / 16, 1 / 8)  # × the square of the finer spacing: every method is stable with each
N_LEVELS = 3  # gray values with isophotes
LINE = (230, 159, 0)  # color of the isophotes, on a picture of half the brightness
GAP = 8  # black pixels between panels


def _flow(image: np.ndarray, spacing: Sequence[float], time: float) -> np.ndarray:
    return denoise.curvature_flow(image, spacing=spacing, n_iterations=1, time_step=time)


def _min_max_flow(image: np.ndarray, spacing: Sequence[float], time: float) -> np.ndarray:
    radius = 2  # the step is given in the time of curvature flow times radius²
    step = time * radius**2
    return denoise.min_max_curvature_flow(image, spacing=spacing, n_iterations=1, time_step=step, radius=radius)


def _gradient_diffusion(image: np.ndarray, spacing: Sequence[float], time: float) -> np.ndarray:
    step = time / min(spacing)  # these two take steps in mm
    return denoise.gradient_anisotropic_diffusion(image, spacing=spacing, n_iterations=1, time_step=step)


def _curvature_diffusion(image: np.ndarray, spacing: Sequence[float], time: float) -> np.ndarray:
    step = time / min(spacing)
    return denoise.curvature_anisotropic_diffusion(image, spacing=spacing, n_iterations=1, time_step=step)


METHODS = MappingProxyType(  # what makes the next iterate, (image, spacing, time in mm²) → image
    {
        "curvature flow": _flow,
        "min/max curvature flow": _min_max_flow,
        "gradient anisotropic diffusion": _gradient_diffusion,
        "curvature anisotropic diffusion": _curvature_diffusion,
        "Gaussian filter": None,  # computed from the image itself, for each time
    }
)


class DenoiseExplorer(Widget):
    """Denoise one slice step by step: the result, what was taken away, and the isophotes.

    Hold an arrow key on the slider of the iterations and watch the isophotes, the lines of equal gray: curvature flow
    shortens them, so that a disk of radius r₀ has, at time t, the radius r with r² = r₀² − 2t, and is gone at
    t = r₀²/2, while a straight edge stays. The Gaussian filter of the same time has a standard deviation of √(2t).

    Python computes the iterates of a method and time step once and keeps them; the browser gets all of them, in 8 bits.
    On a page without a kernel the iterations can be moved, method and time step cannot. Twenty iterations of 256 × 256
    pixels take about 0.65 MB in a stored notebook, of 512 × 512 more than 2 MB: cut a slice out first for the book.

    Parameters
    ----------
    image : Volume or (height, width) ndarray
        A slice, or a volume with axes zyx of which one slice is shown. Values of type uint8 are shown as they are,
        others are windowed for display between the slice's percentiles 0.5 and 99.5; the filters get the values
        themselves.
    spacing : (float, float), optional
        Of an array: mm between its rows and between its columns; 1 pixel where it is not given.
    index : int, optional
        Slice of a volume; the middle one where it is not given.
    truth : Volume or ndarray, optional
        The same without noise, of the shape of `image`: the error of each iterate is then told.
    n_iterations : int
        Most iterations that can be chosen, 1 to 100.
    size : int
        Wanted length of a panel's longer side in pixels.

    Attributes
    ----------
    method : str
        One of `METHODS`.
    time_step : float
        In mm² (pixels² where there is no spacing).
    iterations : int

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    References
    ----------
    M. A. Grayson, The heat equation shrinks embedded plane curves to round points, J. Differential Geometry 26 (1987).

    Examples
    --------
    >>> explorer = DenoiseExplorer.example()
    >>> explorer.render(iterations=10).shape
    (512, 1552, 3)
    """

    _esm = front_end("_panels.js", "denoise_explorer.js")
    _css = STYLE

    method = traitlets.Unicode("curvature flow").tag(sync=True)
    time_step = traitlets.Float(0.125).tag(sync=True)
    iterations = traitlets.Int(0).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _frames = traitlets.Bytes().tag(sync=True)  # zlib of the differences, modulo 256, of one iterate to the next

    def __init__(
        self,
        image: Volume | np.ndarray,
        *,
        spacing: Sequence[float] | None = None,
        index: int | None = None,
        truth: Volume | np.ndarray | None = None,
        n_iterations: int = 20,
        size: int = 512,
    ):
        check_control("n_iterations", n_iterations, range(1, 101))
        self._slice = one_slice(image, index=index, spacing=spacing)
        self._truth = None if truth is None else one_slice(truth, index=index, spacing=spacing, name="truth")
        if truth is not None and self._truth.array.shape != self._slice.array.shape:
            raise ValueError(
                f"truth must have the shape of image, {self._slice.array.shape}; got {self._truth.array.shape}"
            )
        self._pixel, self._sampling = self._slice.pixel(size), self._slice.sampling(size)
        self._kept: dict[tuple[str, float], _Iterates] = {}
        finest = min(self._slice.spacing)
        self._allowed: dict[str, Control] = {
            "method": tuple(METHODS),
            "time_step": tuple(step * finest**2 for step in TIME_STEPS),
            "iterations": range(n_iterations + 1),
        }
        state = {"method": self._allowed["method"][0], "time_step": self._allowed["time_step"][-1]}
        super().__init__(**state, iterations=n_iterations // 2, **self._sent(**state))
        self.answer_the_front_end()

    @classmethod
    def example(cls) -> "DenoiseExplorer":
        """Denoise disks and a bar under noise."""
        y, x = np.indices((64, 64))
        clean = np.where((abs(y - 50) < 6) & (x < 40), 180.0, 60.0)
        for row, column, radius in ((20, 20, 11), (14, 46, 5), (32, 52, 3), (52, 52, 2)):
            clean[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 180
        noise = np.random.default_rng(0).normal(0, 12, clean.shape)
        return cls(np.rint(clean + noise).astype(np.uint8), truth=clean)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: method, time step and iterations."""
        return dict(self._allowed)

    def render(self, **state: Any) -> np.ndarray:
        """Draw result, removed part and isophotes side by side, as the browser draws them.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, 3 × width + 16, 3) uint8 array
        """
        now = complete(self, state, self._allowed)
        iterates = self._iterates(now["method"], now["time_step"])
        frames, frame = iterates.frames, iterates.frames[now["iterations"]]
        rows, columns = self._sampling
        result = gray_picture(frame[rows.nearest[:, None], columns.nearest])
        removed = frames[0].astype(float) - frame
        removed = np.rint(np.clip(128 + iterates.gain * removed, 0, 255)).astype(np.uint8)
        removed = gray_picture(removed[rows.nearest[:, None], columns.nearest])
        gap = np.zeros((len(result), GAP, 3), np.uint8)
        return np.concatenate([result, gap, removed, gap, self._draw_isophotes(frame)], axis=1)

    @traitlets.validate("method", "time_step", "iterations")
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self._allowed[proposal.trait.name])

    @traitlets.observe("method", "time_step")
    def _send_iterates(self, _change):
        if not self._kept:
            return  # still under construction
        sent = self._sent(self.method, self.time_step)
        with self.hold_sync():  # both in one message
            for name, value in sent.items():
                setattr(self, name, value)

    def _sent(self, method: str, time_step: float) -> dict[str, Any]:
        """The traits that carry the iterates of a setting."""
        iterates = self._iterates(method, time_step)
        differences = np.diff(iterates.frames, axis=0, prepend=np.zeros_like(iterates.frames[:1]))  # modulo 256
        scene = {
            "setting": {"method": method, "time_step": time_step},
            "allowed": {"method": self._allowed["method"], "time_step": self._allowed["time_step"]},
            "shape": iterates.frames.shape,
            "spacing": self._slice.spacing,
            "pixel": self._pixel,
            "rows": self._sampling[0].nearest.tolist(),
            "columns": self._sampling[1].nearest.tolist(),
            "gain": iterates.gain,
            "levels": self._levels,
            "line": LINE,
            "errors": iterates.errors,
            "unit": self._slice.unit,
            "note": self._slice.note,
        }
        return {"_scene": scene, "_frames": zlib.compress(differences.tobytes(), 1)}

    def _iterates(self, method: str, time_step: float) -> "_Iterates":
        """All iterates of a setting: computed once, then kept."""
        if (method, time_step) not in self._kept:
            n = self._allowed["iterations"][-1]
            steps = list(_steps(METHODS[method], self._slice.array.astype(float), self._slice.spacing, time_step, n))
            frames = np.stack([self._slice.to_eight_bits(step) for step in steps])
            most = np.percentile(np.abs(frames[0].astype(float) - frames[-1]), 99.5)
            errors = [] if self._truth is None else [_rmse(step, self._truth.array) for step in steps]
            self._kept[method, time_step] = _Iterates(frames, 127 / max(most, 8), errors)
        return self._kept[method, time_step]

    @property
    def _levels(self) -> list[float]:
        """Gray values of the isophotes, halfway between whole numbers: no pixel lies on a line."""
        first = self._slice.to_eight_bits(self._slice.array)
        low, high = np.percentile(first, [0.5, 99.5])
        return [float(np.floor(low + (high - low) * k / (N_LEVELS + 1)) + 0.5) for k in range(1, N_LEVELS + 1)]

    def _draw_isophotes(self, frame: np.ndarray) -> np.ndarray:
        """The picture at half its brightness, with a line where the interpolated gray value passes a level."""
        rows, columns = self._sampling
        a, b = (frame[rows.before[:, None], c] for c in (columns.before, columns.after))
        c, d = (frame[rows.after[:, None], c] for c in (columns.before, columns.after))
        upper = a * (1 - columns.far) + b * columns.far
        lower = c * (1 - columns.far) + d * columns.far
        values = upper * (1 - rows.far[:, None]) + lower * rows.far[:, None]
        bands = (values[..., None] > self._levels).sum(-1)
        line = np.zeros(values.shape, bool)
        line[:, :-1] |= bands[:, :-1] != bands[:, 1:]
        line[:-1] |= bands[:-1] != bands[1:]
        picture = gray_picture(np.rint(values / 2).astype(np.uint8))
        picture[line] = LINE
        return picture


class _Iterates(NamedTuple):
    """What is kept of one method and time step."""

    frames: np.ndarray  # (n + 1, height, width) uint8, the first one is the image itself
    gain: float  # from gray values taken away to their picture
    errors: list[float]  # root mean square difference to the truth, in the units of the image; empty without a truth


def _steps(
    function: Callable | None, image: np.ndarray, spacing: Sequence[float], time_step: float, n: int
) -> Iterator[np.ndarray]:
    """The image, and its iterates 1 to `n`."""
    yield image
    current = image
    for i in range(1, n + 1):
        if function is None:
            yield denoise.gaussian(image, spacing=spacing, std_mm=np.sqrt(2 * i * time_step))
        else:
            current = function(current, spacing, time_step)
            yield current


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b.astype(float)) ** 2)))
