import pytest

from lmlab import paths
from tests.repository import ROOT


def test_a_checkout_reads_its_own_data():
    assert paths.data_path() == ROOT / "data"
    assert paths.data_path("facts.csv").read_text(encoding="utf-8").startswith("model,field,value")


def test_a_missing_file_is_named_with_what_is_there():
    with pytest.raises(FileNotFoundError, match=r"no checkpoints/nothing; .*data.* holds"):
        paths.data_path("checkpoints", "nothing")
    with pytest.raises(FileNotFoundError, match=r"no facts.csv/inside; .*facts.csv holds a file"):
        paths.data_path("facts.csv", "inside")


def test_the_installed_place_comes_first(tmp_path, monkeypatch):
    places = (tmp_path / "lmlab" / "_data", tmp_path / "data")
    monkeypatch.setattr(paths, "_PLACES", places)
    with pytest.raises(FileNotFoundError, match="reinstall lmlab"):
        paths.data_path()
    for place in reversed(places):
        place.mkdir(parents=True)
        assert paths.data_path() == place
