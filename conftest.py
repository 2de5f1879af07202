"""How pytest runs the notebooks of the course (nbval), and what it must not collect.

nbval sends every code cell of a notebook to a kernel and compares the text it prints with the text that is stored.
Two of its habits differ from JupyterLab's and from those of the build, so that a correct notebook would fail:

* it runs cells without history, and IPython then ignores the ``;`` at the end of a cell that hides its value;
* it takes for the cell's own output what an ``Output`` widget caught, which JupyterLab keeps inside the widget. (That
  is where ``interact`` prints.) Errors are still reported: nbclient overlooks them there, nbval must not.
"""

import tempfile

import pytest

collect_ignore = ["work"]  # copies of the notebooks that a student has changed

try:
    import nbval.plugin
    from nbval.kernel import RunningKernel
    from nbval.plugin import IPyNbFile
except ImportError:  # without the extra [test] there is no --nbval either
    RunningKernel = IPyNbFile = None


def pytest_configure(config):
    """Let the kernels run as the build's do: one thread, and an IPython profile without the user's start-up files."""
    if getattr(config.option, "nbval", False):
        profile = tempfile.TemporaryDirectory(prefix="ipython-")
        patch = pytest.MonkeyPatch()
        patch.setenv("IPYTHONDIR", profile.name)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MKL_NUM_THREADS", "1")
        patch.setattr(RunningKernel, "execute_cell_input", execute_with_history)
        patch.setattr(IPyNbFile, "get_kernel_message", next_message_of_the_cell)
        # With --cov nbval starts coverage in the kernel and waits a minute for an answer that does not come; kernels
        # are measured anyway, as all our child processes are.
        patch.setattr(nbval.plugin, "setup_coverage", lambda *args: None)
        patch.setattr(nbval.plugin, "teardown_coverage", lambda *args: None)
        config.add_cleanup(patch.undo)
        config.add_cleanup(profile.cleanup)


def execute_with_history(self, cell_input, allow_stdin=None):
    """``RunningKernel.execute_cell_input`` as JupyterLab does it: with history."""
    return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)


def next_message_of_the_cell(self, timeout=None, stream="iopub"):
    """``IPyNbFile.get_kernel_message`` without what an Output widget has caught.

    A widget that catches output announces it by setting its state `msg_id` to the id of the running cell's message,
    and to the empty string when it stops.
    """
    catching = self.__dict__.setdefault("catching", {})  # widget → id of the message whose output it catches
    while True:
        message = self.kernel.get_message(stream, timeout=timeout)
        content = message["content"]
        if message["msg_type"].startswith("comm") and "msg_id" in content.get("data", {}).get("state", {}):
            catching[content["comm_id"]] = content["data"]["state"]["msg_id"]
        caught = message["parent_header"].get("msg_id") in catching.values()
        if not (caught and message["msg_type"] in ("stream", "display_data", "execute_result", "clear_output")):
            return message
