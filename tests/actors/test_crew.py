"""A crew that is kept up while its members come, retire and are lost; and what counts as a sign of life."""

import asyncio
import itertools

from actors.crew import Crew
from actors.health import Heartbeat


class Member:
    def __init__(self, number):
        self.name, self.number, self.retiring, self.closed = f"m{number}", number, False, False
        self.lived, self.left = 0, asyncio.Event()
        self.error = None

    async def live(self):
        self.lived += 1
        await self.left.wait()
        if self.error:
            raise self.error

    def close(self):
        self.closed = True


async def until(holds):
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - it looks at what tells nobody
            await asyncio.sleep(0.005)


def names(crew):
    return [member.name for member in crew.members]


async def running(crew):
    task = asyncio.create_task(crew.run(look_every_s=0.01))
    await until(lambda: crew.members and all(member.lived for member in crew.members))
    return task


async def stop(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_that_retires_is_replaced_at_once_and_may_finish():
    crew = Crew(2, Member)
    task = await running(crew)
    crew.members[0].retiring = True
    await until(lambda: names(crew) == ["m0", "m1", "m2"])
    old = crew.members[0]
    assert not old.closed
    old.left.set()
    await until(lambda: names(crew) == ["m1", "m2"])
    assert old.closed
    await stop(task)


async def test_one_that_is_lost_is_replaced_after_a_pause_that_grows(caplog):
    crew, starts = Crew(1, Member, pause_s=0.05), []
    task = await running(crew)
    for _ in range(3):
        lost = crew.members[0]
        lost.error = RuntimeError("no GPU")
        starts.append(asyncio.get_running_loop().time())
        lost.left.set()
        await until(lambda name=lost.name: crew.members and names(crew) != [name] and crew.members[0].lived)
    starts.append(asyncio.get_running_loop().time())
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert pauses[0] >= 0.04 and pauses[1] >= 0.09 and pauses[2] >= 0.18
    assert "m0 is lost, another one starts in 0 s: no GPU" in caplog.text
    await stop(task)


async def test_members_outlive_a_run_and_are_minded_by_the_next():
    crew = Crew(2, Member)
    await stop(await running(crew))
    kept = list(crew.members)
    assert not any(member.closed for member in kept)
    task = asyncio.create_task(crew.run())
    await until(lambda: all(member.lived == 2 for member in kept))
    assert crew.members == kept
    await stop(task)
    crew.close()
    assert all(member.closed for member in kept)


def test_a_heart_beats_while_the_counter_grows_or_there_is_nothing_to_do():
    now = [0.0]
    beat = Heartbeat(10, clock=lambda: now[0])

    def note(at, count, busy=True):
        now[0] = at
        return beat.note(count, busy=busy)

    assert note(8, 0) and note(9, 5)
    assert note(18, 5) and not note(19.5, 5)
    assert note(20, 5, busy=False) and note(29, 5) and not note(31, 5)
    assert not note(32, 3), "work that was given up is no work done"
    assert note(33, 4)
