"""What many tests need: the real scans, where they are at hand."""

import os
from pathlib import Path

import matplotlib as mpl
import pytest

mpl.use("agg")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real scans; tests that ask for it are skipped, visibly, where there is none."""
    folder = os.environ.get("MEDLEARN_TEST_DATA")
    if not folder:
        pytest.skip("MEDLEARN_TEST_DATA is not set: no real scans here")
    return Path(folder)
