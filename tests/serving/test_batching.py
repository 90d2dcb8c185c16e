"""Batches of requests: none is lost or delayed without need, and the queue is bounded."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from transhash.errors import ServingError
from transhash.serving.batching import Batcher, BoundedPool, BusyError
from transhash.serving.monitor import Monitor


class Sizes(Monitor):
    """Records the sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch(self, name: str, size: int) -> None:
        """Record the size of a batch."""
        self.sizes.append(size)


def test_every_task_gets_its_own_answer():
    sizes = Sizes()
    batcher = Batcher("square", lambda tasks: [task * task for task in tasks], sizes, most=8)
    with ThreadPoolExecutor(16) as pool:
        futures = list(pool.map(batcher.submit, range(500)))
    assert [future.result() for future in futures] == [number * number for number in range(500)]
    batcher.close()
    assert sum(sizes.sizes) == 500
    assert max(sizes.sizes) <= 8


def test_tasks_that_come_together_are_worked_on_together():
    """Tasks that arrive while the first is processed form one batch."""
    started, go = threading.Event(), threading.Event()

    def work(tasks):
        started.set()
        assert go.wait(60)
        return tasks

    sizes = Sizes()
    batcher = Batcher("slow", work, sizes, most=4)
    futures = [batcher.submit(0)]
    assert started.wait(60)
    futures += [batcher.submit(number) for number in range(1, 11)]
    assert len(batcher) == 10
    go.set()
    assert [future.result(60) for future in futures] == list(range(11))
    assert sizes.sizes == [1, 4, 4, 2]
    batcher.close()


def test_an_error_is_that_of_its_task():
    def work(tasks):
        return [ValueError(task) if task % 2 else task for task in tasks]

    batcher = Batcher("odd", work, Monitor())
    futures = [batcher.submit(number) for number in range(6)]
    assert [future.result() for future in futures[::2]] == [0, 2, 4]
    assert all(isinstance(future.exception(), ValueError) for future in futures[1::2])
    batcher.close()


def test_a_failing_batch_fails_its_tasks_and_no_others():
    def work(tasks):
        if tasks == ["bad"]:
            raise RuntimeError("broken")
        return tasks

    batcher = Batcher("fragile", work, Monitor(), most=1)
    bad, good = batcher.submit("bad"), batcher.submit("good")
    with pytest.raises(RuntimeError, match="broken"):
        bad.result()
    assert good.result() == "good"
    batcher.close()


def test_a_full_queue_refuses_and_closing_answers_what_waits():
    started, go = threading.Event(), threading.Event()

    def work(tasks):
        started.set()
        assert go.wait(60)
        return tasks

    batcher = Batcher("full", work, Monitor(), waiting=2)
    futures = [batcher.submit(0)]
    assert started.wait(60)
    futures += [batcher.submit(1), batcher.submit(2)]
    with pytest.raises(BusyError, match="2 requests are waiting"):
        batcher.submit(3)
    futures[1].cancel()
    go.set()
    batcher.close()
    assert [futures[0].result(), futures[2].result()] == [0, 2]
    with pytest.raises(ServingError, match="stopping"):
        batcher.submit(4)


def test_a_pool_refuses_what_it_has_no_room_for():
    go = threading.Event()
    pool = BoundedPool("test", threads=1, waiting=1)
    first, second = pool.submit(go.wait, 60), pool.submit(lambda: "done")
    with pytest.raises(BusyError, match="waiting already"):
        pool.submit(lambda: None)
    go.set()
    assert (first.result(), second.result()) == (True, "done")
    assert pool.submit(lambda: 3).result() == 3
    pool.close()
    with pytest.raises(ServingError, match="stopping"):
        pool.submit(lambda: None)
