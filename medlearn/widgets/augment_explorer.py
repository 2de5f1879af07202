"""The augment explorer: one slice and its label, changed by the same numbers that a training would draw.

Python changes the slice (`medlearn.augment`), and draws grid lines, contour and folds; the browser shows the picture.
So turning anything needs a kernel. Without one the last picture stays, and the widget says so.
"""

import zlib
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import traitlets

from ..errors import check_choice
from ..plots import COLORS
from ..volume import Case
from ._base import Control, Interval, Widget, check_control, complete, front_end
from ._one_slice import STYLE, one_slice

if TYPE_CHECKING:
    import torch

    from ..augment import Augment

STRENGTHS = MappingProxyType(  # names in `Augment` to the end of the slider, and where it begins
    {
        "rotation_deg": (45.0, 15.0),
        "translation_mm": (20.0, 8.0),
        "scale": (0.5, 0.2),
        "shear": (0.5, 0.1),
        "elastic_mm": (12.0, 3.0),
        "contrast": (1.0, 0.25),
        "brightness": (1.0, 0.25),
        "gamma": (1.0, 0.4),
        "bias": (1.0, 0.3),
        "noise": (0.5, 0.0),
        "blur_mm": (4.0, 0.0),
        "low_resolution": (4.0, 0.0),
    }
)
GEOMETRY = ("rotation_deg", "translation_mm", "scale", "shear", "elastic_mm")
DIAL = Interval(0.0, 4.0)
CONTROL_POINTS = ("held back", "free")
VIEWS = ("image", "Jacobian determinant")
N_DRAWS = 50
GRID_MM = 10.0  # distance of the grid lines
HELD_BACK, ELASTIC_GRID_MM = 0.4, 24.0  # as in `Augment`
GAP = 8  # black pixels between the panels
GRAYS, GRID, CONTOUR, FOLD, BLACK = 252, 252, 253, 254, 255  # bytes of a picture: that many grays, then colors


def _rgb(color: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(color[1:]))


INKS = (_rgb(COLORS[1]), _rgb(COLORS[0]), _rgb(COLORS[3]), (0, 0, 0))  # of the bytes from GRID on


