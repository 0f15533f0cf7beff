"""Trackers: TensorBoard's event files are read back as they are on disk; MLflow and W&B stand in as modules that record their calls."""

import json
import logging
import struct
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from finished_studies import STEPS, FinishedRun, small_study

from distill import cli
from distill.outlets import RunOutlets
from distill.run_metrics import METRICS, append_metrics, read_metrics
from distill.tracking.base import Row, TrackerError, make_tracker
from distill.tracking.config import TrackerConfig
from distill.tracking.feed import STATE, Feed
from distill.tracking.rows import row_of

SECRET = "hunter2-of-the-environment"  # pragma: allowlist secret


class Recording:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.rows, self.files, self.runs, self.finished = [], [], [], 0
        self.failing = None

    def start(self, run):
        self.runs.append(run)
        return run.id or "run-1"

    def log(self, rows):
        if self.failing:
            raise self.failing
        self.rows += rows

    def log_file(self, path):
        self.files.append(path.name)

    def finish(self):
        self.finished += 1


@pytest.fixture
def run(tmp_path, panel_of, arms_of):
    found = FinishedRun(tmp_path, small_study(), panel_of(12), arms_of).finish_all()
    append_metrics(found.run_dir, found.plan.stages, found.plan, found.store)
    return found


def feed_of(run, tracker, name="tensorboard", **settings):
    return Feed(run.run_dir, name, TrackerConfig(to=(name,), **settings), lambda _: tracker)


def scalars(folder):
    """(tag, step, value) of all event files of a folder, decoded from their bytes."""
    from tensorboardX.proto.event_pb2 import Event

    found, texts = [], []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.append((value.tag, event.step, value.simple_value))
                else:
                    texts.append(value.tensor.string_val[0].decode())
            at += 12 + length + 4
    return found, texts


@pytest.mark.parametrize(
    ("line", "group", "step"),
    [
        ({"event": "train", "stage": "fit-distill-s2", "arm": "distill", "seed": 2, "step": 7}, "train/distill-s2", 7),
        ({"event": "evaluation", "stage": "eval-base-s2", "arm": "base", "seed": 2}, "eval/base", 2),
        ({"event": "stage", "stage": "hints", "kind": "hints", "ended": 5.0}, "stage/hints", 0),
    ],
)  # fmt: skip
def test_lines_become_rows_with_a_step_that_means_something(line, group, step):
    measured = {"loss": 0.5, "count": 3, "lost": None, "note": "x"}
    found = row_of(line | {"key": "k"} | measured)
    assert found == Row(step=step, metrics={f"{group}/loss": 0.5, f"{group}/count": 3.0})


def test_tensorboard_files_hold_every_number_of_the_run(run):
    assert cli.main(["track", str(run.run_dir), "--to", "tensorboard"]) == 0
    found, texts = scalars(run.run_dir / "tensorboard")
    told = {(tag, step): value for tag, step, value in found}
    assert len(told) == len(found)
    for line in read_metrics(run.run_dir):
        row = row_of(line)
        for name, value in row.metrics.items():
            assert told[name, row.step] == pytest.approx(value)
    assert [told["train/distill-s1/loss", step] for step in range(STEPS)] == pytest.approx(
        [1 / (step + 1) for step in range(STEPS)]
    )
    assert "config_sha256: " in texts[0] and "arms: base, teacher, baseline, distill" in texts[0]


def test_tracking_again_sends_only_what_is_new(run, capsys):
    path = run.run_dir / METRICS
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:10]))
    for expected in (10, 0, whole.count("\n") - 10, 0):
        assert cli.main(["track", str(run.run_dir), "--to", "tensorboard"]) == 0
        assert f": {expected} new lines sent" in capsys.readouterr().out
        path.write_text(whole) if expected == 0 else None
    found, _ = scalars(run.run_dir / "tensorboard")
    assert len(found) == len({(tag, step) for tag, step, _ in found})


def test_a_feed_goes_on_with_the_trackers_own_run(run):
    tracker = Recording()
    feed_of(run, tracker).send()
    again = Recording()
    feed = feed_of(run, again)
    assert feed.send() == 0 and not again.runs
    with (run.run_dir / METRICS).open("a") as file:
        stage = run.plan.tasks
        file.write(json.dumps({"event": "stage", "stage": stage.name, "key": stage.key, "x": 1}) + "\n")
    assert feed.send() == 1
    assert [r.id for r in (*tracker.runs, *again.runs)] == [None, "run-1"]
    assert [row.metrics for row in again.rows] == [{"stage/tasks/x": 1.0}]


def test_files_are_sent_once_and_again_when_they_change(run):
    for change, expected in (
        (None, ["results.json", METRICS]),
        (None, []),
        ("report/results.json", ["results.json"]),
    ):
        if change:
            (run.run_dir / change).write_text("{}")
        tracker = Recording()
        feed = feed_of(run, tracker)
        feed.send()
        feed.finish()
        assert tracker.files == expected and tracker.finished == bool(expected)


