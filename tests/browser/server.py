"""JupyterLab as a process of the tests: started, used and ended, with everything that it starts itself."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil

KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"  # of the notebook on the page
PATIENCE = {"timeout": 60_000}  # ms


class Lab(NamedTuple):
    """A running JupyterLab: its address, the folder of its notebooks, its process."""

    url: str
    folder: Path
    process: subprocess.Popen


@contextmanager
def running_lab(home: Path) -> Iterator[Lab]:
    """JupyterLab on a free port, with all its folders in `home`; it and its kernels are gone afterwards."""
    process = _start(home)
    try:
        yield Lab(_wait(process, home), home / "notebooks", process)
    finally:
        _stop(process)


def run_notebook(page, lab: Lab, cells: Sequence[str]) -> None:
    """Open a new notebook with these cells on `page`, run them, and wait until they are done.

    Raises
    ------
    AssertionError
        If a cell ends in an error, or writes to stderr.
    """
    path = lab.folder / f"notebook-{len(list(lab.folder.iterdir()))}.ipynb"
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(content, path)
    page.goto(f"{lab.url}doc/tree/{path.name}")
    # Cells that run before the kernel is there make JupyterLab ask which kernel to take.
    page.wait_for_function(
        f"() => {KERNEL}?.connectionStatus === 'connected' && {KERNEL}.status === 'idle'", **PATIENCE
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }")  # waits for nothing
    done = "n => [...document.querySelectorAll('.jp-InputPrompt')].filter(p => /\\d/.test(p.innerText)).length === n"
    page.wait_for_function(done, arg=len(cells), **PATIENCE)
    page.wait_for_function(f"() => {KERNEL}.status === 'idle'", **PATIENCE)
    errors = page.locator("[data-mime-type='application/vnd.jupyter.error'], [data-mime-type$='stderr']")
    assert errors.count() == 0, errors.all_inner_texts()


def _start(home: Path) -> subprocess.Popen:
    """Start JupyterLab with all its folders in `home`."""
    for name in ("notebooks", "runtime", "config/labconfig"):
        (home / name).mkdir(parents=True)
    # The question about news would cover the page, and asks the network.
    page_config = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (home / "config/labconfig/page_config.json").write_text(json.dumps(page_config))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    environment = os.environ | {name: str(home / folder) for name, folder in places.items()}
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={_free_port()}"),
        *("--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True"),
        *("--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", f"--notebook-dir={home / 'notebooks'}"),
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if shutil.which("setpriv"):  # JupyterLab ends with the tests even where somebody kills them
        command = ["setpriv", "--pdeathsig", "TERM", *command]
    with open(home / "log.txt", "wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _free_port() -> int:
    """Return a port that nobody uses at the moment; JupyterLab takes a later one if somebody is faster."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(server: subprocess.Popen, home: Path, seconds: float = 60) -> str:
    """Address of the server, as soon as it answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        for path in (home / "runtime").glob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text())["url"]
                with urllib.request.urlopen(f"{url}api/status", timeout=5):
                    return url
            except (OSError, ValueError):  # not written to its end, or not listening yet
                pass
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{(home / 'log.txt').read_text()}")


def _stop(server: subprocess.Popen) -> None:
    """End a server and every process that it started."""
    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.send_signal(signal.SIGTERM)  # it then shuts its kernels down
    try:
        server.wait(timeout=15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=5)
