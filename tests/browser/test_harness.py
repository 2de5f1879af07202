"""The harness itself: it notices what it promises to notice, and leaves nothing running."""

import psutil
from browser.server import run_notebook, running_lab


def test_a_request_to_another_machine_is_noticed(watched):
    page = watched.context.new_page()
    with page.expect_event("requestfailed"):
        page.set_content("<img src='http://images.example.org/a.png'>")
    found = watched.trouble[:]
    watched.trouble.clear()
    assert "request to http://images.example.org/a.png" in found
    page.close()


def test_errors_of_the_console_and_of_the_page_are_noticed(watched):
    page = watched.context.new_page()
    page.set_content("<p>Hello</p>")
    page.evaluate("() => { console.warn('only a warning'); console.error('wrong'); setTimeout(() => { nonsense() }) }")
    page.wait_for_timeout(200)
    found = watched.trouble[:]
    watched.trouble.clear()
    assert len(found) == 2, found
    assert "console: wrong" in "".join(found)
    assert "nonsense is not defined" in "".join(found)
    page.close()


def test_jupyterlab_ends_with_its_kernels(watched, tmp_path):
    page = watched.context.new_page()
    with running_lab(tmp_path) as lab:
        run_notebook(page, lab, ["import os; os.getpid()"])
        kernel = psutil.Process(int(page.locator(".jp-OutputArea-output").inner_text()))
        server = psutil.Process(lab.process.pid)
        assert kernel in server.children(recursive=True)
        page.goto("about:blank")  # so that nobody misses the server
    assert not server.is_running()
    assert not kernel.is_running()
    page.close()
