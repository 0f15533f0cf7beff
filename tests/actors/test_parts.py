"""Episodes in parts: what was acknowledged is there whatever happens to the writer, and the finished folder equals a local one's."""

import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from object_store import ObjectStore
from pyarrow import fs
from test_store import trajectory, write

from actors.parts import PartWriter, part_names
from actors.place import Place, PlaceError, is_address, place_of
from actors.retry import Backoff
from actors.store import TRAJECTORIES, finalise, finished_ids, open_sink, to_line
from actors.trajectory import EndReason, from_row

QUICK = Backoff(max_attempts=3, base_delay_s=0.001)


def lines(*numbers, **changes):
    return [to_line(trajectory(number, **changes)) for number in numbers]


def records(place):
    with pq.ParquetFile(place.open_file(TRAJECTORIES)) as file:
        return [from_row(row) for row in file.read().to_pylist()]


@pytest.fixture(params=["objects", "subtree", "file"])
def place(request, tmp_path):
    if request.param == "objects":
        return ObjectStore().place
    if request.param == "subtree":
        return Place(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "run")
    return place_of((tmp_path / "run").as_uri())


def test_parts_finish_as_one_file_like_a_local_folder(place, tmp_path):
    first, second = PartWriter(place), PartWriter(place)
    first.append(lines(3, 1))
    second.append(lines(2))
    first.append(lines(1, 0))
    lost = trajectory(0, end=EndReason.ERROR, error="late", success=False)
    second.append([to_line(lost)])
    assert len(part_names(place)) == 4
    assert finished_ids(place) == {trajectory(n).id for n in range(4)}
    totals = finalise(place)
    write(tmp_path / "local", *(trajectory(n) for n in (3, 1, 2, 1, 0)), lost)
    assert totals == finalise(tmp_path / "local")
    assert records(place) == [trajectory(n) for n in range(4)]
    assert (
        pq.read_table(tmp_path / "local" / TRAJECTORIES).to_pylist()
        == pq.read_table(place.open_file(TRAJECTORIES)).to_pylist()
    )


def test_finishing_leaves_one_part_and_a_second_start_goes_on_from_it(place):
    writer = PartWriter(place)
    for number in range(5):
        writer.append(lines(number))
    finalise(place)
    assert len(part_names(place)) == 1
    assert finished_ids(place) == {trajectory(n).id for n in range(5)}
    PartWriter(place).append(lines(5))
    assert finalise(place).episodes == 6
    assert len(records(place)) == 6
    assert finalise(place).episodes == 6, "and finishing again changes nothing"


def test_an_empty_place_finishes_empty(place):
    assert finished_ids(place) == set()
    assert finalise(place).episodes == 0
    assert records(place) == []


def test_an_upload_that_breaks_off_is_made_again_and_its_rest_does_no_harm():
    store = ObjectStore(fails=lambda path, attempt: 700 if attempt == 2 else None)
    writer = PartWriter(store.place, QUICK)
    writer.append(lines(0))
    writer.append(lines(1, 2))
    assert 700 in {len(body) for body in store.objects.values()}, "the torn one stays as it is"
    assert finished_ids(store.place) == {trajectory(n).id for n in range(3)}
    finalise(store.place)
    assert records(store.place) == [trajectory(n) for n in range(3)]


def test_a_store_that_stays_away_stops_the_writer_and_says_what_to_do():
    store = ObjectStore(fails=lambda path, attempt: 0 if attempt > 1 else None)
    writer = PartWriter(store.place, QUICK)
    writer.append(lines(0))
    with pytest.raises(PlaceError, match=r"written to bucket/run in 3 tries: .*start again"):
        writer.append(lines(1))
    assert finished_ids(store.place) == {trajectory(0).id}


def test_a_file_that_arrived_short_is_no_success():
    class Lossy(ObjectStore):
        def get_file_info(self, paths):
            self.objects = {path: body[:10] for path, body in self.objects.items()}
            return super().get_file_info(paths)

    with pytest.raises(PlaceError, match=r"has 10 bytes of the \d+ that were written"):
        Lossy().place.put("part-1.jsonl", b"x" * 100)


def test_parts_go_only_once_what_replaces_them_is_whole():
    store = ObjectStore(fails=lambda path, attempt: 50 if "merged" in path else None)
    writer = PartWriter(store.place, QUICK)
    for number in range(3):
        writer.append(lines(number))
    with pytest.raises(OSError, match="connection reset"):
        finalise(store.place)
    assert finished_ids(store.place) == {trajectory(n).id for n in range(3)}
    store.fails = lambda path, attempt: None
    assert finalise(store.place).episodes == 3


def test_a_writer_that_replaces_another_writes_over_nothing():
    store = ObjectStore()
    for number in range(20):
        PartWriter(store.place).append(lines(number))
    assert len(store.objects) == 20


KILLED = """
import sys
from test_store import trajectory
from actors.store import open_sink, to_line
sink = open_sink(sys.argv[1])
for number in range(10_000):
    sink.append([to_line(trajectory(number))])
    print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path):
    address = (tmp_path / "run").as_uri()
    places = [os.path.dirname(__file__), *sys.path]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, address],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
    ) as process:
        for line in process.stdout:
            if int(line) == 20:
                process.send_signal(signal.SIGKILL)
                break
        acknowledged = 20 + len(process.stdout.readlines())
    assert {trajectory(n).id for n in range(acknowledged + 1)} <= finished_ids(address)
    open_sink(address).append(lines(20_000))
    assert trajectory(20_000).id in finished_ids(address)


def test_addresses_are_told_from_paths():
    assert is_address("s3://bucket/run")
    assert is_address("gs://bucket/run")
    assert not is_address("runs/a:b//c")
    assert not is_address("/tmp/run")


def test_an_address_with_a_key_is_refused_and_not_quoted():
    with pytest.raises(PlaceError, match="give it without") as refused:
        place_of("s3://someone:very-secret@bucket/run")  # pragma: allowlist secret
    assert "very-secret" not in str(refused.value)


def test_an_address_that_nothing_knows_is_named():
    with pytest.raises(PlaceError, match=r"no filesystem for nowhere://a/b: .*use a path, s3://"):
        place_of("nowhere://a/b")


def test_what_only_fsspec_knows_is_a_place_too():
    place = place_of("memory://offbook-test/run")
    PartWriter(place).append(lines(0))
    assert finished_ids("memory://offbook-test/run") == {trajectory(0).id}
