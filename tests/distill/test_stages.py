"""Stages: keys, resumption, manifests, locks."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from distill.stages import MANIFEST, SHARE, RunTogether, Stage, StageError, StageStore, run_stages


def stage(name: str, value: int = 0, version: int = 1, kind: str = "copy", **inputs: Stage) -> Stage:
    return Stage(name=name, kind=kind, version=version, config={"value": value}, inputs=inputs)


def write_value(stage: Stage, folder: Path, store: StageStore) -> dict:
    (folder / "value.txt").write_text(str(stage.config["value"]))
    return {"values": 1}


def test_key_follows_config_version_kind_and_inputs_but_not_name():
    assert stage("a").key == stage("b").key
    different = [
        stage("a", value=1),
        stage("a", version=2),
        stage("a", kind="other"),
        stage("a", source=stage("x")),
    ]
    keys = {stage("a").key, *(s.key for s in different)}
    assert len(keys) == 5
    assert stage("a", source=stage("x", value=1)).key != stage("a", source=stage("x", value=2)).key


def test_key_does_not_depend_on_the_order_of_settings():
    one = Stage(name="a", kind="k", version=1, config={"x": 1, "y": 2})
    two = Stage(name="a", kind="k", version=1, config={"y": 2, "x": 1})
    assert one.key == two.key


def test_finished_stages_are_not_run_again_and_manifest_tells_what_they_wrote(tmp_path):
    store, calls = StageStore(tmp_path), []

    def run(stage: Stage, folder: Path, store: StageStore) -> dict:
        calls.append(stage.name)
        return write_value(stage, folder, store)

    first = stage("first", value=7)
    stages = [first, stage("second", source=first)]
    run_stages(stages, store, {"copy": run})
    run_stages(stages, store, {"copy": run})
    assert calls == ["first", "second"]
    manifest = store.manifest(first)
    assert manifest["outputs"]["value.txt"]["bytes"] == 1
    assert manifest["counts"] == {"values": 1}
    assert store.manifest(stages[1])["inputs"] == {"source": first.folder_name}
    assert [store.status(s).state for s in stages] == ["cached", "cached"]


def test_equal_work_under_two_names_is_done_once(tmp_path):
    calls = []

    def run(stage: Stage, folder: Path, store: StageStore) -> dict:
        calls.append(stage.name)
        return {}

    run_stages([stage("a"), stage("b")], StageStore(tmp_path), {"copy": run})
    assert calls == ["a"]


def test_a_stage_that_raises_keeps_its_work_and_is_owed(tmp_path):
    store = StageStore(tmp_path)

    def fail(stage: Stage, folder: Path, store: StageStore) -> dict:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        run_stages([stage("a")], store, {"copy": fail})
    assert store.status(stage("a")).state == "partial"

    def resume(stage: Stage, folder: Path, store: StageStore) -> dict:
        assert (folder / "half.txt").read_text() == "half"
        return {}

    run_stages([stage("a")], store, {"copy": resume})
    assert store.is_done(stage("a"))


def test_neighbours_of_a_shared_kind_run_together(tmp_path):
    batches = []

    def together(pairs, store):
        batches.append([s.name for s, _ in pairs])
        return [write_value(s, folder, store) for s, folder in pairs]

    store = StageStore(tmp_path)
    fits = [stage(f"fit{i}", value=i, kind="fit") for i in range(3)]
    run_stages([fits[0]], store, {}, {"fit": RunTogether(run=together)})
    run_stages([stage("tasks"), *fits], store, {"copy": write_value}, {"fit": RunTogether(run=together)})
    assert batches == [["fit0"], ["fit1", "fit2"]]
    assert [(store.folder(f) / "value.txt").read_text() for f in fits] == ["0", "1", "2"]


def test_a_batch_is_bounded_and_nobody_in_it_waits_for_another(tmp_path):
    batches = []

    def together(pairs, store):
        batches.append([s.name for s, _ in pairs])
        return [{"values": 1, SHARE: s.config["value"]} for s, _ in pairs]

    first = stage("r0", value=1, kind="rollout")
    second = stage("r1", value=3, kind="rollout")
    needs = stage("r2", value=1, kind="rollout", before=first)
    rest = [stage(f"r{i}", value=10 + i, kind="rollout") for i in range(3, 7)]
    store = StageStore(tmp_path)
    run = RunTogether(run=together, at_most=3)
    run_stages([first, second, needs, *rest], store, {}, {"rollout": run})
    assert batches == [["r0", "r1"], ["r2", "r3", "r4"], ["r5", "r6"]]
    manifests = [store.manifest(one) for one in (first, second)]
    assert [m["counts"] for m in manifests] == [{"values": 1}] * 2
    assert manifests[1]["seconds"] == pytest.approx(3 * manifests[0]["seconds"], abs=0.002)


def test_damaged_manifest_says_what_to_do(tmp_path):
    store = StageStore(tmp_path)
    run_stages([stage("a")], store, {"copy": write_value})
    (store.folder(stage("a")) / MANIFEST).write_text("{")
    with pytest.raises(StageError, match="delete the folder"):
        store.manifest(stage("a"))


def test_manifest_of_an_unfinished_stage_says_to_run(tmp_path):
    with pytest.raises(StageError, match="run the study first"):
        StageStore(tmp_path).manifest(stage("a"))


def test_kill_9_in_a_stage_frees_its_lock_and_the_next_run_finishes(tmp_path):
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from distill.stages import Stage, StageStore, run_stages
        def run(stage, folder, store):
            (folder / "half.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        stage = Stage(name="a", kind="copy", version=1, config={{"value": 0}})
        run_stages([stage], StageStore(Path({str(tmp_path)!r})), {{"copy": run}})
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONPATH": "."}
    )
    assert killed.returncode == -signal.SIGKILL
    store = StageStore(tmp_path)
    assert store.status(stage("a")).state == "partial"
    run_stages([stage("a")], store, {"copy": write_value})
    assert json.loads((store.folder(stage("a")) / MANIFEST).read_text())["outputs"].keys() == {
        "half.txt",
        "value.txt",
    }
