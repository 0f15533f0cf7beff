"""The dataset pipeline: one row by hand, then the whole of it on a small Ray of its own."""

import json
import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.agents import make_agent
from actors.config import AgentConfig
from actors.trajectory import TRAJECTORY_SCHEMA, EndReason, GivenHint, Turn, to_row
from distill import dataset, dataset_stream
from distill.audit import LeakAuditor, LeakError
from distill.dataset import DatasetError, RowMaker, build_dataset
from distill.dataset_card import CardError, seal_of, verify_card
from distill.strip import RowFilter
from train.schema import SFT_SCHEMA, TOKENS_SCHEMA
from train.tokenize import IGNORED, prove_mask, prove_play

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from tiny_model import tiny_model  # noqa: F401

HINT = GivenHint(id="h1", text="Open a closed {container} before you look for the {object} in it.")
LEAK = Turn(
    reply="think: Open a closed fridge before you look for the apple in it.", action=None, observation="OK."
)


def write(folder, trajectories, name="trajectories.parquet"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    pq.write_table(pa.Table.from_pylist([to_row(t) for t in trajectories], schema=TRAJECTORY_SCHEMA), path)
    return path


@pytest.fixture(scope="module")
def tokenizer(tiny_model):  # noqa: F811
    return dataset._tokenizer(str(tiny_model))


@pytest.fixture
def teacher(trajectory_of, panel_of):
    """Twelve teacher episodes, every third lost."""
    return [
        trajectory_of(task, arm="teacher", success=i % 3 != 2, hints=(HINT,))
        for i, task in enumerate(panel_of(12).tasks)
    ]


@pytest.fixture
def row_of(tokenizer):
    def make(trajectory, max_length=None, filters=RowFilter()):
        auditor = LeakAuditor(hints=(HINT.text,))
        make_row = RowMaker(
            agent=make_agent(AgentConfig(), "alfworld"),
            auditor=auditor,
            max_length=max_length,
            filters=filters,
        )
        (row,) = make_row(to_row(trajectory), tokenizer)
        return row

    return make


def with_reply(trajectory, turn):
    return replace(trajectory, turns=(turn, *trajectory.turns))


def test_a_row_holds_the_replies_under_loss_and_no_hint(row_of, tokenizer, teacher):
    row = row_of(teacher[0])
    assert row.get("left_out") is None and row["leaks"] == []
    assert prove_mask(row, tokenizer) == tuple(turn.reply for turn in teacher[0].turns)
    assert HINT.text not in tokenizer.decode(row["input_ids"])
    assert 0 < row["num_prompt_tokens"] < row["num_tokens"] - row["num_loss_tokens"]
    assert next(i for i, label in enumerate(row["labels"]) if label != IGNORED) == row["num_prompt_tokens"]


def test_a_planted_leak_is_found_in_the_decoded_tokens_with_its_turn(row_of, teacher):
    row = row_of(with_reply(teacher[0], LEAK))
    assert row["leaks"][0]["message"].startswith(f"hint leak: {teacher[0].task.key} turn 1 still says ")


def test_a_leak_in_the_prompt_is_found_too(row_of, teacher):
    row = row_of(replace(teacher[0], opening=f"{teacher[0].opening}\n- {HINT.text}"))
    assert "the prompt still says" in row["leaks"][0]["message"]


def test_a_planted_all_zero_mask_is_caught(row_of, teacher, monkeypatch):
    honest = dataset.to_tokens_row

    def masked(*args, **kwargs):
        return (tokens := honest(*args, **kwargs)) | {"labels": [IGNORED] * tokens["num_tokens"]}

    monkeypatch.setattr(dataset, "to_tokens_row", masked)
    assert "all-zero mask" in row_of(teacher[0])["broken"]


def test_a_mask_on_the_wrong_words_is_caught(row_of, teacher, monkeypatch):
    honest = dataset.to_tokens_row

    def shifted(*args, **kwargs):
        tokens = honest(*args, **kwargs)
        return tokens | {"labels": [IGNORED, *tokens["input_ids"][1:5], *tokens["labels"][5:]]}

    monkeypatch.setattr(dataset, "to_tokens_row", shifted)
    assert row_of(teacher[0])["broken"]


def test_rows_that_cannot_be_trained_on_are_left_out_with_a_reason(row_of, tokenizer, teacher):
    special = Turn(reply=f"look{tokenizer.eos_token}", action="look", observation="x")
    assert row_of(teacher[2])["left_out"] == "not a success"
    assert row_of(teacher[0], max_length=20)["left_out"] == "more than 20 tokens"
    assert row_of(with_reply(teacher[0], special))["left_out"] == "a reply holds a special token"
    assert row_of(teacher[0], filters=RowFilter(max_steps=1))["left_out"] == "more than 1 steps"


def test_a_row_too_long_is_an_error_unless_it_may_be_dropped(
    row_of, teacher, tokenizer, tmp_path, monkeypatch
):
    rows = [row_of(teacher[0], max_length=20), row_of(teacher[1])]
    table = pa.Table.from_pylist(rows, schema=dataset._DONE)
    monkeypatch.setattr(dataset, "_stream", lambda *_: iter([table]))
    monkeypatch.setattr(dataset, "_tokenizer", lambda _: tokenizer)
    write(tmp_path, teacher[:2], "t.parquet")
    args = {
        "agent": AgentConfig(),
        "env_name": "alfworld",
        "model_path": "x",
        "arm": "distill",
        "max_length": 20,
    }
    with pytest.raises(DatasetError, match=r"more than 20 tokens; raise train\.max_length"):
        build_dataset([tmp_path / "t.parquet"], out_dir=tmp_path / "a", **args)
    summary = build_dataset([tmp_path / "t.parquet"], out_dir=tmp_path / "b", too_long="drop", **args)
    assert summary.num_rows == 1 and dict(summary.left_out) == {"more than 20 tokens": 1}


def test_what_is_no_trajectory_file_is_named_before_ray_is_asked(tmp_path, teacher):
    args = {
        "agent": AgentConfig(),
        "env_name": "alfworld",
        "model_path": "x",
        "arm": "distill",
        "out_dir": tmp_path / "out",
    }
    with pytest.raises(DatasetError, match=r"no trajectories at .*run the rollout stage"):
        build_dataset([tmp_path / "none.parquet"], **args)
    pq.write_table(SFT_SCHEMA.empty_table(), tmp_path / "rows.parquet")
    with pytest.raises(DatasetError, match="holds sft, not trajectories"):
        build_dataset([tmp_path / "rows.parquet"], **args)


@pytest.fixture
def build_here(tiny_model, tmp_path, monkeypatch):  # noqa: F811
    """`build_dataset` with its rows made in this process."""

    def stream(files, make, model_path):
        tokenizer = dataset._tokenizer(model_path)
        rows = dataset_stream.read_rows(files, dataset_stream.ordered_places(files), TRAJECTORY_SCHEMA.names)
        yield dataset._table([done for row in rows for done in make(row, tokenizer)], dataset._DONE)

    monkeypatch.setattr(dataset, "_stream", stream)

    def run(trajectories, out="out", agent=AgentConfig(), **options):
        summary = build_dataset(
            [write(tmp_path / f"in-{out}", trajectories)],
            agent=agent,
            env_name="alfworld",
            model_path=str(tiny_model),
            arm="distill",
            out_dir=tmp_path / out,
            **options,
        )
        return summary, tmp_path / out

    return run


def test_a_leak_is_rewritten_where_the_action_stays_and_left_out_where_not(build_here, teacher, tokenizer):
    hinted = Turn(reply=LEAK.reply.removeprefix("think: "), action="x", observation="Nothing happens.")
    mixed = [with_reply(teacher[0], LEAK), with_reply(teacher[1], hinted), *teacher[2:]]
    summary, out = build_here(mixed, on_leak="rewrite")
    audit = json.loads((out / "card.json").read_text())["leak_audit"]
    assert (audit["policy"], audit["rows_rewritten"], audit["rows_left_out"]) == ("rewrite", 1, 1)
    assert "turn 1 still says" in audit["taken_out"][0]
    rows = {row["trajectory_id"]: row for row in pq.read_table(out / "rows.parquet").to_pylist()}
    assert teacher[1].id not in rows and summary.num_rows == 7
    told = [m["content"] for m in rows[teacher[0].id]["messages"] if m["role"] == "assistant"]
    assert told == [turn.reply for turn in teacher[0].turns]
    dropped, _ = build_here(mixed, out="dropped", on_leak="drop")
    assert dropped.num_rows == 6
    with pytest.raises(LeakError, match="turn 1 still says"):
        build_here(mixed, out="failed")


def test_an_episode_in_one_message_becomes_a_row_for_every_reply(build_here, teacher, tokenizer):
    """No prompt of such an episode is the beginning of the next, since the template closes each; so every reply has a row of its own."""
    agent = make_agent(AgentConfig(layout="transcript"), "alfworld")
    summary, out = build_here([*teacher, teacher[0]], agent=AgentConfig(layout="transcript"))
    won = [t for t in teacher if t.success]
    assert (summary.num_episodes, summary.num_taken, summary.num_rows) == (12, 8, 8 * len(won[0].turns))
    rows = pq.read_table(out / "rows.parquet").to_pylist()
    tokens = pq.read_table(out / "tokens.parquet").to_pylist()
    for trajectory in won:
        parts = [i for i, row in enumerate(rows) if row["trajectory_id"] == trajectory.id]
        assert len(parts) == len(trajectory.turns)
        for n, (part, turn) in enumerate(zip(parts, trajectory.turns, strict=True)):
            (asked,) = agent.render(trajectory.task, trajectory.opening, trajectory.turns[:n], ())
            assert [(m["role"], m["content"]) for m in rows[part]["messages"]] == [
                ("user", asked.content),
                ("assistant", turn.reply),
            ]
            assert HINT.text not in asked.content
            assert prove_mask(tokens[part], tokenizer) == (turn.reply,)
            prove_play(tokens[part]["input_ids"], tokens[part]["labels"], rows[part]["messages"], tokenizer)
    card = verify_card(out)
    assert (card["rows"], card["episodes_taken"]) == (summary.num_rows, 8)
    assert "one row for every reply of 8" in (out / "card.md").read_text()
    assert card["masks"]["loss_by_role"] == {"assistant": 1.0}


@pytest.mark.parametrize("number", [0, 1])
def test_a_leak_in_one_reply_keeps_all_rows_of_its_episode_out(build_here, teacher, number):
    """The reply stands in the prompts of those after it, where it is no less a leak for having been read before."""
    turns = list(teacher[0].turns)
    turns.insert(number, LEAK)
    agent = AgentConfig(layout="transcript")
    leaking = [replace(teacher[0], turns=tuple(turns)), *teacher[1:]]
    dropped, out = build_here(leaking, agent=agent, on_leak="drop")
    assert dropped.num_taken == 7
    assert teacher[0].id not in pq.read_table(out / "rows.parquet")["trajectory_id"].to_pylist()
    cleaned, out = build_here(leaking, agent=agent, out="cleaned", on_leak="rewrite")
    assert cleaned.num_taken == 8
    assert LEAK.reply not in str(pq.read_table(out / "rows.parquet").to_pylist())


def test_the_card_is_sealed_and_every_change_breaks_the_seal(build_here, teacher):
    _, out = build_here(teacher)
    card = verify_card(out)
    assert card["masks"]["loss_by_role"] == {"assistant": 1.0} and card["masks"]["rows_read_again"] > 0
    assert card["seal"] in (out / "card.md").read_text()

    def changed(name, change):
        before = (out / name).read_bytes()
        (out / name).write_bytes(change(before))
        with pytest.raises(CardError) as caught:
            verify_card(out)
        (out / name).write_bytes(before)
        return str(caught.value)

    assert "was changed after it was sealed" in changed(
        "card.json", lambda b: b.replace(b'"rows_left_out": 0', b'"rows_left_out": 1')
    )
    assert "rows.parquet has sha256" in changed("rows.parquet", lambda b: b[:-9] + b"x" + b[-8:])
    assert "tokens.parquet has sha256" in changed("tokens.parquet", lambda b: b + b" ")
    assert "samples.json has sha256" in changed("samples.json", lambda b: b + b" ")
    assert "cannot be read as a sealed card" in changed("card.json", lambda b: b[:100])
    (out / "rows.parquet").unlink()
    with pytest.raises(CardError, match=r"rows\.parquet is missing"):
        verify_card(out)


def test_a_card_that_lies_is_refused_even_with_a_new_seal(build_here, teacher):
    _, out = build_here(teacher)
    card = json.loads((out / "card.json").read_text())
    for change, complaint in (
        ({"masks": card["masks"] | {"proven_rows": 3}}, "3 proven masks"),
        (
            {"masks": card["masks"] | {"loss_by_role": {"assistant": 0.9, "user": 0.1}}},
            "not on the assistant alone",
        ),
    ):
        forged = card | change
        (out / "card.json").write_text(json.dumps(forged | {"seal": seal_of(forged)}))
        with pytest.raises(CardError, match=complaint):
            verify_card(out)


def test_the_samples_are_the_rows_token_by_token(build_here, teacher):
    _, out = build_here([replace(t, opening=t.opening + " \u00e9\u4e2d\U0001f600") for t in teacher])
    samples = json.loads((out / "samples.json").read_text())
    rows = pq.read_table(out / "rows.parquet").to_pylist()
    assert [s["trajectory_id"] for s in samples] == [row["trajectory_id"] for row in rows[:2]]
    text = "".join(piece for piece, _ in samples[0]["pieces"])
    assert "\u00e9\u4e2d\U0001f600" in text and "\ufffd" not in text
    said = "".join(piece for piece, has_loss in samples[0]["pieces"] if has_loss)
    assert said.startswith(rows[0]["messages"][2]["content"])


@pytest.fixture(scope="module")
def small_ray():
    import ray

    # Paths of sockets must stay below 108 characters, which pytest's own folders do not leave.
    folder = f"/tmp/offbook-dataset-{os.getpid()}"
    for attempt in range(4):
        try:
            ray.init(
                address="local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                _temp_dir=folder,
                object_store_memory=200_000_000,
            )
            break
        except Exception:
            # Ray gives its own processes 30 s, which a busy machine may exceed.
            ray.shutdown()
            if attempt == 3:
                raise
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def build(small_ray, tiny_model, tmp_path):  # noqa: F811
    def run(files, arm="distill", out="out", **options):
        summary = build_dataset(
            files,
            agent=AgentConfig(),
            env_name="alfworld",
            model_path=str(tiny_model),
            arm=arm,
            out_dir=tmp_path / out,
            **options,
        )
        return summary, tmp_path / out

    return run


@pytest.mark.ray
def test_the_dataset_is_whole_counted_and_the_same_every_time(
    build, teacher, trajectory_of, tokenizer, tmp_path
):
    failed = replace(teacher[1], success=False, end=EndReason.ERROR)
    reroll = [trajectory_of(t.task, arm="reroll", seed=7) for t in teacher[:2]]
    shuffled = [*teacher, failed]
    random.Random(1).shuffle(shuffled)
    first = write(tmp_path / "teacher", shuffled)
    second = write(tmp_path / "reroll", [*reroll, reroll[0]])
    summary, out = build([first, second], arm="best_of_2")
    rows, tokens = pq.read_table(out / "rows.parquet"), pq.read_table(out / "tokens.parquet")
    assert (rows.schema.metadata, tokens.schema.metadata) == (SFT_SCHEMA.metadata, TOKENS_SCHEMA.metadata)
    assert rows.schema.equals(SFT_SCHEMA) and tokens.schema.equals(TOKENS_SCHEMA)
    keys = list(zip(rows["task_id"].to_pylist(), rows["seed"].to_pylist(), strict=True))
    assert keys == sorted(keys) and len(set(keys)) == len(keys) == summary.num_rows
    assert set(rows["arm"].to_pylist()) == {"best_of_2"}
    assert rows["trajectory_id"] == tokens["trajectory_id"]
    for row, messages in zip(tokens.to_pylist(), rows["messages"].to_pylist(), strict=True):
        spoken = prove_mask(row, tokenizer, messages=messages)
        assert spoken == tuple(m["content"] for m in messages if m["role"] == "assistant")
        assert "Open a closed" not in tokenizer.decode(row["input_ids"])
    card = json.loads((out / "card.json").read_text())
    assert card["rows"] == summary.num_rows == sum(card["rows_by_kind"].values())
    assert card["rows"] + sum(card["left_out"].values()) == card["episodes"]
    assert card["left_out"]["not a success"] == 4
    assert card["tokens"]["with_loss"] == sum(tokens["num_loss_tokens"].to_pylist())
    assert card["leak_audit"]["hints_looked_for"] == 1
    assert str(tmp_path) not in (out / "card.md").read_text() + json.dumps(card)
    again, other = build([second, first], arm="best_of_2", out="again")
    assert (again.rows_sha256, again.tokens_sha256) == (summary.rows_sha256, summary.tokens_sha256)
    assert sorted(p.name for p in other.iterdir()) == [
        "card.json",
        "card.md",
        "rows.parquet",
        "samples.json",
        "tokens.parquet",
    ]


@pytest.mark.ray
def test_a_leak_stops_the_build_or_is_left_out_and_counted(build, teacher, tmp_path):
    path = write(tmp_path / "teacher", [with_reply(teacher[0], LEAK), *teacher[1:]])
    with pytest.raises(LeakError, match=rf"^hint leak: {teacher[0].task.key} turn 1 still says"):
        build([path])
    assert not list((tmp_path / "out").iterdir()), "nothing that leaks lies under a dataset's name"
    summary, out = build([path], on_leak="drop", out="dropped")
    assert dict(summary.left_out)["says what a hint said"] == 1
    assert json.loads((out / "card.json").read_text())["leak_audit"]["rows_left_out"] == 1


@pytest.mark.ray
def test_no_success_says_which_arm_and_what_to_do(build, teacher, tmp_path):
    path = write(tmp_path / "teacher", [t for t in teacher if not t.success])
    with pytest.raises(
        DatasetError,
        match=r"arm 'distill' has no success to train on: of 4 episodes 4 not a success; give the model more tasks",
    ):
        build([path])
    with pytest.raises(DatasetError, match="there are no episodes"):
        build([write(tmp_path / "empty", [])])


@pytest.mark.ray
def test_many_blocks_give_the_same_rows_as_one(build, teacher, tmp_path, monkeypatch):
    files = [write(tmp_path / "teacher", teacher[i::3], f"part-{i}.parquet") for i in range(3)]
    one, _ = build([tmp_path / "teacher"])
    monkeypatch.setattr(dataset_stream, "ROWS_PER_BLOCK", 4)
    monkeypatch.setattr(dataset_stream, "_ROWS_PER_BATCH", 3)
    many, _ = build(files, out="many")
    assert (one.rows_sha256, one.tokens_sha256) == (many.rows_sha256, many.tokens_sha256)


@pytest.mark.ray
def test_a_selection_leaves_rows_out_and_a_control_keeps_its_hints(build, teacher, tokenizer, tmp_path):
    path = write(tmp_path / "teacher", teacher)
    everything, _ = build([path])
    hinted = [t for t in teacher if t.success and t.hints]
    summary, out = build([path], left_out={hinted[0].id: "not chosen"}, keep_hints=True, out="kept")
    assert dict(summary.left_out)["not chosen"] == 1
    assert summary.num_rows == everything.num_rows - 1
    rows = pq.read_table(out / "rows.parquet").to_pylist()
    assert hinted[0].id not in {row["trajectory_id"] for row in rows}
    by_id = {row["trajectory_id"]: row for row in pq.read_table(out / "tokens.parquet").to_pylist()}
    for kept in hinted[1:]:
        tokens = by_id[kept.id]
        assert HINT.text in tokenizer.decode(tokens["input_ids"])
        assert HINT.text not in "".join(prove_mask(tokens, tokenizer))
