"""Every widget through every control, and what each shows, holds and refuses.

The sweep finds the widgets by itself: a class in `medlearn.widgets` needs no test of its own to be visited.
"""

import base64
import json
import socket
import sys
import threading
import zlib
from importlib.machinery import ModuleSpec
from types import ModuleType

import cv2
import numpy as np
import pytest

from medlearn import widgets
from medlearn.errors import GridMismatchError
from medlearn.volume import Volume
from medlearn.widgets import Interval, SliceExplorer, Widget, view3d, viewer3d

WIDGETS = [
    value
    for value in vars(widgets).values()
    if isinstance(value, type) and issubclass(value, Widget) and value is not Widget
]


def stops(allowed):
    """Minimum, middle and maximum of a range, or every option."""
    if isinstance(allowed, Interval):
        return [allowed.low, (allowed.low + allowed.high) / 2, allowed.high]
    if isinstance(allowed, range):
        return [allowed[0], allowed[len(allowed) // 2], allowed[-1]]
    return list(allowed)


def impossible(allowed):
    if isinstance(allowed, Interval):
        return allowed.high + 1
    return allowed[-1] + 1 if isinstance(allowed, range) else "no such option"


@pytest.fixture(scope="module", params=WIDGETS, ids=lambda cls: cls.__name__)
def example(request):
    return request.param.example()


def test_sweep(example):
    """Every stop of every control gives a picture, and every control changes the picture somewhere."""
    settings = [{}, *({n: v} for n, a in example.controls.items() if type(a) is tuple for v in a)]
    for name, allowed in example.controls.items():
        effect = False
        for setting in settings:
            pictures = [example.render(**{**setting, name: stop}) for stop in stops(allowed)]
            for picture in pictures:
                assert picture.dtype == np.uint8
                assert picture.ndim == 3
                assert picture.shape[2] == 3
            effect |= len({(p.shape, p.tobytes()) for p in pictures}) > 1
        assert effect, f"{name} changes nothing"


def test_sweep_is_pure(example):
    before, state = example.render(), example.get_state()
    assert np.ptp(before) > 0
    for name, allowed in example.controls.items():
        for stop in stops(allowed):
            example.render(**{name: stop})
    assert example.get_state() == state
    np.testing.assert_array_equal(example.render(), before)


def test_sweep_refuses_what_a_control_does_not_allow(example):
    for name, allowed in example.controls.items():
        with pytest.raises(ValueError, match=name):
            example.render(**{name: impossible(allowed)})
    with pytest.raises(ValueError, match="there is no control 'zoom'"):
        example.render(zoom=2)


def test_sweep_of_what_a_notebook_stores(example):
    data, _ = example._repr_mimebundle_()
    stored = cv2.imdecode(np.frombuffer(base64.b64decode(data["image/png"]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(stored[..., ::-1], example.render())
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "0x" not in data["text/plain"]


# ---- the slice explorer ----

SPACING = (3.0, 0.5, 0.75)


def make(array, spacing=SPACING, **kwargs):
    return Volume(array=array, spacing=spacing[-len(kwargs.get("axes", "zyx").strip("t")) :], **kwargs)


@pytest.fixture
def image():
    return make(np.random.default_rng(0).integers(-50, 900, (5, 40, 30), np.int16))


@pytest.fixture
def mask():
    array = np.zeros((5, 40, 30), np.uint8)
    array[1:4, 10:30, 8:20] = 1
    array[2, 5:35, 5:25] = 1
    return make(array)


@pytest.mark.parametrize(("axis", "mm"), [("z", (20, 22.5)), ("y", (15, 22.5)), ("x", (15, 20))])
def test_pixels_are_square_in_mm(image, axis, mm):
    picture = SliceExplorer(image, size=160).render(axis=axis)
    pixel = 0.5 / 3  # int(160 × 0.5 / 22.5) pixels for the finest edge of a voxel
    assert picture.shape[:2] == tuple(round(side / pixel) for side in mm)


def test_gray_values_are_those_of_the_window(image):
    explorer = SliceExplorer(make(image.array[:, :30, :], spacing=(1, 1, 1)), size=64)
    picture = explorer.render(z=3, level=400, width=500)
    zoom = picture.shape[0] // 30
    expected = np.rint(255 * np.clip((image.array[3, :30] - 150.0) / 500, 0, 1))
    np.testing.assert_allclose(picture[zoom // 2 :: zoom, zoom // 2 :: zoom, 1], expected, atol=1)


def test_the_head_is_at_the_top(image):
    array = np.zeros((5, 40, 30), np.int16)
    array[4] = 100
    picture = SliceExplorer(make(array)).render(axis="y", preset="full range")
    assert (picture[0] == 255).all()
    assert (picture[-1] == 0).all()


def test_overlays_differ_in_color_and_line_and_begin_where_they_are_largest(image, mask):
    zones = mask.map(lambda a: a * np.arange(1, 3).repeat(15).astype(np.uint8))  # left 1, right 2
    explorer = SliceExplorer(image, mask, zones, labels=["gland", "zone"])
    assert (explorer.z, explorer._scene["masks"]) == (2, (2, 1))
    looks = explorer._scene["overlays"]
    assert [look["name"] for look in looks] == ["gland", "zone 1", "zone 2"]
    assert len({tuple(look["color"]) for look in looks}) == len({look["style"] for look in looks}) == 3


def test_contour_lies_on_the_border_inside_the_mask(mask):
    dark = make(np.zeros((5, 40, 30), np.int16))
    explorer = SliceExplorer(dark, mask, size=160)  # 3 pixels per voxel downwards, 4.5 to the right
    picture = explorer.render(z=1)
    orange = (picture == (230, 159, 0)).all(-1)
    rows, columns = orange.any(1).nonzero()[0], orange.any(0).nonzero()[0]
    assert (rows[0], rows[-1]) == (30, 89)
    assert picture.shape[0] == 120
    assert (columns[0] - 8 * 4.5, columns[-1] - 20 * 4.5) == pytest.approx((0, -1), abs=0.5)
    filled = explorer.render(z=1, opacity=0.5)[60, 63]
    np.testing.assert_array_equal(filled, np.rint(0.5 * 0.2 * np.array([230, 159, 0])))
    assert not explorer.render(z=1, opacity=0.0).any()


def test_no_two_of_sixteen_overlays_look_alike():
    labels = make(np.arange(17, dtype=np.uint8).repeat(40).reshape(1, 17, 40))
    looks = SliceExplorer(make(np.zeros((1, 17, 40), np.uint8)), labels)._scene["overlays"]
    assert len({(tuple(look["color"]), look["style"]) for look in looks}) == 16
    more = make(np.arange(18, dtype=np.uint8).repeat(40).reshape(1, 18, 40))
    with pytest.raises(ValueError, match="at most 16 labels"):
        SliceExplorer(make(np.zeros((1, 18, 40), np.uint8)), more)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([True, False]), "uint8"),
        (np.array([-300, -45], np.int16), "uint8"),
        (np.array([-1024, 3071], np.int16), "uint16"),
        (np.array([2**40, 2**40 + 9]), "uint8"),
        (np.array([0, 255], np.uint8), "uint8"),
        (np.array([-32768, 32767], np.int16), "uint16"),
    ],
)
def test_whole_numbers_arrive_exactly(array, dtype):
    scene, voxels = arrived(make(array.reshape(1, 1, 2)))
    assert scene["exact"]
    assert scene["dtype"] == dtype
    np.testing.assert_array_equal((scene["offset"] + scene["scale"] * voxels).ravel(), array)


@pytest.mark.parametrize("array", [np.linspace(-1, 3, 64), np.linspace(-1e30, 1e30, 64), np.arange(64) * 10**6])
def test_other_numbers_arrive_in_65536_steps(array):
    scene, voxels = arrived(make(array.reshape(1, 8, 8)))
    assert not scene["exact"]
    step = np.ptp(array) / 65535
    np.testing.assert_allclose((scene["offset"] + scene["scale"] * voxels).ravel(), array, atol=0.51 * step)


def test_a_constant_volume_is_shown():
    assert (SliceExplorer(make(np.full((2, 3, 4), 7.5))).render() == 0).all()


def arrived(volume, *masks, **options):
    """Scene and voxels as the browser unpacks them."""
    explorer = SliceExplorer(volume, *masks, **options)
    scene = explorer._scene
    dtype = np.dtype(scene["dtype"]).newbyteorder("<")
    return scene, np.frombuffer(zlib.decompress(explorer._voxels), dtype).reshape(scene["shape"])


def test_max_bytes_reduces_in_the_plane_and_says_so():
    rng = np.random.default_rng(1)
    volume = make(rng.normal(100, 20, (4, 128, 129)), origin=(5, 6, 7))
    explorer = SliceExplorer(volume, volume.map(lambda a: a > 130), max_bytes=60_000)
    scene, (frames, depth, height, width) = explorer._scene, explorer._scene["shape"]
    block = scene["block"]
    assert scene["note"] == f"shown reduced: 8 bits, means of {block}×{block} pixels"
    assert (frames, depth, height, width) == (1, 4, 128 // block, 129 // block)
    assert stored_bytes(explorer) <= 60_000
    world = np.array(scene["affine"]) @ [1, 2, 3, 1]
    middle = (block - 1) / 2
    np.testing.assert_allclose(world[:3], volume.to_world((1, 2 * block + middle, 3 * block + middle)))
    exact = SliceExplorer(volume, max_bytes=10**7)
    assert (exact._scene["block"], exact._scene["note"]) == (1, "")


def stored_bytes(explorer):
    """Bytes of the widget's state in a notebook, where binary parts are base64."""
    state = {name: value for name, value in explorer.get_state().items() if not isinstance(value, bytes)}
    parts = [value for value in explorer.get_state().values() if isinstance(value, bytes)]
    return len(json.dumps(state, default=str)) + sum(len(base64.b64encode(part)) for part in parts)


def test_a_volume_that_does_not_fit_is_refused():
    volume = make(np.random.default_rng(1).normal(size=(40, 64, 64)))
    with pytest.raises(ValueError, match=r"max_bytes allows 20,000; cut out .* medlearn.crop"):
        SliceExplorer(volume, max_bytes=20_000)


def test_a_study_of_the_course_fits_the_book():
    from medlearn.phantom import prostate

    case = prostate(0)
    assert stored_bytes(SliceExplorer(case.image, case.mask, labels=["gland"], max_bytes=10**6)) <= 10**6


def test_time_and_pictures():
    movie = make(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5), axes="tzyx")
    moving = make((movie.array > 70).astype(np.uint8), axes="tzyx")
    explorer = SliceExplorer(movie, moving, make(moving.array[1]))
    assert explorer.controls["t"] == range(2)
    assert explorer._scene["masks"] == (2, 2)
    assert not np.array_equal(explorer.render(t=0), explorer.render(t=1))
    picture = SliceExplorer(make(np.eye(9), axes="yx"))
    assert not {"axis", "z", "t", "opacity"} & set(picture.controls)
    assert picture.render(preset="full range")[:37, :55].all()


def test_ct_has_the_windows_of_ct():
    volume = make(np.arange(-1000, 1000).reshape(1, 40, 50), meta={"modality": "CT"})
    explorer = SliceExplorer(volume)
    assert "lung" in explorer.controls["preset"]
    np.testing.assert_array_equal(explorer.render(preset="bone"), explorer.render(level=400, width=1800))


def test_sides_of_the_patient():
    half = np.sqrt(0.5)
    oblique = np.array([[-1, 0, 0], [0, half, -half], [0, -half, -half]])
    sides = SliceExplorer(make(np.zeros((2, 2, 2)), direction=oblique))._scene["sides"]
    assert sides[2] == ["L", "R"]
    assert {frozenset(end) for end in sides[1]} == {frozenset("AS"), frozenset("PI")}
    assert SliceExplorer(make(np.eye(3), axes="yx"))._scene["sides"] == []


def test_attributes_can_be_set_and_are_checked(image):
    explorer = SliceExplorer(image)
    explorer.z, explorer.axis = 4, "x"
    assert "x = 15" in repr(explorer)
    with pytest.raises(ValueError, match="z must be a whole number from 0 to 4; got 5"):
        explorer.z = 5
    with pytest.raises(ValueError, match="axis must be one of 'z', 'y', 'x'"):
        explorer.axis = "w"
    with pytest.raises(ValueError, match="opacity must be a number from 0 to 1; got 2"):
        explorer.opacity = 2
    assert explorer.z == 4


def test_errors_name_the_trouble(image, mask):
    with pytest.raises(ValueError, match="got 1 masks, 2 labels"):
        SliceExplorer(image, mask, labels=["a", "b"])
    with pytest.raises(GridMismatchError, match="volume and gland"):
        SliceExplorer(image, make(mask.array, origin=(9, 0, 0)), labels=["gland"])
    with pytest.raises(ValueError, match="gland must hold whole numbers"):
        SliceExplorer(image, mask.map(lambda a: a * 0.3), labels=["gland"])
    with pytest.raises(ValueError, match="axes zyx, tzyx, yx or tyx; got 'zyxc'"):
        SliceExplorer(Volume(array=np.zeros((2, 3, 4, 3)), spacing=(1, 1, 1), axes="zyxc"))
    with pytest.raises(ValueError, match="finite numbers"):
        SliceExplorer(make(np.full((2, 3, 4), np.nan)))
    with pytest.raises(ValueError, match="size must be a whole number from 64 to 1024; got 10"):
        SliceExplorer(image, size=10)
    with pytest.raises(TypeError, match="volume must be a Volume; got ndarray"):
        SliceExplorer(image.array)
    with pytest.raises(TypeError, match="gland must be a Volume; got ndarray"):
        SliceExplorer(image, mask.array, labels=["gland"])
    moving = make(np.zeros((3, 5, 40, 30), np.uint8), axes="tzyx")
    with pytest.raises(ValueError, match="must have axes zyx"):
        SliceExplorer(image, moving)
    with pytest.raises(ValueError, match="must have one time point, or 2"):
        SliceExplorer(make(np.zeros((2, 5, 40, 30)), axes="tzyx"), moving)


# ---- the viewers in three dimensions ----


def test_nifti_bytes_keep_geometry_and_voxels(image):
    nibabel = pytest.importorskip("nibabel")
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    volume = make(image.array, origin=(1, 2, 3), direction=turn)
    read = nibabel.Nifti1Image.from_bytes(viewer3d.nifti_bytes(volume))
    np.testing.assert_array_equal(np.asarray(read.dataobj), volume.array.transpose(2, 1, 0))
    ras = read.affine @ [7, 20, 3, 1]  # index (x, y, z)
    np.testing.assert_allclose(ras[:3] * (-1, -1, 1), volume.to_world((3, 20, 7)), atol=1e-5)
    for dtype, stored in ((bool, "uint8"), (np.int64, "float32"), (np.float16, "float32")):
        read = nibabel.Nifti1Image.from_bytes(viewer3d.nifti_bytes(volume.map(np.ndarray.astype, dtype)))
        assert read.get_data_dtype().name == stored


def test_niivue_gets_volume_and_mask(image, mask):
    pytest.importorskip("ipyniivue", reason="ipyniivue is not installed")
    viewer = view3d(image, mask)
    assert [volume.name for volume in viewer.volumes] == ["volume.nii", "mask.nii"]
    assert len(view3d(image).volumes) == 1


def test_view3d_refuses(image, mask, monkeypatch):
    with pytest.raises(ValueError, match="backend must be one of 'ipyniivue', 'itkwidgets'"):
        view3d(image, backend="vtk")
    with pytest.raises(ValueError, match="choose one time point"):
        view3d(make(np.zeros((2, 3, 4, 5)), axes="tzyx"))
    with pytest.raises(GridMismatchError):
        view3d(image, make(mask.array, origin=(9, 0, 0)))
    monkeypatch.setattr(viewer3d, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "medlearn\[lab\]"'):
        view3d(image)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "medlearn\[itkwidgets\]"'):
        view3d(image, backend="itkwidgets")


def test_itkwidgets_is_not_imported_where_its_servers_are_silent(image, tmp_path, monkeypatch):
    package = tmp_path / "itkwidgets"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "viewer_config.py").write_text('SRC = "https://viewer.invalid/app/"')
    (tmp_path / "ngff_zarr.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(viewer3d, "reachable", lambda host: host != "viewer.invalid")
    with pytest.raises(ConnectionError, match=r"cdn.jsdelivr.net, viewer.invalid, and viewer.invalid did not answer"):
        view3d(image, backend="itkwidgets")
    assert "itkwidgets" not in sys.modules


def test_itkwidgets_gets_spacing_and_mask_where_they_answer(image, mask, tmp_path, monkeypatch):
    itkwidgets, ngff_zarr = ModuleType("itkwidgets"), ModuleType("ngff_zarr")
    itkwidgets.view = lambda **images: images
    ngff_zarr.to_ngff_image = lambda array, **geometry: (array, geometry)
    package = tmp_path / "itkwidgets.py"
    package.write_text("")
    for module in (itkwidgets, ngff_zarr):
        module.__spec__ = ModuleSpec(module.__name__, None, origin=str(package))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(viewer3d, "reachable", lambda host: True)
    shown = view3d(image, mask, backend="itkwidgets")
    assert set(shown) == {"image", "label_image"}
    array, geometry = shown["image"]
    assert array is image.array
    assert geometry["scale"] == {"z": 3.0, "y": 0.5, "x": 0.75}
    assert geometry["translation"] == {"x": 0.0, "y": 0.0, "z": 0.0}


def test_reachable_answers_in_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert viewer3d.reachable("127.0.0.1", server.getsockname()[1])
        port = server.getsockname()[1]
    assert not viewer3d.reachable("127.0.0.1", port)  # closed
    release = threading.Event()

    def no_name_server(*args, **kwargs):
        release.wait(5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", no_name_server)
    assert not viewer3d.reachable("example.invalid", seconds=0.1)
    release.set()
