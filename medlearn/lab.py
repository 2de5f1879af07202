"""``medlearn lab``: the course in JupyterLab, on copies of the notebooks."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = Path(__file__).parent
# An installed package carries the notebooks; a checkout has them beside it.
_SOURCES = (_PACKAGE / "_notebooks", _PACKAGE.parent / "notebooks")
# The first would cover the page with a question about news; the second comes with itkwidgets. Both ask other servers.
_NETWORK_EXTENSIONS = ("@jupyterlab/apputils-extension:announcements", "imjoy-jupyterlab-extension")


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks that `folder` does not have yet, so that a student's own changes stay; return the new files.

    Raises
    ------
    FileNotFoundError
        If the notebooks of the course are not installed.
    """
    source = next((path for path in _SOURCES if path.is_dir()), None)
    if source is None:
        raise FileNotFoundError("the notebooks of the course are not installed with this package")
    new = []
    for notebook in sorted(source.rglob("*.ipynb")):
        target = folder / notebook.relative_to(source)
        if not target.exists() and ".ipynb_checkpoints" not in notebook.parts:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notebook, target)
            new.append(target)
    return new


def disable_network_extensions(page_config: Path = Path(sys.prefix, "etc/jupyter/labconfig/page_config.json")) -> None:
    """Disable the extensions of JupyterLab that ask other servers, but none that somebody enabled on purpose."""
    known = json.loads(page_config.read_text(encoding="utf-8")) if page_config.exists() else {}
    new = [name for name in _NETWORK_EXTENSIONS if name not in known.get("disabledExtensions", {})]
    if new:
        command = [sys.executable, "-m", "jupyter", "labextension", "disable", *new]
        subprocess.run(command, check=False, capture_output=True)


def open_lab(folder: Path, arguments: list[str]) -> int:
    """Open JupyterLab in `folder`, filled by `copy_notebooks`; on Windows, return its exit status."""
    if find_spec("jupyterlab") is None:
        raise FileNotFoundError('JupyterLab is not installed: pip install "medlearn[lab]"')
    new = copy_notebooks(folder)
    print(f"{folder}: {len(new)} new notebook(s)")
    disable_network_extensions()
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={folder}", *arguments]
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(sys.executable, command)  # so that whoever stops this process stops JupyterLab
    return subprocess.run(command).returncode
