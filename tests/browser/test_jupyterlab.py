"""The viewer in a real JupyterLab: what is left of it in a notebook that nobody trusts, and what a run gives."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from minattn.plots import AttentionView

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
CELL = """import numpy as np
from minattn.plots import AttentionView
AttentionView(np.eye(3)[None].repeat(2, axis=0), ["one", "two", "three"], title="as run")"""


def notebook(html):
    """A notebook of one cell, whose output was stored by somebody else."""
    output = {"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}
    cell = {"cell_type": "code", "id": "view", "metadata": {}, "execution_count": None, "source": CELL}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells, metadata = [cell | {"outputs": [output]}], {"kernelspec": kernel}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells})


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that knows nobody, with view.ipynb in its folder."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: make browser")
    home = tmp_path_factory.mktemp("lab")
    view = AttentionView(np.eye(3)[None].repeat(2, axis=0), ["one", "two", "three"], title="as stored")
    (home / "view.ipynb").write_text(notebook(view._repr_html_()), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={home}"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(address, server, home / "log")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def wait(address, server, log):
    """Until it answers."""
    for _ in range(120):
        assert server.poll() is None, log.read_text(encoding="utf-8")
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text(encoding="utf-8"))


def test_untrusted_and_after_running(lab, browser):
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(f"{lab}/lab/tree/view.ipynb")
    output = page.locator(".jp-OutputArea-output")
    output.locator("table").first.wait_for(timeout=60_000)
    # nobody has trusted it: no script and no style, and yet a table in colours, a picture, the strongest pairs
    assert output.locator("script, style, svg, iframe, select").count() == 0
    assert "as stored" in output.inner_text()
    assert output.locator("th[scope=row]").count() == output.locator("th[scope=col]").count() == 3
    yellow = output.locator('td[title="1"]').first.evaluate("cell => getComputedStyle(cell).backgroundColor")
    assert yellow == "rgb(254, 232, 56)"  # a weight of 1, as its inline style says
    assert output.locator("img").first.evaluate("picture => picture.naturalWidth > 0")
    assert output.locator("details").count() >= 1
    # run: the script is alive. Nothing is run before the kernel is there, so it is asked again and again
    for _ in range(24):
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_timeout(2500)
        if output.locator("select").count():
            break
    output.locator("select").first.wait_for(timeout=10_000)
    assert "as run" in output.inner_text() and "as stored" not in output.inner_text()
    page.close()
