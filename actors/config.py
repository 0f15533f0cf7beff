"""Settings of agents, episodes, engines and rollouts. Imports neither ray nor vllm."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _is_a_name(name: str) -> str:
    # A key pasted here would be written into every run; it is not quoted for the same reason.
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", name):
        raise ValueError(
            "this is no name of an environment variable; put the key into one, such as OPENAI_API_KEY, and give its name here"
        )
    return name


def _holds_no_secret(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError(
            "the address holds a user, a password or a query, which every run would keep; give it without, and the key with api_key_env"
        )
    return url


VariableName = Annotated[str, AfterValidator(_is_a_name)]
Address = Annotated[str, AfterValidator(_holds_no_secret)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


TurnLayout = Literal["chat", "transcript"]
HintPlacement = Literal["system", "user", "before_examples", "after_examples"]


class AgentConfig(_Frozen):
    name: Literal["react", "act", "stateact"] = "react"
    """`react`: a line a turn, a thought or a command; `act`: commands alone; `stateact`: every reply tells goal, state, thought and command."""
    thoughts: bool = True
    """Whether `stateact` is asked for thoughts; `react` without any is `act`."""
    prompt: Literal["brief", "full"] = "full"
    """Which of the agent's prompt texts: `full` tells an instruct model the commands, `brief` is one line for models trained on the format."""
    shots: int = Field(default=0, ge=0)
    """Solved train tasks in the prompt, those of the task's own kind first."""
    examples: str | None = None
    """A file of `offbook examples make`, from which `shots` are taken; needed where there are any."""
    layout: TurnLayout = "chat"
    """`chat`: a message for every reply and every answer. `transcript`: the whole episode so far in one message of the user."""
    hint_placement: HintPlacement = "system"
    """Where hints of the start stand: behind the instruction, at the end of the first user message, or around the examples in it."""

    @model_validator(mode="after")
    def thoughts_can_be_left_out(self) -> "AgentConfig":
        if not self.thoughts and self.name != "stateact":
            raise ValueError(
                f"thoughts = false is for name = 'stateact', not {self.name!r}; commands alone are name = 'act'"
            )
        return self

    @model_validator(mode="after")
    def shots_have_examples(self) -> "AgentConfig":
        if self.shots and self.examples is None:
            raise ValueError(
                f"shots = {self.shots} wants a file of examples; make one with `offbook examples make` and name it in examples"
            )
        if not self.shots and self.hint_placement in ("before_examples", "after_examples"):
            raise ValueError(
                f"hint_placement = {self.hint_placement!r}, but shots = 0 shows no examples; use 'system' or 'user', or raise shots"
            )
        return self


class BudgetConfig(_Frozen):
    """Where an episode ends if the world does not end it."""

    max_steps: int = Field(default=50, ge=1)
    """Actions that reach the world."""
    max_turns: int = Field(default=100, ge=1)
    """Model calls, thoughts included."""
    max_prompt_tokens: int | None = Field(default=None, ge=1)
    """The prompt's length at which the episode ends as token_limit; None: the engine's context length decides."""
    max_repeats: int = Field(default=5, ge=2)
    """Equal replies in a row that end the episode."""
    max_invalid: int | None = Field(default=None, ge=1)
    """Refused or unreadable replies in a row that end the episode, thoughts not counted; None: any number."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Wall time of its turns, waits for the model included, at which the episode ends as time_limit; what is won then depends on how busy
    the engines are. None: any time."""
    turn_timeout_s: float = Field(default=120.0, gt=0)
    """One model call; past it the call counts as failed and the episode is retried."""


class SamplingConfig(_Frozen):
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)


