"""Places that episodes wait for: in their order, as many as there is room for, and none left behind by one that gave up."""

import asyncio

import pytest

from actors.seats import Seats


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_came_first_is_served_first_as_room_comes():
    seats, served = Seats(cap=1), []

    async def come(name):
        seat = await seats.take()
        served.append((name, seat.at))
        return seat

    tasks = [asyncio.create_task(come(n)) for n in range(4)]
    await settle()
    assert (served, seats.waiting) == ([], 4)
    seats.join("a")
    await settle()
    assert served == [(0, "a")]
    seats.give_back(tasks[0].result())
    seats.join("b")
    await settle()
    assert served == [(0, "a"), (1, "a"), (2, "b")]
    seats.mark_dead("a")
    seats.give_back(tasks[1].result())
    await settle()
    assert len(served) == 3, "a dead engine has room for nobody"
    seats.mark_alive("a")
    await settle()
    assert served[3] == (3, "a")


async def test_who_gives_up_holds_nobody_up_and_keeps_no_seat():
    seats = Seats(cap=1)
    seats.join("a")
    first = await seats.take()
    impatient, patient = (asyncio.create_task(seats.take()) for _ in range(2))
    await settle()
    impatient.cancel()
    await settle()
    seats.give_back(first)
    second = await asyncio.wait_for(patient, 5)
    # Given a seat and cancelled in the same turn of the loop: the seat must come back.
    late = asyncio.create_task(seats.take())
    await settle()
    seats.give_back(second)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    assert seats.taken("a") == 0


async def test_room_follows_what_hosts_report():
    seats = Seats(cap=8)
    seats.join("a", 1000)
    await seats.take(lambda: 100)
    seats.note_held("host 0", {"a": 500})
    seats.note_held("host 1", {"a": 450})
    waiting = asyncio.create_task(seats.take(lambda: 100))
    await settle()
    assert not waiting.done()
    seats.note_held("host 1", {"a": 300})
    assert (await asyncio.wait_for(waiting, 5)).at == "a"
    seats.note_held("host 0", {})
    seats.note_held("host 1", {})
    assert (await asyncio.wait_for(seats.take(lambda: 800), 5)).at == "a"


async def test_what_an_episode_comes_to_is_asked_again_while_it_waits():
    seats, expected = Seats(cap=1), [1000]
    seats.join("a", 1000)
    await seats.take(lambda: 100)
    waiting = asyncio.create_task(seats.take(lambda: expected[0]))
    await settle()
    assert not waiting.done()
    expected[0] = 900
    seats.note_held("host 0", {"a": 10})
    await asyncio.wait_for(waiting, 5)
