"""The internalisation meters: on numbers whose truth is known, and on a study with real stages, records, rows and weights.

Only the model that plays and the training are stand-ins: the scripted model answers for every adapter, and adapters are fitted by a few plain steps.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package
sys.path.insert(0, str(Path(__file__).parent))

from finished_runs import finished_run, without_engines
from tiny_model import build_tiny_model

from actors.agents import make_agent
from actors.config import ScriptedModelConfig
from actors.player import OneModel
from actors.scripted import ScriptedModel
from distill import cli
from distill.config import StudyConfig
from distill.episode_columns import read_episodes
from distill.episode_files import read_trajectories
from distill.internalisation import Scores, by_hints_seen, gain, gain_apart, likelihoods
from distill.pipeline import with_hinted_students
from distill.reply_scores import _episodes
from distill.run_folder import open_run
from distill.runners import FleetHolder, StudyRunners
from distill.stages import run_stages
from distill.strip import strip, why_left_out
from distill.study import plan_stages
from train.schema import SFT_SCHEMA

STUDY = """
name = "inner"
seeds = [0, 1]
arms = ["base", "teacher", "baseline", "distill"ARMS]
env = {{ name = "scripted", num_tasks = 100 }}
tasks = {{ train = 30, test = 15 }}
agent = {{ prompt = "brief" }}
model = {{ kind = "vllm", model = "{model}" }}
budget = {{ max_steps = 20 }}
rollout = {{ flush_every_s = 0.05 }}
train = {{ dtype = "float32" }}
statistics = {{ resamples = 500 }}
writer = {{ kind = "diagnostician" }}
"""
HINTED_ARM = '\n[arm.distill_hinted]\nkind = "hinted"\nstudent = "distill"\n'


def rows_stage(stage, folder, store):
    """The training rows of the sources' successes, without what an audit and tokens add."""
    agent = make_agent(
        StudyConfig.model_fields["agent"].default.model_copy(update={"prompt": "brief"}), "scripted"
    )
    sources = [store.folder(source) for source in stage.inputs.values() if source.kind == "rollout"]
    won = (t for source in sources for t in read_trajectories(source) if why_left_out(t) is None)
    rows = [row for t in won for row in strip(t, agent)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SFT_SCHEMA), folder / "rows.parquet")
    return {"rows": len(rows)}


