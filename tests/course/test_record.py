"""Progress stays on the reader's machine: kept across runs, never half written, and no reason for a check to fail."""

import json
import os

import pytest

from lmlab.course import check, progress
from lmlab.course.catalogue import exercise
from lmlab.course.record import note_guess, note_try, place, read

ANSWER = exercise("05.5").solution


def test_the_environment_says_where(record_file, monkeypatch):
    assert place() == record_file
    monkeypatch.delenv("LMLAB_PROGRESS")
    assert place().name == "progress.json" and place().parent.name == "lmlab"


def test_tries_are_counted_until_the_first_right_one(record_file):
    check("05.5", lambda *a: 1)
    check("05.5", ...)
    check("05.5", ANSWER)
    first = read()["exercises"]["05.5"]
    assert first["tries"] == 2 and first["right"]
    check("05.5", lambda *a: 1)
    assert read()["exercises"]["05.5"] == first
    assert sorted(path.name for path in record_file.parent.iterdir()) == ["progress.json"]


def test_the_first_guess_stays():
    note_guess("05.0", "8.2 GB", False)
    note_guess("05.0", "9.2 GB", True)
    assert read()["predictions"]["05.0"]["guess"] == "8.2 GB"


def test_progress_lists_everything():
    note_try("03.1", True)
    note_try("03.2", False)
    note_guess("03.0", "none", False)
    table = progress()
    assert list(table.index) == sorted(table.index) and {"03.0", "03.6", "05.0", "05.6"} <= set(table.index)
    assert table.loc["03.1", "state"] == "right" and table.loc["03.2", "state"] == "tried"
    assert list(progress("03").index) == [f"03.{i}" for i in range(7)]
    assert table.loc["03.0", "state"] == "guessed none" and table.loc["05.6", "state"] == "open"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"exercises": {"05.5": {"tries": "x", "right": null}}, "predictions": {}}',
        '{"exercises": 1, "predictions": {}}',
        '{"exercises": {"03.1": 4}}',
        "",
    ],
)
def test_a_broken_file_is_put_aside(record_file, text):
    record_file.parent.mkdir()
    record_file.write_text(text)
    assert check("05.5", ANSWER).right is True
    assert json.loads(record_file.read_text())["exercises"]["05.5"]["tries"] == 1
    assert record_file.with_suffix(".broken").read_text() == text


def test_a_place_that_cannot_be_written_is_said_and_no_more(record_file):
    record_file.parent.write_text("a file where the folder should be")
    verdict = check("05.5", ANSWER)
    assert verdict.right is True and "Your progress could not be kept" in str(verdict)


def test_a_full_disk_leaves_what_was_there(record_file, monkeypatch):
    check("05.5", ANSWER)
    before = record_file.read_text()

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert "No space left" in str(check("05.4", exercise("05.4").solution))
    assert record_file.read_text() == before
