"""What is written completely or not at all can be read by whom the umask lets read."""

import os

import pytest

from regmix_pipeline.files import folder_written_atomically, written_atomically


def private(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_of_libraries_that_write_for_one_user(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with folder_written_atomically(tmp_path / "folder") as folder:
            private(folder / "weights")
        with written_atomically(tmp_path / "file") as file:
            private(file)
    finally:
        os.umask(before)
    for path in (tmp_path / "folder" / "weights", tmp_path / "file"):
        assert path.stat().st_mode & 0o777 == mode