def fit_stages(stages, store, model):
    """A LoRA adapter a stage, by plain steps of Adam on its rows: no engine, no workers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from actors.tokenizer import load_tokenizer
    from train.adapter import hash_model
    from train.tokenize import to_tokens_row

    tokenizer = load_tokenizer(model)
    for stage, folder in stages:
        rows = pq.read_table(store.folder(stage.inputs["rows"]) / "rows.parquet").to_pylist()
        torch.manual_seed(stage.config["seed"])
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        adapted = get_peft_model(
            base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"])
        )
        optimiser = torch.optim.Adam(adapted.parameters(), lr=3e-3)
        for row in rows[:6] * 2:
            tokens = to_tokens_row(row, tokenizer)
            adapted(
                input_ids=torch.tensor([tokens["input_ids"]]), labels=torch.tensor([tokens["labels"]])
            ).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        adapted.save_pretrained(folder / "adapter")
        manifest = {"base": model, "base_sha256": hash_model(model)}
        (folder / "adapter" / "adapter.json").write_text(json.dumps(manifest))
    return [{"steps": 12} for _ in stages]


def build(folder, *, hinted_arm=False):
    model = str(build_tiny_model(folder / "model"))
    study = STUDY.replace("ARMS", ', "distill_hinted"' if hinted_arm else "").format(model=model)
    return finished_run(
        folder / "runs",
        study + (HINTED_ARM if hinted_arm else ""),
        models=OneModel(ScriptedModel(ScriptedModelConfig(skill=0.3))),
        dataset=rows_stage,
        fit=lambda stages, store: fit_stages(stages, store, model),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return build(tmp_path_factory.mktemp("inner"), hinted_arm=True)


def document(run, *arguments, capsys):
    assert cli.main(["internalise", str(run), "--json", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((run / "internalisation.json").read_text())
    return told


# Numbers whose truth is known.


def test_the_share_of_the_gap_is_the_ratio_of_sums():
    tokens = np.array([10, 20, 10, 40])
    base = Scores(log_probs=-1.0 * tokens, num_tokens=tokens)
    teacher = Scores(log_probs=np.array([-0.5, -0.6, -0.4, -0.5]) * tokens, num_tokens=tokens)
    halfway = Scores(log_probs=(base.log_probs + teacher.log_probs) / 2, num_tokens=tokens)
    found = likelihoods(
        {"base": base, "teacher": teacher, "student": halfway},
        np.array(["a", "b", "c", "d"]),
        control="student",
        resamples=300,
    )
    assert found["student"].closed == pytest.approx(0.5) and found["student"].closed_ci95 == pytest.approx(
        (0.5, 0.5)
    )
    assert found["teacher"].closed == pytest.approx(1) and found["base"].closed == pytest.approx(0)
    assert found["teacher"].over_base == pytest.approx((5 + 8 + 6 + 20) / 80)
    assert found["student"].log_prob == pytest.approx(halfway.log_probs.sum() / 80)
    assert found["teacher"].over_control == pytest.approx(found["teacher"].over_base / 2)
    assert found["student"].over_control == 0


def test_no_share_is_told_where_the_teacher_has_no_lead():
    tokens = np.full(40, 10)
    rng = np.random.default_rng(0)
    base = Scores(log_probs=rng.normal(-10, 1, 40), num_tokens=tokens)
    teacher = Scores(log_probs=base.log_probs + np.tile([1.0, -1.0], 20), num_tokens=tokens)
    found = likelihoods({"base": base, "teacher": teacher}, np.arange(40), resamples=300)
    assert found["teacher"].closed is None and found["teacher"].closed_ci95 is None
    assert found["teacher"].over_control is None


def test_players_scored_on_different_tokens_are_refused():
    scores = {"base": Scores(log_probs=np.zeros(2), num_tokens=np.array([1, 2]))}
    scores["teacher"] = Scores(log_probs=np.zeros(2), num_tokens=np.array([1, 3]))
    with pytest.raises(ValueError, match="teacher was scored on other tokens than base"):
        likelihoods(scores, np.arange(2))


def test_episodes_of_one_task_are_not_independent_evidence():
    rng = np.random.default_rng(1)
    by_task = np.repeat(rng.normal(0.2, 1, 12), 20)
    tokens = np.full(240, 10)
    base = Scores(log_probs=np.full(240, -10.0), num_tokens=tokens)
    teacher = Scores(log_probs=-10 + by_task, num_tokens=tokens)
    scores = {"base": base, "teacher": teacher}
    clustered = likelihoods(scores, np.repeat(np.arange(12), 20), resamples=500)["teacher"].over_base_ci95
    naive = likelihoods(scores, np.arange(240), resamples=500)["teacher"].over_base_ci95
    assert clustered[1] - clustered[0] > 2 * (naive[1] - naive[0])


def test_gains_are_paired_and_apart_over_groups_of_tasks(panel_of, trajectory_of):
    panel = panel_of(20)
    wins = lambda arm, won: read_episodes(  # noqa: E731
        arm, [trajectory_of(t, arm=arm, success=won(i)) for i, t in enumerate(panel.tasks)], panel
    )
    base, student = wins("base", lambda i: i % 4 == 0), wins("distill", lambda i: i < 10 or i % 4 == 0)
    told = gain(student, base, resamples=300)
    assert (told.rate, told.rate_other, told.num_pairs, told.num_tasks) == (0.6, 0.25, 20, 20)
    assert told.delta == pytest.approx(0.35) and told.ci95[0] > 0 and told.p_value < 0.05
    delta, (low, high) = gain_apart(student, base, (set(range(10)), set(range(10, 20))), resamples=300)
    assert delta == pytest.approx(0.7) and low > 0.3 and high <= 1
    assert gain_apart(student, base, ({1}, set(range(10, 20)))) is None
    assert gain(student, base.where(np.zeros(20, dtype=bool))) is None


def test_a_task_is_unseen_where_none_of_its_hints_was_given():
    hints = {"a": {"x", "y"}, "b": {"x", "z"}, "c": {"z"}, "d": set()}
    assert by_hints_seen(hints, {"x", "y"}) == {"a": "seen", "b": "mixed", "c": "unseen"}


# On a study.


def test_the_meters_of_a_study_hold_against_its_records(run, capsys):
    told = document(run, "--no-play", capsys=capsys)
    opened = open_run(run)
    records = {
        arm: {(t.task.key, t.seed): t for r in opened.evaluations(arm) for t in r.trajectories()}
        for arm in ("base", "teacher", "distill", "distill_hinted")
    }
    rate = lambda arm: sum(t.success for t in records[arm].values()) / len(records[arm])  # noqa: E731
    rows = {row["player"]: row for row in told["with_hints"]}
    assert rows.keys() == {"base", "distill"} and rows["distill"]["arm"] == "distill_hinted"
    for player, hinted in (("base", "teacher"), ("distill", "distill_hinted")):
        found = rows[player]["gain"]
        assert (found["rate_other"], found["rate"]) == pytest.approx((rate(player), rate(hinted)))
        assert found["delta"] == pytest.approx(rate(hinted) - rate(player)) and found["num_pairs"] == 30
    wins = [t for t in records["teacher"].values() if why_left_out(t) is None]
    assert told["likelihood"]["episodes"] == len(wins) and told["likelihood"]["control"] == "baseline"
    # Trained on such replies, both students find them likelier than base does, which was never trained at all.
    players = told["likelihood"]["players"]
    assert players["distill"]["over_base_ci95"][0] > 0 and players["baseline"]["over_base"] > 0
    assert set(players) == {"base", "teacher", "baseline", "distill"}


def test_scores_are_those_of_the_rows_that_the_wins_would_become(run, capsys):
    document(run, "--no-play", capsys=capsys)
    from actors.tokenizer import load_tokenizer
    from train.score import Scorer
    from train.tokenize import to_tokens_row

    opened = open_run(run)
    (folder,) = opened.folder("tasks").parent.glob("scores-*")
    model = opened.config.model.model
    tokenizer, scorer = load_tokenizer(model), Scorer(model, dtype="float32")
    agent = make_agent(opened.config.agent, "scripted")
    win = next(t for t in opened.evaluations("teacher")[1].trajectories() if t.success)
    adapter = opened.folder("fit-distill-s1") / "adapter"
    for player, keep, weights in (
        ("base", False, None),
        ("teacher", True, None),
        ("distill", False, adapter),
    ):
        (stripped,) = strip(win, agent, keep_hints=keep)
        row = to_tokens_row(stripped, tokenizer)
        (expected,) = scorer.score([(row["input_ids"], row["labels"])], weights)
        table = pq.read_table(folder / f"{player}-s1.parquet").to_pylist()
        (found,) = [r for r in table if r["trajectory_id"] == win.id]
        assert found["log_prob"] == pytest.approx(expected.log_prob, rel=1e-4)
        assert (found["num_tokens"], found["task"], found["seed"]) == (expected.num_tokens, win.task.key, 1)


def test_an_agent_whose_prompts_are_one_message_is_scored_on_a_row_for_every_reply(run):
    from actors.tokenizer import load_tokenizer
    from train.tokenize import IGNORED

    opened = open_run(run)
    transcript = make_agent(opened.config.agent.model_copy(update={"layout": "transcript"}), "scripted")
    rollout = opened.evaluations("teacher")[0]
    wins = [replace(t, agent=transcript.name) for t in rollout.trajectories() if why_left_out(t) is None]
    played = SimpleNamespace(trajectories=lambda: iter(wins))
    tokenizer = load_tokenizer(opened.config.model.model)
    for episode in _episodes(opened, transcript, played):
        for rows in (episode.bare, episode.hinted):
            said = [tokenizer.decode([i for i in labels if i != IGNORED]) for _, labels in rows]
            assert said == [turn.reply + "<|im_end|>" for turn in episode.trajectory.turns]
        assert all(
            len(hinted[0]) > len(bare[0]) for bare, hinted in zip(episode.bare, episode.hinted, strict=True)
        )


def test_scores_are_made_once_and_a_half_finished_stage_goes_on(run, capsys, monkeypatch):
    told = document(run, "--no-play", capsys=capsys)
    (folder,) = open_run(run).folder("tasks").parent.glob("scores-*")
    (folder / "manifest.json").unlink()
    (folder / "distill-s1.parquet").unlink()
    kept = (folder / "base-s0.parquet").stat().st_mtime_ns
    asked = []
    from train.score import Scorer

    original = Scorer.score
    monkeypatch.setattr(
        Scorer,
        "score",
        lambda self, rows, adapter=None: asked.append(adapter) or original(self, rows, adapter),
    )
    assert document(run, "--no-play", capsys=capsys) == told
    assert [adapter.parent.name for adapter in asked] == [open_run(run).stages["fit-distill-s1"].name]
    assert (folder / "base-s0.parquet").stat().st_mtime_ns == kept
    document(run, "--no-play", capsys=capsys)
    assert len(asked) == 1


def test_unseen_hints_are_those_that_no_training_row_had(run, capsys):
    opened = open_run(run)
    rows = opened.folder("rows-distill") / "rows.parquet"
    kept = pq.read_table(rows)
    whole = document(run, "--no-play", "--no-scores", capsys=capsys)
    # The baseline's rows had no hints at all; distill's had those of every kind.
    assert list(whole["unseen_hints"]) == ["distill"] and whole["held_out_kinds"] == {}
    one_kind = [
        t.id
        for r in opened.rollouts
        if r.stage == "train-teacher"
        for t in r.trajectories()
        if t.task.kind == "wash"
    ]
    pq.write_table(kept.filter(pa.compute.is_in(kept["trajectory_id"], pa.array(one_kind))), rows)
    try:
        told = document(run, "--no-play", "--no-scores", capsys=capsys)
    finally:
        pq.write_table(kept, rows)
    groups = {g["group"]: g for g in told["unseen_hints"]["distill"]["groups"]}
    kinds = [task.kind for task in opened.panel.tasks]
    assert groups["seen"]["tasks"] == kinds.count("wash") and groups["unseen"]["tasks"] == len(
        kinds
    ) - kinds.count("wash")
    student = [t for r in opened.evaluations("distill") for t in r.trajectories() if t.task.kind != "wash"]
    assert groups["unseen"]["student_over_base"]["rate"] == pytest.approx(
        sum(t.success for t in student) / len(student)
    )
    by_kind = {g["group"]: g["tasks"] for g in told["held_out_kinds"]["distill"]["groups"]}
    assert by_kind == {"held out": len(kinds) - kinds.count("wash"), "trained": kinds.count("wash")}
    deltas = [groups[name]["student_over_base"]["delta"] for name in ("unseen", "seen")]
    assert told["unseen_hints"]["distill"]["first_over_last"]["delta"] == pytest.approx(deltas[0] - deltas[1])


def test_students_are_given_hints_where_the_study_has_no_such_arm(tmp_path, monkeypatch, capsys):
    run = build(tmp_path)
    played = []

    def without_ray(self, config, stages):
        own = StudyRunners(config, self._store, FleetHolder())
        with without_engines(OneModel(ScriptedModel(ScriptedModelConfig(skill=0.3))), played):
            run_stages(stages, self._store, own.runners, own.together)

    monkeypatch.setattr("distill.pipeline._Workplace.run_stages", without_ray)
    told = document(run, "--no-scores", "--student", "distill", capsys=capsys)
    assert len(played) == 30 and all(
        spec.role == "student" and spec.hints and spec.adapter for spec in played
    )
    teacher = {t.task.key: t.hints for t in open_run(run).evaluations("teacher")[0].trajectories()}
    assert all(spec.hints == teacher[spec.task.key] for spec in played)
    row = told["with_hints"][1]
    assert (row["player"], row["arm"]) == ("distill", "played for this") and row["gain"]["num_pairs"] == 30
    # The scripted model with a fitting hint never fails, whatever adapter it is said to have.
    assert row["gain"]["rate"] == 1 > row["gain"]["rate_other"]
    # A study that names the arm itself shares the episodes.
    opened = open_run(run)
    wider = with_hinted_students(opened.config, {"distill": "again"}, "teacher")
    key = plan_stages(wider).evaluations["again", 0].folder_name
    assert (opened.folder("tasks").parent / key / "manifest.json").is_file()
    document(run, "--no-scores", "--student", "distill", capsys=capsys)
    assert len(played) == 30


def test_the_tables_are_printed(run, capsys):
    assert cli.main(["internalise", str(run), "--no-play"]) == 0
    shown = capsys.readouterr().out
    assert "What hints still add" in shown and "over baseline" in shown and "gap closed" in shown
    assert (
        "distill: tasks by whether their hints stood" in shown and str(run / "internalisation.json") in shown
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--student", "teacher"], "arm 'teacher' is no student of inner; it has baseline, distill"),
        (["--teacher", "base"], "arm 'base'"),
        (["--teacher", "nobody"], "arm 'nobody'"),
        (["--teacher", "distill"], "arm 'distill'"),
    ],
)
def test_arms_that_cannot_be_measured_are_refused(arguments, message, run, capsys):
    assert cli.main(["internalise", str(run), "--no-play", "--no-scores", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_study_without_students_or_weights_says_so(tmp_path, run, capsys):
    assert cli.main(["internalise", str(finished_run(tmp_path))]) == 2
    assert "trains no student" in capsys.readouterr().err
    written = (run / "run.json").read_text()
    document = json.loads(written)
    document["config"]["model"] = {"kind": "scripted", "model": "served elsewhere"}
    (run / "run.json").write_text(json.dumps(document))
    try:
        assert cli.main(["internalise", str(run), "--no-play"]) == 2
    finally:
        (run / "run.json").write_text(written)
    assert "leave this meter out with --no-scores" in capsys.readouterr().err
