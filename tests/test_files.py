"""Files written whole, destinations tried, readers with one sentence."""

import os
import time

import pytest

from course_lib.cards import card_of
from course_lib.data import emoji as emoji_data
from course_lib.errors import CourseError
from course_lib.files import FileError, check_destination, read_json, reading, written_whole


def names(folder) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")],
)
def test_what_the_disk_refuses_is_a_sentence_and_the_old_file_stays(tmp_path, error):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(FileError, match=f"x cannot be written .{error.strerror}") as caught:
        with written_whole(path) as part:
            part.write_text("half")
            raise error
    assert caught.value.__cause__ is error and "\n" not in str(caught.value)
    assert path.read_text() == "old" and names(tmp_path) == ["x"]


def test_a_programming_error_keeps_its_trace(tmp_path):
    for error in (TypeError("x"), KeyError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            with written_whole(tmp_path / "x"):
                raise error
    assert names(tmp_path) == []


def test_destinations_are_tried_and_nothing_is_left(tmp_path):
    (tmp_path / "file").touch()
    for name, says in (
        (".", "it is a folder"),
        ("file/x", "There is no folder .*file for x"),
        ("gone/x", "There is no folder .*gone for x: make it first"),
        ("x" * 300, "cannot be written"),
        ("a\0b", "is no name of a file"),
    ):
        with pytest.raises(FileError, match=says):
            check_destination(tmp_path / name)
    check_destination(tmp_path / "fresh")
    check_destination(tmp_path / "file")
    check_destination(tmp_path / "made" / "x", make=True)
    assert names(tmp_path) == ["file", "made"] and names(tmp_path / "made") == []
    with pytest.raises(FileError, match="cannot be written"):
        check_destination(tmp_path / "file" / "x", make=True)


def test_what_killed_writers_left_is_swept(tmp_path, monkeypatch):
    """Also beside names with a pattern's letters in them, and in the emoji's cache."""
    lefts = [tmp_path / f"{name}.7.part" for name in ("a[1].png", "raw.bin", "a1.png")]
    for left in lefts:
        left.touch()
        os.utime(left, (time.time() - 7200,) * 2)
    with written_whole(tmp_path / "a[1].png") as part:
        part.write_text("x")
    emoji_data._write_cache(tmp_path / "raw.bin", b"x")
    assert [left.exists() for left in lefts] == [False, False, True]


def test_json_of_another_kind_or_size(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    for data in (b"[]", b"3", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b""):
        path.write_bytes(data)
        with pytest.raises(FileError, match="x.json is damaged .*: mend it.") as caught:
            read_json(path, "mend it")
        assert "\n" not in str(caught.value)
    path.write_text('{"a": "far too long"}')
    with monkeypatch.context() as patch:
        patch.setattr("course_lib.files.MOST_JSON", 10)
        with pytest.raises(FileError, match="is damaged"):
            read_json(path, "mend it")
    for missing in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileError, match="cannot be read"):
            read_json(missing, "mend it")
    path.write_text("{}")
    with pytest.raises(CourseError, match="sha256 is not what it should be: mend it"):
        card_of(path, "mend it", CourseError)


def test_whatever_a_reader_raises():
    for error in (RecursionError(), OverflowError("x\ny"), EOFError(), MemoryError()):
        with pytest.raises(CourseError, match="f is broken .*: mend it") as caught:
            with reading("f", "is broken", "mend it", CourseError):
                raise error
        assert "\n" not in str(caught.value)
