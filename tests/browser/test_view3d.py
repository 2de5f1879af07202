"""The 3-D viewer in JupyterLab: it shows the volume and its mask, without a network."""

import cv2
import numpy as np
import pytest

WEBGL = True  # for the browser; see conftest.py
VIEW = """
from medlearn.phantom import prostate
from medlearn.widgets import view3d
case = prostate(7, shape=(16, 64, 64), spacing=(5.4, 2.5, 2.5))
view3d(case.image, case.mask)
"""


def test_niivue_shows_volume_and_mask(notebook):
    pytest.importorskip("ipyniivue", reason="ipyniivue is not installed")
    canvas = notebook(VIEW).locator(".jp-OutputArea-output canvas").first
    canvas.wait_for()
    for _ in range(40):  # software rendering takes its time
        picture = cv2.imdecode(np.frombuffer(canvas.screenshot(), np.uint8), cv2.IMREAD_COLOR).astype(int)
        colored = np.ptp(picture, axis=2) > 40
        gray = (np.ptp(picture, axis=2) < 10) & (picture[..., 0] > 60)
        if gray.mean() > 0.05 and colored.mean() > 0.002:
            break
        canvas.page.wait_for_timeout(250)
    assert gray.mean() > 0.05, "no volume is seen"
    assert colored.mean() > 0.002, "no mask is seen"
