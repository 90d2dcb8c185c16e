"""Outputs on unusual file systems, behind links and under long names; and the display of paths."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transhash.errors import OutputError, one_line
from transhash.system import files


@given(st.text(max_size=300).map(ValueError) | st.just(KeyError()))
def test_one_line(error):
    line = one_line(error)
    assert line
    assert len(line) <= 200
    assert line.splitlines() == [line]


@given(st.binary(max_size=20) | st.text(max_size=20))
def test_a_displayed_path_is_printable(path):
    assert files.display(path).isprintable()
    assert files.display(files.display(path)) == files.display(path)


def test_display():
    assert files.display(b"a\n\xff\xc3\xa4.jpg") == "a\\n\\xffä.jpg"
    assert files.display(os.fsdecode(b"\xff")) == files.display(b"\xff") == "\\xff"
    assert files.display(Path("a b")) == "a b"


def write(path, text):
    with files.replacing(path) as temporary:
        temporary.write_text(text)


def test_replacing_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_links_are_written_through(tmp_path):
    (tmp_path / "far").mkdir()
    for target in ("far/there", "far/not-yet"):
        link = tmp_path / Path(target).name
        link.symlink_to(target)
        write(link, "1")
        write(link, "2")
        assert link.is_symlink()
        assert (tmp_path / target).read_text() == "2"
    assert sorted(os.listdir(tmp_path / "far")) == ["not-yet", "there"]
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="links") as caught:
        write(tmp_path / "a", "x")
    assert caught.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, os.fsdecode(b"\xff" * 255)])
def test_names_may_be_as_long_as_the_file_system_takes(tmp_path, name):
    write(tmp_path / name, "1")
    assert os.listdir(tmp_path) == [name]
    folder = files.beside(tmp_path / name, ".parts")
    folder.mkdir()
    assert os.fsencode(folder.name).endswith(b".parts")
    assert folder != files.beside(tmp_path / (name[:-1] + "y"), ".parts")
    assert files.beside(Path("a/c.h5"), ".parts") == Path("a/c.h5.parts")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write(tmp_path / "a", "old")
    with pytest.raises(OSError, match="No space") as caught, files.replacing(tmp_path / "a"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_one_process_at_a_time(tmp_path):
    code = "import sys; from pathlib import Path; from transhash.system import files\n"
    code += "with files.locked(Path(sys.argv[1]), Path('out')): print('held', flush=True); sys.stdin.read()"
    held = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert held.stdout.readline() == b"held\n"
    with (
        pytest.raises(OutputError, match="out: another process is writing it"),
        files.locked(tmp_path / "lock", Path("out")),
    ):
        pass
    held.kill()
    held.communicate()
    with files.locked(tmp_path / "lock", Path("out")):
        pass


SHIM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <dlfcn.h>
#include <sys/stat.h>
static int missing(const char *call) { const char *number = getenv(call); return number ? atoi(number) : 0; }
int flock(int fd, int how) { errno = missing("FLOCK"); return errno ? -1 : 0; }
int chmod(const char *path, mode_t mode) { errno = missing("CHMOD"); return errno ? -1 : 0; }
int fsync(int fd) {
    struct stat found;
    errno = missing("FSYNC_FOLDER");
    return errno && !fstat(fd, &found) && S_ISDIR(found.st_mode) ? -1 : 0;
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A preloaded library that makes system calls fail, as some file systems do."""
    if not (sys.platform == "linux" and shutil.which("gcc")):
        pytest.skip("needs Linux and gcc")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "shim.c", "-o", folder / "shim.so"], check=True)
    return folder / "shim.so"


LACKING = [("FLOCK", errno.ENOLCK), ("FSYNC_FOLDER", errno.EINVAL), ("CHMOD", errno.EPERM)]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "number"), LACKING)
def test_file_systems_that_lack_a_call(shim, pictures, tmp_path, call, number):
    code = f"""
import transhash
from transhash.encoding.run import encode_to_file
from transhash.index.local import LocalIndex
encode_to_file({str(pictures)!r}, "c.h5", "phash")
transhash.build_index("c.h5", "i")
with LocalIndex.edit("i") as index:
    index.add(transhash.read_codes("c.h5").take(slice(0, 0)))
print(len(transhash.open("i")))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "LD_PRELOAD": str(shim), call: str(number)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "24\n"


@pytest.mark.slow
def test_codes_and_index_behind_links(pictures, tmp_path):
    import transhash
    from transhash.encoding.run import encode_to_file

    (tmp_path / "far").mkdir()
    (tmp_path / "c.h5").symlink_to("far/codes.h5")
    (tmp_path / "i").symlink_to("far/index")
    for _ in range(2):
        encode_to_file(pictures, tmp_path / "c.h5", "phash")
        transhash.Index.build(transhash.read_codes(tmp_path / "c.h5")).save(tmp_path / "i")
    assert (tmp_path / "c.h5").is_symlink()
    assert (tmp_path / "i").is_symlink()
    assert sorted(os.listdir(tmp_path / "far")) == ["codes.h5", "index"]
    assert len(transhash.Index.open(tmp_path / "far" / "index")) == 24


def test_a_codes_file_with_a_long_name(pictures, tmp_path):
    from transhash.encoding.run import encode_to_file

    name = "c" * 252 + ".h5"
    encode_to_file(pictures, tmp_path / name, "phash")
    assert os.listdir(tmp_path) == [name]
