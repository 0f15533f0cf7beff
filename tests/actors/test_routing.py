import random
import time

import pytest

from actors.routing import LeastLoaded, NoEngineError, Random, Router


def test_a_session_stays_and_new_ones_go_to_the_least_loaded():
    router = Router(["a", "b"])
    assert [router.engine_for(s) for s in ("1", "2", "3", "4")] == ["a", "b", "a", "b"]
    assert [router.engine_for(s) for s in ("1", "2", "3", "4")] == ["a", "b", "a", "b"]
    router.end_session("2")
    router.end_session("4")
    assert [router.engine_for(s) for s in ("5", "6")] == ["b", "b"]
    assert router.load("a") == router.load("b") == 2


def test_sessions_of_a_dead_engine_move_and_stay_where_they_moved():
    router = Router(["a", "b"])
    router.engine_for("1")
    router.mark_dead("a")
    assert router.engine_for("1") == "b"
    assert router.load("a") == 0
    router.mark_alive("a")
    assert router.engine_for("1") == "b"
    assert router.engine_for("2") == "a"


def test_without_a_living_engine_the_caller_is_told():
    router = Router(["a"])
    router.mark_dead("a")
    with pytest.raises(NoEngineError, match="none of the 1 engines"):
        router.engine_for("1")


def test_weights_decide_and_count_as_part_of_an_engines_size():
    router = Router()
    router.add("small", size=100)
    router.add("large", size=1000)
    assert [router.engine_for(str(n), weight=50) for n in range(5)] == ["small", *["large"] * 4]
    router.reweigh("0", 5)
    assert (router.load("small"), router.load("large")) == (5, 200)
    assert router.next_engine() == "small"


def test_an_engine_that_drains_keeps_its_sessions_and_gets_no_other():
    router = Router(["a", "b"])
    assert router.engine_for("1") == "a"
    router.drain("a")
    assert [router.engine_for(s) for s in ("1", "2", "3")] == ["a", "b", "b"]
    router.mark_alive("a")
    assert router.engine_for("4") == "b", "word that it answers does not end the draining"


def test_engines_join_and_leave():
    router = Router(["a"])
    router.engine_for("1")
    router.add("b")
    assert router.engine_for("2") == "b"
    router.remove("a")
    assert router.engine_for("1") == "b"
    router.mark_dead("a")
    router.mark_alive("a")
    assert router.engine_for("3") == "b", "what is gone does not come back"
    assert router.loads == {"b": 3}
    with pytest.raises(KeyError):
        router.place("4", "never heard of")


def test_the_engine_that_lost_it_is_avoided_where_there_is_another():
    for policy in (LeastLoaded(), Random()):
        router = Router(["a"], policy)
        assert router.next_engine(avoid="a") == "a"
        router.add("b")
        assert {router.next_engine(avoid="a") for _ in range(50)} == {"b"}
        assert router.next_engine(avoid="b") == "a"


def test_random_routing_forgets_the_session_and_hits_all():
    router = Router([str(n) for n in range(5)], Random(), sticky=False)
    assert {router.engine_for("1") for _ in range(200)} == set("01234")
    assert sum(router.loads.values()) == 1
    router.remove("3")
    assert {router.engine_for("1") for _ in range(200)} == set("0124")


def test_whatever_happens_the_least_loaded_of_the_open_ones_is_next():
    rng, router, sessions = random.Random(1), Router(), []
    loads, is_open = {}, {}
    for n in range(4000):
        does = rng.choice(("add", "dead", "alive", "begin", "begin", "begin", "weigh", "end", "end"))
        engine = rng.choice(sorted(loads)) if loads else None
        if does == "add" and len(loads) < 20:
            router.add(f"e{n}")
            loads[f"e{n}"], is_open[f"e{n}"] = 0, True
        elif does in ("dead", "alive") and engine:
            (router.mark_dead if does == "dead" else router.mark_alive)(engine)
            is_open[engine] = does == "alive"
        elif does == "begin" and any(is_open.values()):
            weight = rng.randrange(1, 9)
            engine = router.next_engine()
            assert loads[engine] == min(load for name, load in loads.items() if is_open[name])
            router.place(f"s{n}", engine, weight)
            sessions.append([f"s{n}", engine, weight])
            loads[engine] += weight
        elif does == "weigh" and sessions:
            session = rng.choice(sessions)
            router.reweigh(session[0], session[2] + 3)
            loads[session[1]] += 3
            session[2] += 3
        elif does == "end" and sessions:
            name, engine, weight = sessions.pop(rng.randrange(len(sessions)))
            router.end_session(name)
            loads[engine] -= weight
        assert router.loads == loads


def test_a_choice_among_many_engines_costs_as_much_as_among_few():
    def seconds(num_engines):
        router = Router([str(n) for n in range(num_engines)])
        began = time.process_time()
        for n in range(20_000):
            router.engine_for(str(n))
            router.reweigh(str(n), 2)
            if n >= 5000:
                router.end_session(str(n - 5000))
        return time.process_time() - began

    few = min(seconds(4) for _ in range(3))
    assert min(seconds(4000) for _ in range(3)) < 10 * few, (
        "a walk over all engines would take a thousand times"
    )