def test_lines_of_former_settings_are_not_sent(run, tmp_path, panel_of, arms_of):
    other = FinishedRun(tmp_path, small_study(retriever={"k": 1}), panel_of(12), arms_of)
    for stage in other.plan.stages:
        if not other.store.is_done(stage):
            other.finish(stage)
    append_metrics(other.run_dir, other.plan.stages, other.plan, other.store)
    tracker = Recording()
    feed_of(other, tracker).send()
    names = [(name, row.step) for row in tracker.rows for name in row.metrics]
    assert len(names) == len(set(names))
    assert ("eval/teacher/success_rate", 1) in names


def test_a_tracker_that_fails_is_dropped_and_the_study_goes_on(run, caplog, monkeypatch):
    tracker = Recording()
    tracker.failing = ConnectionError(f"https://user:{SECRET}@server refused")
    monkeypatch.setattr("distill.tracking.feed.make_tracker", lambda _: tracker)
    config = small_study(tracker={"to": ["tensorboard"]})
    outlets = RunOutlets(run.run_dir, config, run.plan, run.store)
    outlets._feeds = [feed_of(run, tracker)]
    with caplog.at_level(logging.INFO):
        outlets.update()
        outlets.finish()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "failed with ConnectionError" in caplog.text and "offbook track" in caplog.text
    assert SECRET not in caplog.text
    tracker.failing = None
    assert feed_of(run, tracker).send() == len(read_metrics(run.run_dir))


def test_a_file_that_became_shorter_is_an_error(run):
    feed_of(run, Recording()).send()
    (run.run_dir / METRICS).write_text("")
    with pytest.raises(
        TrackerError, match=r"0 lines and \d+ were sent to tensorboard; delete .*tracked\.json"
    ):
        feed_of(run, Recording()).send()
    (run.run_dir / STATE).write_text("{")
    with pytest.raises(TrackerError, match="is damaged"):
        feed_of(run, Recording()).send()


def test_nothing_of_the_settings_but_what_is_named_is_told(run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    document = json.loads((run.run_dir / "run.json").read_text())
    document["config"]["writer"] |= {"base_url": f"https://{SECRET}"}
    document["config"]["model"]["model"] = "/home/somebody/models/tiny"
    (run.run_dir / "run.json").write_text(json.dumps(document))
    tracker = Recording()
    feed_of(run, tracker).send()
    (told,) = tracker.runs
    assert set(told.facts) == {"config_sha256", "env", "model", "arms", "seeds"}
    assert told.facts["model"] == "tiny" and "somebody" not in str(told.facts)
    assert SECRET not in str(told) + str(tracker.rows) + (run.run_dir / STATE).read_text()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "tensorboard"])
def test_a_missing_package_is_named_with_the_command_that_installs_it(name, run, monkeypatch, capsys):
    monkeypatch.setattr("distill.tracking.base.find_spec", lambda _: None)
    assert cli.main(["track", str(run.run_dir), "--to", name]) == 2
    told = capsys.readouterr().err
    package = {"tensorboard": "tensorboardX"}.get(name, name)
    assert f"tracker '{name}' needs the Python package '{package}': pip install" in told
    if name != "mlflow":
        assert f"offbook[{name}]" in told
    with pytest.raises(TrackerError):
        RunOutlets(run.run_dir, small_study(tracker={"to": [name]}), run.plan, run.store)


def test_what_is_no_run_or_no_tracker_is_refused(tmp_path, run, capsys):
    assert cli.main(["track", str(tmp_path), "--to", "tensorboard"]) == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err
    secret = f"https://me:{SECRET}@server"
    assert cli.main(["track", str(run.run_dir), "--to", "mlflow", "--uri", secret]) == 2
    told = capsys.readouterr().err
    assert "holds a user or a password" in told and SECRET not in told
    assert cli.main(["track", str(run.run_dir), "--to", "wandb", "--uri", "http://server"]) == 2
    assert "is MLflow's" in capsys.readouterr().err


def test_the_tracker_decides_no_stage(run):
    def keys(**changes):
        from distill.study import plan_stages

        return [stage.key for stage in plan_stages(small_study(**changes)).stages]

    assert keys() == keys(tracker={"to": ["wandb", "mlflow"], "uri": "http://server", "project": "other"})


