import resource
import signal

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes.deferred_errors import DeferredErrorFile

steps = st.lists(
    st.tuples(st.sampled_from(["write", "read"]), st.integers(0, 300), st.binary(max_size=90)), max_size=30
)


@pytest.mark.slow
@settings(deadline=None)
@given(steps, st.integers(0, 300))
def test_reads_what_was_written_before_and_after_the_disk_is_full(tmp_path_factory, actions, room):
    """Compared with a bytearray, with a limit on the file size."""
    path = tmp_path_factory.mktemp("spool") / "file"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    oracle = bytearray(1000)
    full = False
    with DeferredErrorFile(path) as spool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            for action, place, data in actions:
                spool.seek(place)
                if action == "write":
                    assert spool.write(data) == len(data)
                    oracle[place : place + len(data)] = data
                    full |= bool(data) and place + len(data) > room
                else:
                    buffer = bytearray(50)
                    assert spool.readinto(buffer) == 50
                    assert buffer == oracle[place : place + 50]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, old)
        assert bool(spool.error) == full
        if full:
            with pytest.raises(OSError, match="too large"):
                spool.check()


def test_hdf5_through_a_spool_is_hdf5(tmp_path):
    values = np.random.default_rng(0).integers(0, 9, (5000, 40))
    with DeferredErrorFile(tmp_path / "a.h5") as spool, h5py.File(spool, "w") as file:
        file.create_dataset("values", data=values, compression=1, chunks=(100, 40))
        spool.check()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["values"][:], values)
