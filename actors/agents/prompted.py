"""An agent is a grammar, a prompt text and a layout. Knows nothing of models or worlds."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.agents.base import Parsed
from actors.agents.examples import Example, ExamplesError, choose, content_hash, load_examples
from actors.agents.grammar import Grammar, load_grammar
from actors.agents.layout import Script, as_chat, as_transcript, running_text
from actors.agents.parsing import parse, write_replies
from actors.chat import Message
from actors.config import AgentConfig, HintPlacement, TurnLayout
from actors.trajectory import GivenHint, Turn
from envs.task import Task

PROMPTS = Path(__file__).parent / "prompts"


@dataclass(frozen=True, kw_only=True)
class PromptedAgent:
    """The `Agent` of every grammar."""

    kind: str
    """Such as "react"."""
    grammar: Grammar
    prompt: str
    hint_header: str
    layout: TurnLayout = "chat"
    hint_placement: HintPlacement = "system"
    shots: int = 0
    examples: tuple[Example, ...] = ()
    """() without shots."""
    examples_block: str = ""
    """What stands around the examples, `{examples}` in their place."""

    @property
    def name(self) -> str:
        identity = f"{self.prompt}\0{self.hint_header}"
        if beyond := self._beyond_the_texts():
            identity += "\0" + json.dumps(beyond, sort_keys=True)
        return f"{self.kind}-" + hashlib.sha256(identity.encode()).hexdigest()[:6]

    @property
    def stop(self) -> tuple[str, ...]:
        return self.grammar.stop

    def render(
        self, task: Task, opening: str, turns: Sequence[Turn], hints: Sequence[GivenHint]
    ) -> tuple[Message, ...]:
        script = Script(
            instruction=self.prompt,
            examples=self._shown_examples(task),
            opening=opening,
            turns=turns,
            hints=hints,
            header=self.hint_header,
            placement=self.hint_placement,
        )
        return as_chat(script) if self.layout == "chat" else as_transcript(script)

    def parse(self, reply: str) -> Parsed:
        return parse(self.grammar, reply)

    def _shown_examples(self, task: Task) -> str:
        if not self.shots:
            return ""
        chosen = choose(self.examples, task, self.shots)
        texts = [f"Example {n}\n\n{self._told(example)}" for n, example in enumerate(chosen, start=1)]
        return self.examples_block.replace("{examples}", "\n\n".join(texts))

    def _told(self, example: Example) -> str:
        said = [
            (reply, answer or step.observation)
            for step in example.steps
            for reply, answer in write_replies(self.grammar, dict(step.fields), step.action)
        ]
        return f"{example.opening}\n\n{running_text(said)}".rstrip()

    def _beyond_the_texts(self) -> dict[str, Any]:
        """What decides the prompts beside prompt and header, where it is not as in the first agent, whose names recorded studies hold."""
        beyond: dict[str, Any] = {}
        if self.kind != "react":
            beyond["grammar"] = self.grammar.model_dump(mode="json")
        if self.layout != "chat":
            beyond["layout"] = self.layout
        if self.hint_placement != "system":
            beyond["hint_placement"] = self.hint_placement
        if self.shots:
            beyond["examples"] = [self.shots, self.examples_block, content_hash(self.examples)]
        return beyond


def load_agent(config: AgentConfig, env_name: str) -> PromptedAgent:
    """The configured agent with its texts for one environment; raises `ValueError` where there are none, or too few examples."""
    folder = PROMPTS / config.name
    path = folder / f"{env_name}.{config.prompt}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.name.removesuffix(".txt") for p in folder.glob("*.txt")))
        raise ValueError(
            f"no {config.name} prompt for {env_name}.{config.prompt}; known: {known}; add {path.name} beside them"
        )
    grammar, prompt = load_grammar(folder, env_name), _text(path)
    if not config.thoughts:
        thought = next(field for field in grammar.fields if field.name == "thought")
        grammar, prompt = grammar.without("thought"), _without_line(prompt, f"{thought.label}: ")
    examples = _examples(config, env_name, grammar) if config.shots else ()
    return PromptedAgent(
        kind=config.name,
        grammar=grammar,
        prompt=prompt,
        hint_header=_text(PROMPTS / "hint_block.txt"),
        layout=config.layout,
        hint_placement=config.hint_placement,
        shots=config.shots,
        examples=examples,
        examples_block=_text(PROMPTS / "examples_block.txt") if config.shots else "",
    )


def _examples(config: AgentConfig, env_name: str, grammar: Grammar) -> tuple[Example, ...]:
    assert config.examples is not None
    examples = load_examples(Path(config.examples), env_name)
    if len(examples) <= config.shots:
        raise ExamplesError(
            f"{config.examples} holds {len(examples)} examples, but agent.shots = {config.shots} wants one more than that many: "
            "a task among them is shown the others, never itself"
        )
    needed = {field.name for field in grammar.fields if not field.optional and field.alone is None}
    for example in examples:
        for step in example.steps:
            if missing := needed - dict(step.fields).keys():
                raise ExamplesError(
                    f"{config.examples}: {example.task.key} does not say {min(missing)!r}, which {grammar.title} writes in every reply; make the file again"
                )
    return examples


def _without_line(text: str, begin: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith(begin))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()
