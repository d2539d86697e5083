"""Draws docs/overview.png, the picture of the README: the cache view as JupyterLab shows it. `make picture`."""

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.browser.lab import Page, cell, launched, server, write_notebook

with tempfile.TemporaryDirectory() as folder, launched() as browser:
    write_notebook(Path(folder, "overview.ipynb"), cell("lmlab.widgets.memory.CacheView"))
    with server(Path(folder)) as address, Page(browser, address, "overview.ipynb", height=1400, scale=2) as opened:
        opened.dress("JupyterLab Light")
        png = opened.view().screenshot()
        assert not opened.faults, opened.faults
# few colours, so that every later picture adds little to the repository
Image.open(io.BytesIO(png)).quantize(64).save(Path(__file__).with_name("overview.png"), optimize=True)
