"""Examples for a study: made of the tasks that it trains on, and kept apart from those that it measures."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.agents.examples import Example, load_examples
from distill.config import StudyConfig
from distill.examples.make import check_apart, make_examples, recorded_plans
from distill.task_choice import choose_panel
from envs.config import EnvConfig
from envs.panel import Panel
from envs.registry import generate, list_tasks, make_panel


def examples_of_study(config: StudyConfig, *, per_kind: int, sources: Sequence[Path] = ()) -> list[Example]:
    """From recorded successes where `sources` name any, else from the environment's walkthroughs; raises `ExamplesError`."""
    plan = recorded_plans(sources) if sources else None
    with _played_on(config) as (env, train, test):
        measured = {*test.hashes, *(task.key for task in test.tasks)}
        tasks = [
            task
            for task, content in zip(train.tasks, train.hashes, strict=True)
            if task.key not in measured and content not in measured
        ]
        return make_examples(env, tasks, per_kind=per_kind, plan=plan)


def check_examples(config: StudyConfig, panel: Panel) -> None:
    """Raise `ExamplesError` where the study's prompts show the solution of a task of this panel."""
    for agent in (config.agent, config.hints_from):
        if agent is not None and agent.shots:
            assert agent.examples is not None
            check_apart(load_examples(Path(agent.examples), config.env.name), panel)


@contextmanager
def _played_on(config: StudyConfig) -> Iterator[tuple[EnvConfig, Panel, Panel]]:
    """The environment with its data, and what is trained and measured on; data that the study makes is made for as long as it is needed."""
    if config.generate is None:
        yield (
            config.env,
            choose_panel("train", config.tasks.train, "train", config.env),
            choose_panel("test", config.tasks.test, config.tasks.test_split, config.env),
        )
        return
    with TemporaryDirectory() as folder:
        env = generate(config.generate, config.env, Path(folder) / "data")
        train, test = (make_panel(split, env, list_tasks(env, split)) for split in ("train", "test"))
        yield env, train, test
