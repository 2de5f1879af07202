"""``medlearn doctor``: what this machine has, and what to do about what it lacks."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "SimpleITK", "numpy", "scipy", "matplotlib", "opencv-python", "scikit-image")
_LAB = ("jupyterlab", "ipywidgets", "jupyterlab_widgets")
_GIB = 2**30

# Imported in a child process: two OpenMP runtimes in one environment can end a Python process without a word.
_PROBE = """
import json, os, torch, SimpleITK, matplotlib, cv2, skimage
cuda = torch.cuda.is_available()
print(json.dumps({
    "cuda": torch.cuda.get_device_name() if cuda else None,
    "gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else 0,
    "mps": torch.backends.mps.is_available(),
    "threads": torch.get_num_threads(),
    "capability": torch.backends.cpu.get_cpu_capability(),
}))
"""


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `remedy` is empty where all is well."""

    topic: str
    text: str
    remedy: str = ""

    def __str__(self):
        line = f"{'!!' if self.remedy else 'ok'}  {self.topic:12} {self.text}"
        return f"{line}\n    {'':12} → {self.remedy}" if self.remedy else line


def examine(folder: Path = Path()) -> list[Finding]:
    """Look at versions, accelerator, widgets, memory, the disk of `folder`, and the built-in data."""
    return [
        _python(),
        *(_package(name, "pip install medlearn") for name in _PACKAGES),
        *(_package(name, 'pip install "medlearn[lab]"') for name in _LAB),
        *_torch(),
        *_memory(),
        _disk(folder),
        _built_in_data(),
    ]


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    remedy = "medlearn needs Python 3.11 or newer" if sys.version_info < (3, 11) else ""
    return Finding("python", text, remedy)


def _package(name: str, remedy: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed", remedy)


def _torch() -> list[Finding]:
    probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=300)
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
        remedy = "install everything with one installer (pip or conda, not both) in a new environment"
        return [Finding("imports", f"the libraries cannot be imported together: {reason}", remedy)]
    facts = json.loads(probe.stdout.splitlines()[-1])
    if facts["cuda"]:
        accelerator = f"{facts['cuda']}, {facts['gib']:.0f} GiB"
    elif facts["mps"]:
        accelerator = "Apple GPU (MPS)"
    else:
        accelerator = "none; training runs on the CPU, which is enough for every notebook"
    return [
        Finding("accelerator", accelerator),
        Finding("cpu", f"{os.cpu_count()} cores, {facts['threads']} threads, {facts['capability']}"),
    ]


def _memory() -> list[Finding]:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return []
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    remedy = "close other programs; a notebook with training needs up to 2 GiB" if gib < 3.5 else ""
    return [Finding("memory", f"{gib:.1f} GiB", remedy)]


def _disk(folder: Path) -> Finding:
    gib = shutil.disk_usage(folder).free / _GIB
    return Finding("disk", f"{gib:.1f} GiB free in {folder.resolve()}", "make room: 1 GiB at least" if gib < 1 else "")


def _built_in_data() -> Finding:
    from . import phantom

    start = time.perf_counter()
    try:
        image = phantom.prostate(0).image
    except Exception as error:  # whatever it is, the student should read it here
        return Finding("data", f"the built-in phantom fails: {error!r}", "reinstall medlearn")
    return Finding("data", f"built-in phantom {image!r}, made in {time.perf_counter() - start:.1f} s")
