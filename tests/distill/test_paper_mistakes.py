"""What went wrong in arXiv 2510.01375's runs and cannot go wrong here, by the number of the weakness.

Others have tests where their subject has them: 2 (retrieval) in test_retrievers.py, 3 (the wasted first reply) in tests/actors, 6 (tokens) and
8 (one run without an interval) in test_ledger.py.
"""

import asyncio
import importlib
import json
import pkgutil
from dataclasses import replace
from time import time

import pytest
from pydantic import ValidationError

from actors.agents import make_agent
from actors.chat import Completion, GenerateError, Sampling
from actors.config import AgentConfig, BudgetConfig, EndpointConfig, SamplingConfig
from actors.episode import EpisodeLost, EpisodeSpec, episode_id, lost_trajectory, run_episode
from actors.models import resolve_model
from actors.store import EpisodeFile, finalise, to_line
from actors.tokenizer import load_tokenizer
from actors.trajectory import EndReason
from distill.commands.shared import load_study_at
from distill.episode_files import read_failures
from distill.hints.config import FleetWriterConfig, OpenAIWriterConfig
from distill.hints.writer import write_hints
from distill.runners import num_worded_alike
from distill.settings import SettingsError
from distill.strip import strip
from envs.config import ScriptedConfig, WebshopConfig
from envs.registry import list_tasks, make_panel, open_env
from envs.webshop.generate import generate_splits
from train.errors import RowTooLongError
from train.tokenize import IGNORED, to_tokens_row


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return generated_shop(tmp_path_factory.mktemp("webshop") / "shop", seed=3)


class Replies:
    def __init__(self, *lines):
        self.lines, self.sampled = list(lines), []

    async def __call__(self, messages, sampling, *, session):
        self.sampled.append(sampling)
        line = self.lines[0] if len(self.lines) == 1 else self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return Completion(
            text=line, prompt_tokens=9, cached_tokens=0, completion_tokens=9, finish_reason="stop"
        )


def _failures(records, folder):
    """As a study reads them from a finished rollout."""
    file = EpisodeFile(folder)
    file.append(map(to_line, records))
    file.close()
    finalise(folder)
    return list(read_failures(folder))


def test_paper_mistake_1_a_hint_is_filed_under_the_kind_of_the_task_that_failed(
    panel_of, trajectory_of, tmp_path
):
    """79 % of the WebShop hints carried the category of another product: the list was filtered and then indexed as if it had not been."""
    tasks = panel_of(30).tasks
    played = [trajectory_of(task, success=number % 3 != 1) for number, task in enumerate(tasks)]
    lost = _failures(played, tmp_path / "rollout")
    assert [t.task.kind for t in lost] != [t.task.kind for t in played[: len(lost)]], (
        "or indexing would be right by luck"
    )
    hint = json.dumps({"hints": [{"text": "Open every closed {container} and look inside."}]})
    hints = write_hints(lost, FleetWriterConfig(kind="fleet"), tmp_path, Replies(hint), model="some-model")
    kinds = {t.id: t.task.kind for t in played}
    assert len(hints) == len(lost)
    for hint in hints:
        assert [kinds[source] for source in hint.sources] == [hint.kind]


def test_paper_mistake_4_signs_in_queries_and_options_reach_the_shop(shop):
    """A "#" cut the request: its results were empty, and buying with "# f-black" scored 0."""
    world = open_env(shop)
    task = list_tasks(shop, "train")[0]
    pages = []
    for query in ("table", 'table #04 / "oak" é'):
        world.reset(task, seed=0)
        step = world.step(f"search[{query}]")
        assert step.valid and step.executed in (None, f"search[{query}]")
        pages.append(step.observation)
    assert all("B" in page and "Page 1" in page for page in pages)


def test_paper_mistake_5_goals_are_the_same_at_every_start_and_arms_on_others_are_not_compared(tmp_path):
    """Price caps were drawn anew at each start: goal 0 read "lower than 30.00" for one arm and 40.00 for another."""
    one, again, other = (
        make_panel("shop", made, list_tasks(made, "test"))
        for made in (
            generated_shop(tmp_path / "one", seed=3),
            generated_shop(tmp_path / "again", seed=3),
            generated_shop(tmp_path / "other", seed=4),
        )
    )
    assert [task.goal for task in one.tasks] == [task.goal for task in again.tasks]
    assert one.sha256 == again.sha256 != other.sha256


def test_paper_mistake_7_a_row_is_the_prompt_of_play_uncut_and_only_replies_carry_loss(
    panel_of, trajectory_of
):
    """Rows lost the room, their ends past 1,024 tokens and the chat template, and the environment's words carried loss."""
    agent = make_agent(AgentConfig(prompt="brief"), "alfworld")
    tokenizer = load_tokenizer(str(resolve_model("pocket")))
    episode = trajectory_of(panel_of(1).tasks[0], arm="teacher")
    (row,) = strip(episode, agent)
    tokens = to_tokens_row(row, tokenizer)
    asked = agent.render(episode.task, episode.opening, episode.turns[:-1], ())
    prompt = tokenizer.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in asked], tokenize=False, add_generation_prompt=True
    )
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert list(tokens["input_ids"][: len(ids)]) == ids
    assert episode.opening in tokenizer.decode(tokens["input_ids"])
    spoken = tokenizer.decode([i for i in tokens["labels"] if i != IGNORED])
    assert all(turn.reply in spoken for turn in episode.turns)
    assert not any(turn.observation in spoken for turn in episode.turns)
    with pytest.raises(RowTooLongError):
        to_tokens_row(row, tokenizer, max_length=tokens["num_tokens"] - 1)