class EngineConfig(_Frozen):
    """vLLM engines, started as Ray actors."""

    kind: Literal["vllm"] = "vllm"
    model: str
    """A folder with a checkpoint, a Hugging Face id, or `pocket` for the model that ships with Offbook."""
    replicas: int = Field(default=1, ge=1)
    min_replicas: int = Field(default=1, ge=1)
    """So many must be ready for a rollout to begin; the others join when a node has room for them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    core: Literal["auto", "inside", "apart"] = "auto"
    """`inside`: vLLM's core in a thread of the engine's process, ready in seconds; `apart`: `AsyncLLM` with a process for the core;
    `auto`: inside on CPU, apart on a GPU."""
    dtype: str = "auto"
    """`auto`: the checkpoint's own on a GPU; float32 on a CPU without instructions for bfloat16."""
    max_model_len: int | None = None
    max_num_seqs: int = Field(default=64, ge=1)
    threads: int | None = Field(default=None, ge=1)
    """OpenMP threads of one engine on CPU; None chooses by the model's size."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gb: float = Field(default=1.0, gt=0)
    """KV cache on CPU."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    adapters: Literal["auto", "lora", "merge"] = "auto"
    """`lora`: served side by side; `merge`: weights swapped, one adapter at a time (3 to 5 times faster on CPU); `auto`: merge on CPU."""
    max_lora_rank: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def the_least_is_no_more_than_all(self) -> "EngineConfig":
        if self.min_replicas > self.replicas:
            raise ValueError(
                f"min_replicas = {self.min_replicas} is more than replicas = {self.replicas}; lower it or raise replicas"
            )
        return self


class EndpointConfig(_Frozen):
    """Any OpenAI-compatible server, or several that serve the same model."""

    kind: Literal["openai"] = "openai"
    model: str
    base_url: Address | None = None
    """None: OpenAI's own."""
    base_urls: tuple[Address, ...] = ()
    """Several servers, which share the episodes as a fleet's engines do; instead of `base_url`."""
    max_sessions: int | None = Field(default=None, ge=1)
    """Episodes at one of `base_urls` at a time: nobody outside knows how many its KV cache holds. None: as many as hosts have slots."""
    api_key_env: VariableName = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself is never stored."""
    timeout_s: float = Field(default=120.0, gt=0)
    max_attempts: int = Field(default=5, ge=1)

    @model_validator(mode="after")
    def addresses_are_given_once(self) -> "EndpointConfig":
        if self.base_url is not None and self.base_urls:
            raise ValueError("base_url and base_urls are both given; put all addresses into base_urls")
        if len(set(self.base_urls)) != len(self.base_urls):
            raise ValueError(f"base_urls = {list(self.base_urls)} names an address twice; give each once")
        return self


class ScriptedModelConfig(_Frozen):
    """The test model: plays the scripted world, with seeded mistakes and latency."""

    kind: Literal["scripted"] = "scripted"
    model: str = "scripted"
    skill: float = Field(default=0.5, ge=0, le=1)
    """Probability that a reply is the right one without a hint; with a fitting hint it is always right."""
    latency_s: float = Field(default=0.0, ge=0)


ModelConfig = Annotated[EngineConfig | EndpointConfig | ScriptedModelConfig, Field(discriminator="kind")]


class RolloutConfig(_Frozen):
    num_hosts: int = Field(default=1, ge=1)
    """Env host processes, one CPU each, spread over the nodes."""
    min_hosts: int = Field(default=1, ge=1)
    """So many must be there for a rollout to begin; the others join when a node has room for them."""
    join_timeout_s: float = Field(default=600.0, gt=0)
    """How long a rollout waits for its least number of hosts, such as for an autoscaler's nodes."""
    slots_per_host: int = Field(default=32, ge=1)
    """Most episodes in flight in one host. Engines of our own take fewer where their KV cache holds fewer."""
    at_once: int = Field(default=1, ge=1)
    """Rollouts of a study that share the engines at a time, each with hosts of its own: the next arm plays while one waits for its last
    episodes. Worth it where engines have room to spare; on two cores, which one rollout fills, 2 took a third longer than 1."""
    max_retries: int = Field(default=3, ge=0)
    """Fresh starts of an episode, with the same seed, after a failure of its world or of a model call; then it is recorded as an error."""
    max_outages: int = Field(default=6, ge=0)
    """Fresh starts after what it ran on went away under it: its host or its engine died, or the network in between was cut. Counted apart, since
    rented nodes go in numbers and a long episode meets more of that; after so many it is held to be the cause."""
    recycle_after: int = Field(default=10_000, ge=1)
    """Episodes after which a host process is replaced."""
    flush_every_s: float = Field(default=1.0, gt=0)
    """Finished episodes are on disk at most this long after they end."""

    @model_validator(mode="after")
    def the_least_is_no_more_than_all(self) -> "RolloutConfig":
        if self.min_hosts > self.num_hosts:
            raise ValueError(
                f"min_hosts = {self.min_hosts} is more than num_hosts = {self.num_hosts}; lower it or raise num_hosts"
            )
        return self
