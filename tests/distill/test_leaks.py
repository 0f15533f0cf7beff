"""The figures of the leak audit come from code that plants what it says, finds it, and would say so if it did not."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from distill.audit import LeakAuditor


@pytest.fixture(scope="module")
def leaks():
    path = Path(__file__).parents[2] / "benchmarks" / "leaks.py"
    spec = importlib.util.spec_from_file_location("benchmark_leaks", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up.
    first = sys.path[0]
    spec.loader.exec_module(module)
    sys.path[0] = first
    return module


def test_every_kind_is_found_and_clean_rows_raise_no_alarm(leaks):
    report = leaks.measure(120, seed=5)
    assert {kind: (row["planted"], row["found"]) for kind, row in report["kinds"].items()} == dict.fromkeys(
        leaks.KINDS, (1, 1)
    )
    assert (report["clean_rows"], report["false_alarms"]) == (112, 0)


def test_a_blind_audit_is_reported_as_one(leaks, monkeypatch):
    monkeypatch.setattr(LeakAuditor, "spoken", lambda *_: [])
    monkeypatch.setattr(LeakAuditor, "unspoken", lambda *_: [])
    report = leaks.measure(30, seed=5)
    assert not report["all_found"] and len(report["missed"]) == len(leaks.KINDS)


@pytest.mark.parametrize("seed", range(4))
def test_a_planted_row_says_more_than_the_clean_one(leaks, seed):
    rng = random.Random(seed)
    bank = leaks.make_bank(rng, 20)
    clean = leaks.clean_trajectory(rng, 1, bank)
    for kind in leaks.KINDS:
        planted = leaks.plant(rng, kind, clean, bank)
        assert len(planted.turns) == len(clean.turns) + (3 if kind == "split" else 1)
