"""No test touches the progress of whoever runs it."""

import pytest


@pytest.fixture(autouse=True)
def record_file(tmp_path, monkeypatch):
    path = tmp_path / "kept" / "progress.json"
    monkeypatch.setenv("LMLAB_PROGRESS", str(path))
    return path
