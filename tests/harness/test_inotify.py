"""The watch on a directory that tests use to prove that nothing was written."""

from .inotify import DirectoryWatch


def test_tells_what_was_made_and_what_was_written(tmp_path):
    (tmp_path / "old").write_text("1")
    with DirectoryWatch(tmp_path) as watch:
        assert watch.made() == set() and watch.written() == set()
        (tmp_path / "old").write_text("2")
        (tmp_path / "directory").mkdir()
        assert watch.written() == {"old"}
        assert watch.made() == {"directory"}
