"""Tests the queue that shares places between clients."""

from __future__ import annotations

import random
from typing import Any

from peephole.serve.fair_queue import FairQueue


def take(queue: FairQueue[Any]) -> Any:
    """Take out the first item of a queue."""
    item = queue.first()
    queue.pop(item)
    return item


def test_the_queue_shares_work_between_clients_by_cost() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(6):
        queue.push(f"cheap {number}", "cheap", 1.0)
    for number in range(3):
        queue.push(f"dear {number}", "dear", 3.0)
    order = [take(queue).split()[0] for _ in range(len(queue))]
    assert order[:4] == ["cheap", "dear", "cheap", "cheap"]
    assert order.index("cheap", 5) < 8
    assert order[-1] == "dear"


def test_the_queue_forgets_removed_items_and_old_clients() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(2200):
        queue.push(number, f"client {number}", 1.0)
    assert all(queue.remove(number) for number in range(1, 2200))
    assert not queue.remove(1)
    assert max(queue._size, len(queue._heads)) < 1100
    assert (len(queue), queue.total_cost, take(queue)) == (1, 1.0, 0)
    assert queue.first() is None


def test_the_queue_does_not_charge_for_work_that_was_taken_back() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.push("other 0", "other", 1.0)
    for number in range(50):
        queue.push(f"gone {number}", "one", 1.0)
    for number in range(50):
        queue.remove(f"gone {number}")
    for number in range(1, 9):
        queue.push(f"other {number}", "other", 1.0)
    queue.push("back", "one", 1.0)
    assert "back" in [take(queue) for _ in range(2)]


def test_the_queue_passes_over_clients_that_may_not_leave() -> None:
    queue: FairQueue[str] = FairQueue()
    for name in ("a 0", "a 1", "b 0", "c 0", "b 1"):
        queue.push(name, name[0], 1.0)
    assert queue.first(lambda item: item[0] not in "ab") == "c 0"
    assert queue.first(lambda item: False) is None
    queue.pop("c 0")
    queue.remove("a 0")
    assert [take(queue) for _ in range(3)] == ["b 0", "a 1", "b 1"]


def test_the_queue_follows_its_equations() -> None:
    """Compared with (1) and (2) on a list, for random work of five clients, some of it taken back."""
    rng = random.Random(3)
    queue: FairQueue[int] = FairQueue()
    waiting: dict[int, tuple[float, str]] = {}
    virtual, finish = 0.0, dict.fromkeys("abcde", 0.0)
    for number in range(3000):
        client, cost = rng.choice("abcde"), rng.choice((1.0, 2.0, 7.0))
        queue.push(number, client, cost)
        start = max(virtual, finish[client])
        finish[client] = start + cost
        waiting[number] = (start, client)
        for _ in range(rng.choice((0, 1, 1, 2))):
            if rng.random() < 0.2 and waiting:
                gone = rng.choice(list(waiting))
                _, client = waiting.pop(gone)
                assert queue.remove(gone)
                if client not in {other for _, other in waiting.values()}:
                    finish[client] = 0.0
            elif waiting:
                wanted = min(waiting, key=lambda one: (waiting[one][0], one))
                assert take(queue) == wanted
                virtual, _ = waiting.pop(wanted)
            if not waiting:
                virtual, finish = 0.0, dict.fromkeys("abcde", 0.0)
    assert len(queue) == len(waiting)