@pytest.fixture
def wandb(monkeypatch):
    """A stand-in with the calls of the real module that are used, which refuses what the real one would."""
    calls = SimpleNamespace(init=[], settings=[], metrics=[], logged=[], saved=[], finished=0)

    class Run:
        id = None

        def define_metric(self, name, step_metric=None):
            calls.metrics.append((name, step_metric))

        def log(self, data):
            assert all(isinstance(value, int | float) for value in data.values())
            calls.logged.append(data)

        def save(self, path, base_path=None, policy="live"):
            assert Path(path).is_relative_to(base_path) and policy in ("now", "live", "end")
            calls.saved.append(Path(path).name)

        def finish(self):
            calls.finished += 1

    def init(*, project, name, id, resume, dir, config, settings):  # noqa: A002
        calls.init.append((project, name, id, resume, config, settings))
        run = Run()
        run.id = id
        return run

    module = stand_in(monkeypatch, "wandb")
    module.init = init
    module.Settings = lambda **settings: settings
    return calls


@pytest.fixture
def mlflow(monkeypatch):
    calls = SimpleNamespace(uris=[], experiments=[], runs=[], metrics=[], params=[], files=[], statuses=[])

    class MlflowClient:
        def __init__(self, tracking_uri=None):
            calls.uris.append(tracking_uri)

        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id=f"of {name}") if name in calls.experiments else None

        def create_experiment(self, name):
            calls.experiments.append(name)
            return f"of {name}"

        def create_run(self, experiment_id, run_name=None):
            calls.runs.append((experiment_id, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="r1"))

        def update_run(self, run_id, status=None):
            calls.statuses.append((run_id, status))

        def log_batch(self, run_id, metrics=(), params=()):
            assert run_id == "r1" and len(metrics) <= 1000
            calls.metrics += metrics
            calls.params += params

        def log_artifact(self, run_id, local_path):
            calls.files.append(Path(local_path).name)

        def set_terminated(self, run_id):
            calls.statuses.append((run_id, "FINISHED"))

    stand_in(monkeypatch, "mlflow").MlflowClient = MlflowClient
    entities = stand_in(monkeypatch, "mlflow.entities")
    entities.Metric = lambda key, value, timestamp, step: (key, value, step)
    entities.Param = lambda key, value: (key, value)
    return calls


def stand_in(monkeypatch, name):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_wandb_gets_a_step_for_each_group_and_sends_nothing_by_itself(run, wandb):
    assert cli.main(["track", str(run.run_dir), "--to", "wandb", "--project", "lab"]) == 0
    ((project, name, run_id, resume, config, settings),) = wandb.init
    assert (project, name, resume) == ("lab", "small", "allow") and set(config) >= {"config_sha256"}
    assert settings["x_disable_meta"] and settings["disable_git"] and settings["console"] == "off"
    assert not settings["x_save_requirements"]
    assert ("train/distill-s1/*", "train/distill-s1/step") in wandb.metrics
    assert len(wandb.metrics) == len(set(wandb.metrics))
    steps = [data["train/distill-s1/step"] for data in wandb.logged if "train/distill-s1/loss" in data]
    assert steps == list(range(STEPS)) and len(wandb.logged) == len(read_metrics(run.run_dir))
    assert wandb.saved == ["results.json", METRICS] and wandb.finished == 1
    (run.run_dir / "report" / "results.json").write_text("{}")
    assert cli.main(["track", str(run.run_dir), "--to", "wandb", "--project", "lab"]) == 0
    assert [call[2] for call in wandb.init] == [run_id, run_id]


def test_wandb_offline_is_left_to_wandb(run, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    cli.main(["track", str(run.run_dir), "--to", "wandb"])
    # Passed neither as an argument, which `init` above does not take, nor in the settings, the environment decides.
    assert "mode" not in wandb.init[0][-1]


def test_mlflow_gets_metrics_params_and_files_in_one_run(run, mlflow):
    arguments = ["track", str(run.run_dir), "--to", "mlflow", "--uri", "http://127.0.0.1:5000"]
    assert cli.main(arguments) == 0
    assert mlflow.uris == ["http://127.0.0.1:5000"] and mlflow.runs == [("of offbook", "small")]
    told = {(name, step): value for name, value, step in mlflow.metrics}
    assert told["train/baseline-s0/loss", 1] == 0.5 and len(told) == len(mlflow.metrics)
    assert dict(mlflow.params)["seeds"] == "0, 1"
    assert mlflow.files == ["results.json", METRICS] and mlflow.statuses == [("r1", "FINISHED")]
    (run.run_dir / "report" / "results.json").write_text("{}")
    assert cli.main(arguments) == 0
    assert len(mlflow.runs) == 1
    assert mlflow.statuses[1:] == [("r1", "RUNNING"), ("r1", "FINISHED")]


def test_mlflow_takes_a_thousand_metrics_a_call(run, mlflow):
    tracker = make_tracker("mlflow")
    tracker._client, tracker._run_id = sys.modules["mlflow"].MlflowClient(), "r1"
    tracker.log([Row(step=i, metrics={"a": 1.0, "b": 2.0, "c": 3.0}) for i in range(701)])
    assert len(mlflow.metrics) == 2103
