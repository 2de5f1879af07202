"""A volume in three dimensions, shown by a viewer of others: ipyniivue, or itkwidgets where somebody asks for it."""

import re
import socket
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import check_choice
from ..volume import Volume, as_labels

if TYPE_CHECKING:
    from ipyniivue import NiiVue

PROBE_SECONDS = 3.0
_NIFTI_TYPES = ("uint8", "int16", "int32", "float32", "float64", "uint16")


def view3d(volume: Volume, mask: Volume | None = None, *, backend: str = "ipyniivue") -> Any:
    """Show a volume as three orthogonal slices and in three dimensions, with a mask on top.

    Parameters
    ----------
    volume : Volume
        With axes zyx.
    mask : Volume, optional
        Labels on the same grid, 0 is background.
    backend : {"ipyniivue", "itkwidgets"}
        ``"ipyniivue"`` brings its code along and works without a network. ``"itkwidgets"`` loads its viewer from other
        servers each time; without them it would stay empty and stop the kernel from answering, so they are tried
        first, for a few seconds. It gets spacing and origin, but no direction: an oblique volume is shown upright.
        ``medlearn lab`` disables its extension of JupyterLab; for this viewer, enable it once:
        ``jupyter labextension enable imjoy-jupyterlab-extension``.

    Returns
    -------
    A widget of the chosen package, to be shown by the notebook.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed; the message says how to install it.
    ConnectionError
        If itkwidgets' viewer cannot be reached.
    GridMismatchError, ValueError
        If the mask does not fit the volume, or the volume has other axes.
    """
    check_choice("backend", backend, ("ipyniivue", "itkwidgets"))
    if volume.axes != "zyx":
        raise ValueError(f"volume must have axes zyx; got {volume.axes!r} (choose one time point, or one component)")
    if mask is not None:
        volume.check_same_grid(mask, "volume and mask")
        mask = mask.map(as_labels)
    return _niivue(volume, mask) if backend == "ipyniivue" else _itkwidgets(volume, mask)


def nifti_bytes(volume: Volume) -> bytes:
    """Bytes of a NIfTI file, not compressed, of a volume with axes zyx."""
    from nibabel import Nifti1Image

    array = volume.array
    if array.dtype.name not in _NIFTI_TYPES:  # viewers know few types, and 64-bit whole numbers least of all
        array = array.astype(np.uint8 if array.dtype == bool else np.float32)
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine[:, [2, 1, 0, 3]]  # from LPS to NIfTI's RAS, from zyx to xyz
    return Nifti1Image(array.transpose(2, 1, 0), affine).to_bytes()


def _niivue(volume: Volume, mask: Volume | None) -> "NiiVue":
    _require(("ipyniivue", "nibabel"), "lab")
    from ipyniivue import NiiVue, SliceType

    volumes = [{"name": "volume.nii", "data": nifti_bytes(volume), "colormap": "gray"}]
    if mask is not None:
        volumes.append({"name": "mask.nii", "data": nifti_bytes(mask), "colormap": "warm", "opacity": 0.4})
    viewer = NiiVue(slice_type=SliceType.MULTIPLANAR)
    viewer.load_volumes(volumes)
    return viewer


def _itkwidgets(volume: Volume, mask: Volume | None) -> Any:
    _require(("itkwidgets", "ngff_zarr"), "itkwidgets")
    hosts = _viewer_hosts()
    if silent := [host for host in hosts if not reachable(host)]:
        raise ConnectionError(
            f"itkwidgets loads its viewer from {', '.join(hosts)}, and {', '.join(silent)} did not answer within "
            f'{PROBE_SECONDS:g} s; backend="ipyniivue" needs no network'
        )
    from itkwidgets import view  # only now: without its servers, every later cell of the kernel would hang
    from ngff_zarr import to_ngff_image

    def image(shown: Volume, name: str):
        scale = dict(zip("zyx", shown.spacing, strict=True))
        translation = dict(zip("xyz", shown.origin, strict=True))
        return to_ngff_image(shown.array, dims=["z", "y", "x"], scale=scale, translation=translation, name=name)

    masks = {} if mask is None else {"label_image": image(mask, "mask")}
    return view(image=image(volume, "volume"), **masks)


def _require(modules: tuple[str, ...], extra: str) -> None:
    if missing := [module for module in modules if find_spec(module) is None]:
        raise ModuleNotFoundError(
            f'{", ".join(missing)} is not installed; this viewer needs: pip install "medlearn[{extra}]"'
        )


def _viewer_hosts() -> list[str]:
    """Servers that the installed itkwidgets names, read from its files without importing it."""
    folder = Path(find_spec("itkwidgets").origin).parent
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("viewer*.py"))]
    found = {host for text in texts for host in re.findall(r"https://([\w.-]+)/", text)}
    return sorted(found | {"cdn.jsdelivr.net"})


def reachable(host: str, port: int = 443, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a server takes a connection within `seconds`.

    The attempt runs in a thread of its own, because looking up a name knows no time limit.
    """
    answered = threading.Event()

    def attempt():
        try:
            with socket.create_connection((host, port), timeout=seconds):
                answered.set()
        except OSError:
            pass

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()
