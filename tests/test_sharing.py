"""What all runs of a user on one machine have in common: equal parts, nothing lost by a kill."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.sharing import Slots, slots_of

ROOT = Path(__file__).resolve().parents[1]
SHARER = """
import sys, time
from pipeline.sharing import Slots
slots = Slots(12, "things")
print(slots.share, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path, monkeypatch):
    """A runtime directory of this test's own, counted anew each time."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("pipeline.sharing._COUNT_EVERY_S", 0.0)
    return tmp_path / "tamis"


def start() -> "subprocess.Popen[bytes]":
    """Start another process that shares in `things` and wait until it does."""
    child = subprocess.Popen([sys.executable, "-c", SHARER], cwd=ROOT, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child


def test_each_process_has_an_equal_part_and_a_killed_one_gives_it_back(runtime):
    """12 slots are 12, then 6, then 4 of this process; after two SIGKILLs 12, and no file stays."""
    slots, others, shares = Slots(12, "things"), [], []
    shares.append(slots.share)
    try:
        for _ in range(2):
            others.append(start())
            shares.append(slots.share)
    finally:
        for child in others:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
    assert shares == [12, 6, 4]
    assert slots.share == 12
    assert len(list((runtime / "things").iterdir())) == 1


def test_more_sharers_than_slots():
    """Everybody keeps at least one slot, and a limit of another name is not touched."""
    sharers = [Slots(2, "few") for _ in range(5)]
    assert [one.share for one in sharers] == [1] * 5
    assert Slots(7, "other").share == 7


def test_in_flight_follows_the_share():
    """With a second sharer half the permits are kept back, and given out again when it is gone."""

    async def most(slots: Slots) -> int:
        busy = busiest = 0

        async def work() -> None:
            nonlocal busy, busiest
            async with slots:
                busy += 1
                busiest = max(busiest, busy)
                await asyncio.sleep(0.005)
                busy -= 1

        await asyncio.gather(*(work() for _ in range(40)))
        return busiest

    async def main() -> list[int]:
        slots = Slots(8, "things")
        found = [await most(slots)]
        other = Slots(8, "things")
        found.append(await most(slots))
        del other
        found.append(await most(slots))
        return found

    alone, halved, again = asyncio.run(main())
    assert (alone, halved) == (8, 4)
    assert again == 8


def test_cancelled_waiters_lose_no_permit():
    """Waiting for a slot is cancelled at any point; every permit can still be had."""

    async def main() -> int:
        slots, other = Slots(4, "things"), Slots(4, "things")
        waiting = [asyncio.create_task(slots.acquire()) for _ in range(6)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        for one in ended:
            if one is True:
                slots.release()
        del other
        async with asyncio.timeout(5):
            await slots.acquire()
            slots.release()
            for _ in range(4):
                await slots.acquire()
        return slots.share

    assert asyncio.run(main()) == 4


def test_one_owner_has_one_set_of_slots():
    """An engine's slots are the same object for every loop that asks it."""

    class Owner:
        pass

    owner = Owner()
    assert slots_of(owner, 3) is slots_of(owner, 3)
    assert slots_of(owner, 3).share == 3


def test_a_directory_of_somebody_else_is_refused(tmp_path, monkeypatch):
    """A runtime directory that is a link, or another user's, is not trusted."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "mine"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tamis").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is somebody else's"):
        Slots(2, "things")
