"""The browser harness: JupyterLab, started by the tests, seen through Debian's Chromium, which Playwright drives.

A test asks for ``notebook`` and gets a page on which its cells have run, or for ``static_page`` and gets widgets on a
page without a kernel. Whatever a test does, a request to anywhere but this machine fails it, and so does an error in
the browser's console. Where the browser or Playwright is missing, these tests are skipped and say so.
"""

import functools
import http.server
import json
import re
import shutil
import subprocess
import tarfile
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from browser.server import run_notebook, running_lab

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # nothing leaves this machine
]
# A graphics card made of software: WebGL needs it, but it takes tens of ms to bring each frame to the screen.
WITH_WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WITHOUT_WEBGL = ["--disable-gpu"]
LOCAL = {"localhost", "127.0.0.1", "::1"}
ALLOWED_CONSOLE_ERRORS = {}  # pattern: reason


@pytest.fixture(scope="module")
def chromium(request):
    """A running browser, with WebGL where the module says ``WEBGL = True``.

    Playwright occupies the thread's event loop, so it stays for one module only.
    """
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: no browser tests")
    if not CHROMIUM.exists():
        pytest.skip(f"there is no {CHROMIUM}: no browser tests")
    with api.sync_playwright() as driver:
        flags = FLAGS + (WITH_WEBGL if getattr(request.module, "WEBGL", False) else WITHOUT_WEBGL)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


class Watched(NamedTuple):
    """A window of the browser, and what went wrong in it."""

    context: object
    trouble: list[str]


@pytest.fixture(scope="module")
def watched(chromium):
    """One browser context per module; `no_trouble` reads what its pages report."""
    context = chromium.new_context(viewport={"width": 1000, "height": 1300})
    context.set_default_timeout(20_000)
    trouble = []

    def on_address(address):
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in LOCAL:
            trouble.append(f"request to {address}")

    def on_console(message):
        if message.type == "error" and not any(re.search(p, message.text) for p in ALLOWED_CONSOLE_ERRORS):
            trouble.append(f"console: {message.text} ({message.location})")

    context.on("request", lambda request: on_address(request.url))
    context.on("page", lambda page: page.on("websocket", lambda ws: on_address(ws.url)))
    context.on("console", on_console)
    context.on("weberror", lambda error: trouble.append(f"page: {error.error}"))
    yield Watched(context, trouble)
    context.close()


@pytest.fixture(autouse=True)
def no_trouble(watched):
    """Fail the test that reached for the network or wrote an error to the console."""
    yield
    found = watched.trouble[:]
    watched.trouble.clear()
    assert not found, "\n".join(found)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab on a free port, with nothing of the user's settings, and gone with all its kernels afterwards."""
    pytest.importorskip("jupyterlab")
    with running_lab(tmp_path_factory.mktemp("jupyterlab")) as server:
        yield server


@pytest.fixture(scope="module")
def notebook(watched, lab):
    """Open a notebook with the given cells in JupyterLab, run them all, and return the page when they are done."""
    pages = []

    def run(*cells: str):
        pages.append(watched.context.new_page())
        run_notebook(pages[-1], lab, cells)
        return pages[-1]

    yield run
    for page in pages:
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        page.close()


@pytest.fixture(scope="session")
def html_manager(tmp_path_factory):
    """Folder with what shows widgets on a page without a kernel: require.js, the widget manager and anywidget."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: no test of pages without a kernel")
    folder = tmp_path_factory.mktemp("npm")
    packages = ["requirejs@2.3.7", "@jupyter-widgets/html-manager@1.0.14"]
    packed = subprocess.run(
        ["npm", "pack", "--silent", *packages], cwd=folder, capture_output=True, text=True, timeout=120
    )
    if packed.returncode:
        pytest.skip(f"npm could not get {' and '.join(packages)}: no test of pages without a kernel\n{packed.stderr}")
    wanted = {"requirejs": "package/require.js", "jupyter-widgets": "package/dist/embed-amd.js"}
    for archive in folder.glob("*.tgz"):
        name = next(path for start, path in wanted.items() if archive.name.startswith(start))
        with tarfile.open(archive) as files:
            (folder / Path(name).name).write_bytes(files.extractfile(name).read())
    import anywidget

    shutil.copy(Path(anywidget.__file__).parent / "nbextension/index.js", folder / "anywidget.js")
    return folder


@pytest.fixture(scope="module")
def static_page(watched, html_manager, tmp_path_factory):
    """Open a page that shows widgets without a kernel and without a network."""
    folder = tmp_path_factory.mktemp("static")
    for script in html_manager.glob("*.js"):
        shutil.copy(script, folder)
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def show(*widgets):
        from ipywidgets.embed import dependency_state, embed_data, escape_script

        # All of the state: an anywidget's own code is the default of its trait, and would be left out.
        state = dependency_state(list(widgets), drop_defaults=False)
        data = embed_data(views=list(widgets), drop_defaults=False, state=state)
        views = "".join(
            f'<script type="application/vnd.jupyter.widget-view+json">{json.dumps(view)}</script>'
            for view in data["view_specs"]
        )
        (folder / "index.html").write_text(
            "<!DOCTYPE html><meta charset='utf-8'><link rel='icon' href='data:,'><script src='require.js'></script>"
            "<script>require.config({paths: {anywidget: './anywidget'}})</script><script src='embed-amd.js'></script>"
            "<body><script type='application/vnd.jupyter.widget-state+json'>"
            f"{escape_script(json.dumps(data['manager_state']))}</script>{views}",
            encoding="utf-8",
        )
        page = watched.context.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        return page

    yield show
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, *args):
        """Say nothing."""


def pixels(canvas) -> np.ndarray:
    """What a canvas shows, (height, width, 3) uint8."""
    address = canvas.evaluate("canvas => canvas.toDataURL('image/png')")
    with urllib.request.urlopen(address) as response:
        data = np.frombuffer(response.read(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.fixture(name="pixels", scope="session")
def pixels_fixture():
    """`pixels`, the function."""
    return pixels
