import pytest

from actors.routing import NoEngineError, Router


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