class AugmentExplorer(Widget):
    """Change a slice and its label as a training does: sliders for the strengths, a dial for all, a new draw.

    Left: the slice, with a grid of 10 mm. Right: the same after the change, with the same grid lines, bent. The contour
    is the label's, which has gone through the same warp. The second view shows the Jacobian determinant of the map from
    result to source: gray 1, bright above (content shrinks), dark below (content grows), hatched where it is 0 or less:
    there the image folds. The library holds control points back so that it never does; let them free to see it.

    Parameters
    ----------
    case : Case
        Image and mask, axes zyx or yx.
    index : int, optional
        Slice of a volume; the one with the largest label where it is not given.
    size : int
        Wanted length of a panel's longer side in pixels.

    Attributes
    ----------
    strength : float
        The dial: 0 to 4 times the sliders.
    rotation_deg, translation_mm, scale, shear, elastic_mm : float
    contrast, brightness, gamma, bias, noise, blur_mm, low_resolution : float
        Strengths, as in `medlearn.Augment`. The exchange of left and right has none and is not shown.
    number : int
        Which draw: the seed of the random numbers.
    control_points : {"held back", "free"}
    view : {"image", "Jacobian determinant"}

    Raises
    ------
    TypeError, ValueError
        If the case does not fit.

    Examples
    --------
    >>> explorer = AugmentExplorer.example()
    >>> explorer.folded(strength=4.0, elastic_mm=12.0)
    0.0
    >>> explorer.folded(strength=4.0, elastic_mm=12.0, control_points="free") > 0.1
    True
    """

    _esm = front_end("_panels.js", "augment_explorer.js")
    _css = STYLE

    strength = traitlets.Float(1.0).tag(sync=True)
    rotation_deg = traitlets.Float(STRENGTHS["rotation_deg"][1]).tag(sync=True)
    translation_mm = traitlets.Float(STRENGTHS["translation_mm"][1]).tag(sync=True)
    scale = traitlets.Float(STRENGTHS["scale"][1]).tag(sync=True)
    shear = traitlets.Float(STRENGTHS["shear"][1]).tag(sync=True)
    elastic_mm = traitlets.Float(STRENGTHS["elastic_mm"][1]).tag(sync=True)
    contrast = traitlets.Float(STRENGTHS["contrast"][1]).tag(sync=True)
    brightness = traitlets.Float(STRENGTHS["brightness"][1]).tag(sync=True)
    gamma = traitlets.Float(STRENGTHS["gamma"][1]).tag(sync=True)
    bias = traitlets.Float(STRENGTHS["bias"][1]).tag(sync=True)
    noise = traitlets.Float(STRENGTHS["noise"][1]).tag(sync=True)
    blur_mm = traitlets.Float(STRENGTHS["blur_mm"][1]).tag(sync=True)
    low_resolution = traitlets.Float(STRENGTHS["low_resolution"][1]).tag(sync=True)
    number = traitlets.Int(0).tag(sync=True)
    control_points = traitlets.Unicode(CONTROL_POINTS[0]).tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _pixels = traitlets.Bytes().tag(sync=True)  # zlib of both panels, one byte a pixel
    _words = traitlets.Unicode().tag(sync=True)

    def __init__(self, case: Case, *, index: int | None = None, size: int = 384):
        if not isinstance(case, Case):
            raise TypeError(f"case must be a Case; got a {type(case).__name__}")
        if case.mask is None:
            raise ValueError(f"case {case.id!r} must have a mask: its contour is what moves along with the image")
        if index is None and case.image.axes == "zyx":
            index = int(np.argmax((case.mask.array > 0).sum(axis=(1, 2))))
        self._slice = one_slice(case.image, index=index)
        self._labels = one_slice(case.mask, index=index, name="mask").array > 0
        self._sampling = self._slice.sampling(size)
        values = self._slice.array.astype(float)
        self._mean, self._std = values.mean(), max(values.std(), 1e-6)
        self._normalized = (values - self._mean) / self._std  # what a network sees
        super().__init__(_scene=self._describe())
        self._send_picture()
        self.observe(self._send_picture, list(self.controls))
        self.answer_the_front_end()

    @classmethod
    def example(cls) -> "AugmentExplorer":
        """Change a slice of a built-in prostate."""
        from ..phantom import prostate

        return cls(prostate(0, shape=(8, 64, 64), spacing=(9.0, 2.25, 2.25)), size=256)

    @property
    def controls(self) -> dict[str, Control]:
        """What can be moved: the dial, the strengths, the number of the draw, the control points, the view."""
        strengths = {name: Interval(0.0, most) for name, (most, _) in STRENGTHS.items()}
        options = {"control_points": CONTROL_POINTS, "view": VIEWS}
        return {"strength": DIAL, **strengths, "number": range(N_DRAWS), **options}

    def folded(self, **state: Any) -> float:
        """Share of the pixels where the map folds; what `state` does not name is as the widget shows it now."""
        return float(np.mean(self._change(state).determinant <= 0))

    def render(self, **state: Any) -> np.ndarray:
        """Draw the slice before and after, as the browser draws it.

        Parameters
        ----------
        **state
            Any of `controls`; what is not given is as the widget shows it now.

        Returns
        -------
        (height, 2 × width + 8, 3) uint8 array
            Pixels are square in mm.
        """
        before, after = self._panels(state)
        gap = np.full((len(before), GAP), BLACK, np.uint8)
        return _palette()[np.concatenate([before, gap, after], axis=1)]

    @traitlets.validate("strength", "number", "control_points", "view", *STRENGTHS)
    def _check(self, proposal):
        return check_control(proposal.trait.name, proposal.value, self.controls[proposal.trait.name])

    def _describe(self) -> dict[str, Any]:
        rows, columns = self._sampling
        names = {"GRID": f"grid, every {GRID_MM:g} mm", "CONTOUR": "contour of the label", "FOLD": "folded: hatched"}
        legend = [
            {"name": name, "color": color, "style": "solid"} for name, color in zip(names.values(), INKS, strict=False)
        ]
        sliders = {name: allowed for name, allowed in self.controls.items() if isinstance(allowed, Interval)}
        return {
            "shape": (len(rows.nearest), len(columns.nearest)),
            "palette": _palette().tolist(),
            "legend": legend,
            "sliders": {name: list(allowed) for name, allowed in sliders.items()},
            "options": {"control_points": CONTROL_POINTS, "view": VIEWS},
            "draws": N_DRAWS,
            "note": self._slice.note,
        }

    def _send_picture(self, _change=None):
        """Draw, and send picture and words in one message."""
        pixels = np.concatenate([panel.ravel() for panel in self._panels({})])
        with self.hold_sync():
            self._pixels, self._words = zlib.compress(pixels.tobytes(), 1), self._tell()

    def _tell(self) -> str:
        change = self._change({})
        low, high = change.determinant.min(), change.determinant.max()
        length = np.sqrt((change.displacement**2).sum(-1).mean())
        area = np.prod(self._slice.spacing) / 100  # cm²
        return (
            f"moved by {length:.1f} mm (root mean square) · det J from {low:.2f} to {high:.2f} · "
            f"folded {np.mean(change.determinant <= 0):.1%} · "
            f"label {self._labels.sum() * area:.1f} cm², now {change.labels.sum() * area:.1f} cm²"
        ).replace("-", "−")

    def _change(self, state: dict[str, Any]) -> "_Change":
        """Change the slice by the settings of the controls."""
        import torch

        from ..augment import jacobian_determinant, warp

        now = complete(self, state, self.controls)
        shape, spacing = self._slice.array.shape, self._slice.spacing
        augment = self._augment(now)
        generator = torch.Generator().manual_seed(now["number"])
        random = torch.rand(1, augment.n_random(shape, spacing), generator=generator)
        points = torch.randn(self._points_shape(), generator=generator)
        displacement = augment.displacement(random, shape, spacing) + self._elastic(points, now)
        half = torch.tensor([shape[1] * spacing[1], shape[0] * spacing[0]]) / 2
        image = torch.tensor(self._normalized, dtype=torch.float32)[None, None]
        image, labels = warp(image, torch.tensor(self._labels)[None], torch.eye(2, 3)[None], displacement / half)
        still = replace(augment, **dict.fromkeys(GEOMETRY, 0.0))
        image, _ = still(image, labels, random, spacing)  # geometry is done; now the intensity
        determinant = jacobian_determinant(displacement, spacing)[0]
        return _Change(*(part.numpy() for part in (image[0, 0], labels[0], displacement[0], determinant)))

    @staticmethod
    def _augment(now: dict[str, Any]) -> "Augment":
        """All that is turned on, but the elastic part: control points that are free are not what the library does."""
        from ..augment import Augment

        strengths = {name: now["strength"] * now[name] for name in STRENGTHS}
        return replace(Augment().scaled(0), flip=0.0, **{**strengths, "elastic_mm": 0.0})

    def _points_shape(self) -> tuple[int, ...]:
        sides = zip(self._slice.array.shape, self._slice.spacing, strict=True)
        return (1, 2, *(int(np.ceil(n * s / ELASTIC_GRID_MM)) + 3 for n, s in sides))

    def _elastic(self, points: "torch.Tensor", now: dict[str, Any]) -> "torch.Tensor":
        """Displacement (1, height, width, 2) in mm of normally distributed control points, held back or not."""
        from ..augment import spline_field

        points = points * (now["strength"] * now["elastic_mm"] * 315 / 151)  # the spline averages over control points
        if now["control_points"] == "held back":
            points = points.clamp(-HELD_BACK * ELASTIC_GRID_MM, HELD_BACK * ELASTIC_GRID_MM)
        return spline_field(points, self._slice.array.shape, self._slice.spacing, ELASTIC_GRID_MM)

    def _panels(self, state: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Both panels, one byte a pixel, in the pixels of the screen."""
        view = state.get("view", self.view)
        check_choice("view", view, VIEWS)
        change = self._change(state)
        rest = np.zeros_like(change.displacement)
        before = self._draw(self._grays(self._normalized), self._labels, rest)
        if view == "image":
            return before, self._draw(self._grays(change.image), change.labels, change.displacement)
        grays = np.rint(np.clip(change.determinant / 2, 0, 1) * (GRAYS - 1)).astype(np.uint8)
        return before, self._draw(grays, change.labels, change.displacement, folded=change.determinant <= 0)

    def _grays(self, normalized: np.ndarray) -> np.ndarray:
        gray = self._slice.to_eight_bits(normalized * self._std + self._mean)
        return np.rint(gray * ((GRAYS - 1) / 255)).astype(np.uint8)

    def _draw(self, grays, labels, displacement, folded=None) -> np.ndarray:
        """A panel: grays, grid lines where the source's coordinate passes a multiple of 10 mm, contour, folds."""
        rows, columns = self._sampling
        panel = grays[rows.nearest[:, None], columns.nearest]
        cell = np.floor(self._sources(displacement) / GRID_MM)  # number of the grid's square that a pixel comes from
        panel[_borders(cell[..., 0]) | _borders(cell[..., 1])] = GRID
        if folded is not None:
            y, x = np.indices(panel.shape)
            hatched = folded[rows.nearest[:, None], columns.nearest] & ((x + y) % 6 < 3)
            panel[hatched] = FOLD
        outline = _borders(labels[rows.nearest[:, None], columns.nearest])
        outline[1:] |= outline[:-1].copy()  # two pixels wide
        outline[:, 1:] |= outline[:, :-1].copy()
        panel[outline] = CONTOUR
        return panel

    def _sources(self, displacement: np.ndarray) -> np.ndarray:
        """Where each pixel of the screen comes from, (height, width, 2) in mm from the center, (x, y) last."""
        shape, spacing = self._slice.array.shape, self._slice.spacing
        y, x = ((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True))
        source = displacement + np.stack(np.meshgrid(x, y), axis=-1)
        rows, columns = self._sampling
        upper, lower = (
            source[r][:, columns.before] * (1 - columns.far[:, None])
            + source[r][:, columns.after] * columns.far[:, None]
            for r in (rows.before, rows.after)
        )
        return upper * (1 - rows.far[:, None, None]) + lower * rows.far[:, None, None]


class _Change(NamedTuple):
    """A slice after the change."""

    image: np.ndarray  # (height, width), normalized
    labels: np.ndarray  # (height, width) bool
    displacement: np.ndarray  # (height, width, 2) mm, (x, y) last
    determinant: np.ndarray  # (height, width)


def _borders(numbers: np.ndarray) -> np.ndarray:
    """Where a pixel differs from its neighbor to the right or below."""
    found = np.zeros(numbers.shape, bool)
    found[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    found[:-1] |= numbers[:-1] != numbers[1:]
    return found


def _palette() -> np.ndarray:
    """Colors, (256, 3) uint8, of the bytes of a picture."""
    grays = np.rint(np.arange(GRAYS) * (255 / (GRAYS - 1))).astype(np.uint8)
    return np.concatenate([np.repeat(grays[:, None], 3, axis=1), np.array(INKS, np.uint8)])
