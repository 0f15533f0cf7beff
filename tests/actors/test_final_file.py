"""The sorted file: what counts of a journal, against a plain reading of it in memory; and that little of it is in memory."""

import json
import math
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_store import trajectory

from actors import final_file
from actors.final_file import sorted_lines, write_final
from actors.store import to_line
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, Turn


def journal_of(path, records, tail=b""):
    path.write_bytes("".join(f"{to_line(record)}\n" for record in records).encode() + tail)
    return path


def plainly(journal):
    """All rows in memory: the last episode of an id, else its first error."""
    by_id = {}
    for line in journal.read_bytes().split(b"\n")[:-1]:
        row = json.loads(line)
        if row["end"] != EndReason.ERROR or row["id"] not in by_id:
            by_id[row["id"]] = row
    return sorted(
        by_id.values(), key=lambda r: (r["task"]["env"], r["task"]["id"], r["arm"], r["seed"], r["id"])
    )


def random_records(rng, number):
    for n in range(number):
        is_error = rng.random() < 0.3
        yield trajectory(
            rng.choice([0, 1, 2, 10, 11, "ä", "Z", "𝄞"]),
            end=EndReason.ERROR if is_error else EndReason.DONE,
            error=f"fault {n}" if is_error else None,
            arm=rng.choice(["base", "teacher"]),
            seed=rng.choice([0, 1, 10, -3]),
            adapter=rng.choice([None, "a"]),
            score=rng.random(),
            hints=tuple(
                GivenHint(id=str(h), text='Say "no".', turn=rng.choice([None, 0, 3])) for h in range(n % 3)
            ),
            turns=tuple(
                Turn(
                    reply=rng.choice(["look\n", "\\n \u2028 \x7f\x00", "2024-01-01", "12"]),
                    fields=(("thought", "hm"),) * (n % 2),
                    action=rng.choice([None, "look"]),
                    observation="",
                    reward=rng.choice([0.0, 1, 1e-7, 0.1 + 0.2]),
                    seconds=rng.random() * 10 ** rng.randint(-9, 9),
                )
                for _ in range(n % 4)
            ),
            parts=(("r_type", 1.0),) * (n % 2),
        )


@pytest.mark.parametrize("seed", range(6))
def test_it_holds_what_a_plain_reading_gives(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(final_file, "_BYTES_AT_ONCE", 3000)
    rng = random.Random(seed)
    journal = journal_of(tmp_path / "j", random_records(rng, 90), tail=b'{"id": "torn')
    expected = plainly(journal)
    assert [json.loads(line) for line in sorted_lines(journal)] == expected
    write_final(journal, tmp_path / "t.parquet")
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.equals(pa.Table.from_pylist(expected, schema=TRAJECTORY_SCHEMA))
    assert table.schema.metadata == TRAJECTORY_SCHEMA.metadata


def test_a_journal_of_one_torn_line_is_an_empty_file(tmp_path):
    write_final(journal_of(tmp_path / "j", [], tail=b'{"id"'), tmp_path / "t.parquet")
    assert pq.read_metadata(tmp_path / "t.parquet").num_rows == 0


def test_a_score_that_is_no_number_is_kept(tmp_path):
    write_final(journal_of(tmp_path / "j", [trajectory(score=float("nan"))]), tmp_path / "t.parquet")
    [score] = pq.read_table(tmp_path / "t.parquet")["score"].to_pylist()
    assert math.isnan(score)


def test_long_episodes_make_small_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(final_file, "_BYTES_PER_GROUP", 20_000)
    long = (Turn(reply="look", action="look", observation="x" * 5000),)
    journal = journal_of(tmp_path / "j", [trajectory(n, turns=long) for n in range(20)])
    write_final(journal, tmp_path / "t.parquet")
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        assert file.metadata.num_rows == 20
        assert {file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)} == {4}


def test_bodies_are_not_in_memory_together(tmp_path, monkeypatch):
    for bound in ("_BYTES_PER_GROUP", "_BYTES_AT_ONCE"):
        monkeypatch.setattr(final_file, bound, 1_000_000)
    rng = random.Random(0)
    long = [
        trajectory(n, turns=(Turn(reply="look", action="look", observation=rng.randbytes(20_000).hex()),))
        for n in range(400)
    ]
    journal = journal_of(tmp_path / "j", long)
    del long
    size = journal.stat().st_size
    write_final(journal_of(tmp_path / "warm", [trajectory()]), tmp_path / "warm.parquet")
    tracemalloc.start()
    write_final(journal, tmp_path / "t.parquet")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 15_000_000
    assert peak < size / 3
