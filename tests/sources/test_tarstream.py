import io
import tarfile
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.sources.tarstream import TarStream

GNU, PAX, USTAR = tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT


def archive(members, form=PAX):
    """A tar archive of (name, type, contents)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as tar:
        for name, kind, data in members:
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.type, info.size, info.linkname = kind, len(data), "elsewhere"
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(data):
    stream = TarStream(io.BufferedReader(io.BytesIO(data)))
    return [
        (member.name.rstrip(b"/"), member.kind, stream.read(member) if member.kind == "file" else b"")
        for member in stream
    ]


NAME = st.lists(st.binary(min_size=1, max_size=90), min_size=1, max_size=4).map(b"/".join)
NAMES = NAME.filter(lambda name: b"\0" not in name and not name.endswith(b"/"))
KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.LNKTYPE: "link"}
KINDS |= dict.fromkeys((tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE), "special file")


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(NAMES, st.sampled_from(list(KINDS)), st.binary(max_size=1500)), max_size=6),
    st.sampled_from([GNU, PAX]),
)
def test_archives_written_by_tarfile(members, form):
    members = [(name, kind, data if kind == tarfile.REGTYPE else b"") for name, kind, data in members]
    assert read(archive(members, form)) == [(name, KINDS[kind], data) for name, kind, data in members]


def test_ustar_and_old_archives():
    long = b"d" * 100 + b"/" + b"n" * 90
    data = archive(
        [(long, tarfile.REGTYPE, b"1"), (b"old", tarfile.AREGTYPE, b"22"), (b"folder/", tarfile.AREGTYPE, b"")], USTAR
    )
    assert read(data) == [(long, "file", b"1"), (b"old", "file", b"22"), (b"folder", "folder", b"")]


def test_unread_members_are_skipped():
    data = archive(
        [(b"a", tarfile.REGTYPE, bytes(3_000_000)), (b"b", b"Z", b"unknown type"), (b"c", tarfile.REGTYPE, b"c")]
    )
    stream = TarStream(io.BufferedReader(io.BytesIO(data)))
    assert [(member.name, member.kind, member.size) for member in stream] == [
        (b"a", "file", 3_000_000),
        (b"b", "special file", 12),
        (b"c", "file", 1),
    ]


def test_sizes_in_extended_headers_and_in_binary():
    info = tarfile.TarInfo("large")
    info.size = 9 << 30  # does not fit into 11 octal digits
    for form in (GNU, PAX):
        stream = TarStream(io.BufferedReader(io.BytesIO(info.tobuf(form))))
        assert next(iter(stream)).size == 9 << 30


def pax(records, kind=b"x"):
    """An extended header and a member "m" without contents."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(records)
    return info.tobuf(USTAR) + records + bytes(-len(records) % 512) + tarfile.TarInfo("m").tobuf(USTAR)


def test_extended_headers():
    def name(records, kind=b"x"):
        return [member.name for member in TarStream(io.BufferedReader(io.BytesIO(pax(records, kind) + bytes(512))))]

    assert name(b"9 path=a\n13 comment=x\n") == [b"a"]
    assert name(b"9 path=a\n", b"g") == [b"m"]
    for broken in (
        b"path=a\n",
        b"99 path=a\n",
        b"0 path=a\n",
        b"1 path=a\n",
        b"9 path.a\n",
        b"-9 path=a\n",
        b"9" * 30_000,
    ):
        with pytest.raises(ValueError, match="damaged extended header"):
            name(broken)
    for size in (b"-5", b"x", b"9" * 30, b"9" * 5000):
        with pytest.raises(ValueError):  # noqa: PT011 - several messages
            name(b"%d size=%s\n" % (len(size) + 7 + len(str(len(size) + 7)), size))


def test_sparse_files_are_recognized():
    old = tarfile.TarInfo("old")
    old.type, old.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(old.tobuf(GNU))
    block[482] = 1
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    more = bytearray(512)
    more[504] = 1
    end = bytes(512)
    data = (
        bytes(block)
        + bytes(more)
        + end
        + b"x" * 512
        + pax(b"22 GNU.sparse.major=1\n")
        + archive([(b"z", tarfile.REGTYPE, b"z")])
    )
    assert [(name, kind) for name, kind, _ in read(data)] == [
        (b"old", "special file"),
        (b"m", "special file"),
        (b"z", "file"),
    ]


def test_every_truncation_is_detected():
    data = archive([(b"a" * 150, tarfile.REGTYPE, b"x" * 700), (b"b", tarfile.REGTYPE, b"y")])
    end = len(data.rstrip(b"\0")) // 512 * 512 + 1024
    assert len(read(data[:end])) == 2
    for length in range(0, end, 64):
        with pytest.raises(EOFError):
            read(data[:length])


@pytest.mark.slow
def test_damage_is_an_error_or_goes_unnoticed():
    whole = np.frombuffer(
        archive([(b"a" * 150, tarfile.REGTYPE, b"x" * 700), (b"b", tarfile.REGTYPE, b"y")] * 3), np.uint8
    )
    rng = np.random.default_rng(0)
    for _ in range(2000):
        mutant = whole.copy()
        mutant[rng.integers(0, len(mutant), 3)] = rng.integers(0, 256, 3)
        try:
            read(mutant.tobytes())
        except (EOFError, ValueError) as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_headers_cannot_take_memory_or_time():
    with pytest.raises(ValueError, match="a header of 20000000 bytes"):
        read(pax(b"1" * 20_000_000))
    started = time.process_time()
    chain = pax(b"9 path=a\n")[:1024] * 20_000
    with pytest.raises(EOFError):
        read(chain)
    assert time.process_time() - started < 20
