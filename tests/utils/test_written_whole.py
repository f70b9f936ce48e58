"""Tests of files that are there as a whole or not at all, with several writers."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mne_megfm.utils.files import PREFIX, write_together, write_whole, written_whole
from mne_megfm.utils.tables import write_table

ROOT = Path(__file__).parents[2]


def test_of_two_writers_the_first_stays(tmp_path):
    """Who began before another one was done does not replace what that wrote."""
    path = tmp_path / "table.csv"
    with pytest.raises(FileExistsError, match="which exists now"):
        with written_whole(path, overwrite=False) as file:
            file.write(b"slow")
            write_whole(path, b"quick", overwrite=False)
    assert path.read_bytes() == b"quick"
    assert os.listdir(tmp_path) == ["table.csv"]
    write_whole(path, b"asked for")
    assert path.read_bytes() == b"asked for"


def test_two_writers_write_to_files_of_their_own(tmp_path):
    """Each file is of one of them, and the last to end stays."""
    path = tmp_path / "table.csv"
    with written_whole(path) as one:
        one.write(b"1" * 10)
        with written_whole(path) as two:
            two.write(b"2" * 30)
        assert path.read_bytes() == b"2" * 30
        one.write(b"1" * 10)
    assert path.read_bytes() == b"1" * 20
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_tables_do_not_replace_what_is_there(tmp_path, suffix):
    """Unless that is asked for."""
    path = tmp_path / f"table{suffix}"
    one, two = (pd.DataFrame({"participant": [name] * 5}) for name in "ab")
    write_table(one, path, overwrite=False)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="which exists now"):
        write_table(two, path, overwrite=False)
    assert path.read_bytes() == before
    write_table(two, path)
    assert path.read_bytes() != before


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_rests_of_killed_writers_are_removed(tmp_path):
    """By the next writer to the folder, whatever it writes; living ones are spared."""
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from mne_megfm.utils.files import written_whole
        with written_whole(Path(sys.argv[1])) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    args = [sys.executable, "-c", code, tmp_path / "a.skops"]
    done = subprocess.run(args, cwd=ROOT, check=False)
    assert done.returncode == -9
    (rest,) = tmp_path.iterdir()
    assert rest.name.startswith(PREFIX)
    with written_whole(tmp_path / "b.csv") as file:
        assert not rest.exists()
        write_whole(tmp_path / "c.csv", b"c")
        file.write(b"b")
    assert sorted(os.listdir(tmp_path)) == ["b.csv", "c.csv"]


@pytest.mark.skipif(os.name != "posix", reason="needs locks of folders")
def test_checkpoints_come_one_after_the_other(tmp_path):
    """Processes that replace the same files leave those of one, not a mixture."""
    code = """if True:
        import sys
        from pathlib import Path
        from mne_megfm.utils.files import write_together
        text = sys.argv[2].encode()
        for _ in range(40):
            files = {name: text * 1000 for name in ("a", "b", "c", "table")}
            write_together(Path(sys.argv[1]), files, last="table")
    """
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, text], cwd=ROOT)
        for text in "xyz"
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len({file.read_bytes() for file in tmp_path.iterdir()}) == 1
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "table"]
    with pytest.raises(FileExistsError, match="Expected no files"):
        write_together(tmp_path, {"a": b"1"}, last="a", overwrite=False)