def test_paper_mistake_9_tasks_that_say_the_same_in_both_splits_are_counted():
    """34 of WebShop's 500 test instructions are train instructions as well."""
    env = ScriptedConfig(num_tasks=40)
    train, test = list_tasks(env, "train"), list_tasks(env, "test")
    alike = [replace(task, goal=train[0].goal) for task in test[:3]] + [
        replace(task, goal=f"a goal of its own, {number}") for number, task in enumerate(test[3:])
    ]
    assert num_worded_alike(train, alike) == 3


@pytest.mark.parametrize("config", [EndpointConfig, OpenAIWriterConfig])
def test_paper_mistake_10_no_setting_takes_a_key(config):
    key = "sk-" + "a1" * 20
    for field in ("api_key", "api_key_env"):
        with pytest.raises(ValidationError) as refused:
            config.model_validate({"kind": "openai", "model": "m", field: key})
        assert field in str(refused.value)
    with pytest.raises(ValidationError) as refused:
        config(model="m", api_key_env=key)
    assert "put the key into one" in str(refused.value)


async def test_paper_mistake_11_what_breaks_under_an_episode_is_an_error_and_no_lost_attempt(tmp_path):
    """Exceptions were swallowed into the table, and the run went on."""
    env = ScriptedConfig(num_tasks=3)
    spec = EpisodeSpec(task=list_tasks(env)[0], role="base", arm="base", seed=0)
    agent = make_agent(AgentConfig(prompt="brief"), "scripted")
    with pytest.raises(EpisodeLost, match="no memory left"):
        await run_episode(
            open_env(env),
            agent,
            Replies(GenerateError("no memory left", retryable=False)),
            spec,
            BudgetConfig(),
            Sampling(),
            "m",
        )
    record = lost_trajectory(spec, agent.name, "m", "no memory left", retries=3)
    assert record.end is EndReason.ERROR and _failures([record], tmp_path) == []


async def test_paper_mistake_12_the_sampling_asked_for_is_the_sampling_used():
    """--temperature never reached the model; limits counted characters for tokens."""
    env = ScriptedConfig(num_tasks=3)
    spec = EpisodeSpec(task=list_tasks(env)[0], role="base", arm="base", seed=0)
    model = Replies("look")
    wanted = SamplingConfig(temperature=0.7, top_p=0.9, max_tokens=33)
    sampling = Sampling(**wanted.model_dump())
    agent = make_agent(AgentConfig(prompt="brief"), "scripted")
    await run_episode(open_env(env), agent, model, spec, BudgetConfig(max_turns=3), sampling, "m")
    assert {(s.temperature, s.top_p, s.max_tokens) for s in model.sampled} == {(0.7, 0.9, 33)}
    assert len({s.seed for s in model.sampled}) == len(model.sampled) > 1


def test_paper_mistake_13_records_are_named_by_what_they_are_and_not_by_the_clock(panel_of):
    """File names of one second's resolution let parallel shards overwrite each other."""
    tasks = panel_of(40).tasks
    specs = [
        EpisodeSpec(task=task, role="base", arm=arm, seed=seed)
        for task in tasks
        for arm in ("base", "again")
        for seed in range(3)
    ]
    began = time()
    ids = [episode_id(spec, "react", "m") for spec in specs]
    assert time() - began < 1.0
    assert len({*ids}) == len(specs)
    assert ids == [episode_id(replace(spec), "react", "m") for spec in specs]


@pytest.mark.parametrize("package", ["actors", "distill", "envs", "train"])
def test_paper_mistake_13_every_module_can_be_imported_and_does_nothing(package, capsys):
    """Arguments were parsed and models loaded at import."""
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("study", ["demo", "demo-shop"])
def test_paper_mistake_15_a_study_is_a_file_and_its_settings_are_all_named(study):
    """Variants were chosen by commenting lines of notebooks, and models named by hand."""
    assert load_study_at(study).name == study
    with pytest.raises(SettingsError, match="retriever"):
        load_study_at(study, ["retreiver.k=1"])


def generated_shop(folder, *, seed):
    generate_splits(folder, products=60, train=12, test=8, seed=seed)
    return WebshopConfig(catalogue=str(folder))


def test_paper_mistake_16_episodes_do_not_wait_for_one_another():
    """One environment and one prompt at a time, through days of rollouts."""
    env = ScriptedConfig(num_tasks=20)
    agent = make_agent(AgentConfig(prompt="brief"), "scripted")
    flying = peak = 0

    class Slow:
        async def __call__(self, messages, sampling, *, session):
            nonlocal flying, peak
            flying, peak = flying + 1, max(peak, flying + 1)
            await asyncio.sleep(0)
            flying -= 1
            return Completion(
                text="look", prompt_tokens=1, cached_tokens=0, completion_tokens=1, finish_reason="stop"
            )

    async def play():
        specs = [EpisodeSpec(task=task, role="base", arm="base", seed=0) for task in list_tasks(env)]
        budget = BudgetConfig(max_turns=3)
        await asyncio.gather(
            *(run_episode(open_env(env), agent, Slow(), s, budget, Sampling(), "m") for s in specs)
        )

    asyncio.run(play())
    assert peak > 1
