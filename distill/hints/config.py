"""Settings of hint writers, the bank and retrieval. Imports no client and no index."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from actors.config import Address, EngineConfig, ModelConfig, VariableName


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DiagnosticianConfig(_Frozen):
    """Rules that read a failed episode's actions and observations: offline, free, for the demo and as a control."""

    kind: Literal["diagnostician"] = "diagnostician"
    max_hints: int = Field(default=2, ge=1, le=4)
    """Hints from one failure, the most telling first."""
    skip: tuple[str, ...] = ()
    """Names of habits that it keeps quiet about, such as "no_repeat"."""
    max_slip_share: float = Field(default=0.1, ge=0, lt=1)
    """Of a kind's hints, those about slips such as wrong object numbers: symptoms that would flood the bank of a model that sees badly."""

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is written."""
        return self.model_dump(mode="json")


class _ModelWriterConfig(_Frozen):
    """What every writer has that is a language model."""

    prompt: str = "failure"
    """Name of the prompt text in `distill/hints/prompts`, without `.txt`."""
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=600, ge=1)
    max_hints: int = Field(default=3, ge=1, le=4)
    """Hints from one failure."""
    max_trace_chars: int = Field(default=12_000, ge=500)
    """A longer episode is cut in its middle, never at its end; the cut is marked in the prompt."""
    concurrency: int = Field(default=8, ge=1)
    """Calls in flight."""
    timeout_s: float = Field(default=120.0, gt=0)
    """One call with all its tries; waiting for `requests_per_minute`, `tokens_per_minute` or the budget is not counted."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries of one call against a model that fails."""
    reasks: int = Field(default=1, ge=0)
    """How often a reply that is not the asked JSON is sent back with the reason."""


class FleetWriterConfig(_ModelWriterConfig):
    """A model on Offbook's own engines reads the failure: no key, no bill. It is asked for JSON and its reply is repaired; nothing forces the form."""

    kind: Literal["fleet"] = "fleet"
    model: EngineConfig | None = None
    """None: the study's own model, on the engines that play its episodes."""
    concurrency: int = Field(default=32, ge=1)
    timeout_s: float = Field(default=600.0, gt=0)

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is written; whoever knows the study adds which model that is."""
        return self.model_dump(mode="json", exclude={"model", "concurrency", "timeout_s", "max_attempts"})


class OpenAIWriterConfig(_ModelWriterConfig):
    """A model behind an OpenAI-compatible endpoint reads the failure and answers in JSON."""

    kind: Literal["openai"] = "openai"
    model: str = "gpt-4o"
    base_url: Address | None = None
    """None: OpenAI's own."""
    api_key_env: VariableName = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; the key itself is never stored."""
    mode: Literal["live", "batch"] = "live"
    """`batch`: all prompts as one job of OpenAI's batch mode, half the price and up to a day; its prices are those to set below."""
    poll_s: float = Field(default=30.0, gt=0)
    """Pause between two looks at a batch."""
    try_timeout_s: float | None = Field(default=60.0, gt=0)
    """One try; what it asked for may be billed all the same. None: a try may use all of `timeout_s`."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Requests that leave in a minute, retries included. None: no limit."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Prompt and reply tokens a minute, counted as `max_tokens` and a quarter of the prompt's bytes until the reply tells. None: no limit."""
    max_cost_usd: float | None = Field(default=None, gt=0)
    """Asks nothing that could pass it; earlier starts count, and replies that were paid for are kept. None: no limit."""
    on_budget: Literal["stop", "go_on"] = "stop"
    """What follows when `max_cost_usd` is reached: the study stops until it is raised, or goes on with the hints written so far."""
    usd_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    usd_per_million_cached_tokens: float | None = Field(default=None, ge=0)
    """Of the prompt's tokens, those that the server says it had cached. None: priced as the others."""
    usd_per_million_completion_tokens: float = Field(default=0.0, ge=0)
    json_schema: bool = True
    """Ask the server to hold to the JSON schema; False for servers that answer HTTP 400 to `response_format`."""

    @model_validator(mode="after")
    def a_limit_has_prices(self) -> "OpenAIWriterConfig":
        if self.max_cost_usd is not None and not (
            self.usd_per_million_prompt_tokens or self.usd_per_million_completion_tokens
        ):
            raise ValueError(
                f"max_cost_usd = {self.max_cost_usd:g} limits nothing while both prices are 0; "
                "set usd_per_million_prompt_tokens and usd_per_million_completion_tokens"
            )
        return self

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is written. Money decides it only where a study goes on with what it bought."""
        left_out = {
            "api_key_env",
            "mode",
            "poll_s",
            "concurrency",
            "timeout_s",
            "try_timeout_s",
            "max_attempts",
        }
        left_out |= {"requests_per_minute", "tokens_per_minute"}
        left_out |= {name for name in type(self).model_fields if name.startswith("usd_per_million")}
        if self.on_budget == "stop" or self.max_cost_usd is None:
            left_out |= {"max_cost_usd", "on_budget"}
        return self.model_dump(mode="json", exclude=left_out)


ModelWriterConfig = FleetWriterConfig | OpenAIWriterConfig
WriterConfig = Annotated[
    DiagnosticianConfig | FleetWriterConfig | OpenAIWriterConfig, Field(discriminator="kind")
]


class BankConfig(_Frozen):
    similarity: float = Field(default=85.0, ge=0, le=100)
    """Two hints of a kind at least this alike (rapidfuzz ratio) are one."""
    max_per_kind: int | None = Field(default=None, ge=1)
    """Most frequent hints kept for a kind; None keeps all."""
    min_count: int = Field(default=1, ge=1)
    """Hints written less often are left out."""
    file: str | None = None
    """A bank to use instead of writing one, such as `offbook hints import` or `merge` makes; `writer` then writes nothing, and nothing is folded."""


class TimingConfig(_Frozen):
    """When an episode is shown the hints that were ranked for it at its start."""

    when: Literal["start", "every", "stuck", "at"] = "start"
    """`start`: once, as in the paper; `every`: at the start and again before every `turns`-th reply; `stuck`: after `turns` steps in a row that
    were refused or showed nothing that had not been read before; `at`: once, before reply `turns` (the first is 0)."""
    turns: int = Field(default=10, ge=1)
    times: int = Field(default=3, ge=1)
    """Most showings, of `retriever.k` hints each (every, stuck); a later one shows the next hints of the ranking."""

    @property
    def showings(self) -> int:
        return self.times if self.when in ("every", "stuck") else 1

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is shown."""
        unread = set() if self.when in ("every", "stuck") else {"times"}
        return self.model_dump(mode="json", exclude=unread)


class LlmRankConfig(_Frozen):
    """A model that reads all of a kind's hints and says which of them fit a task."""

    model: ModelConfig | None = None
    """None: the study's own model, on the engines that play its episodes; else engines or an endpoint of its own."""
    max_candidate_chars: int = Field(default=12_000, ge=200)
    """Hints that stand in one question. More are asked about in rounds: parts first, then what was chosen from them; none is left out."""
    max_tokens: int = Field(default=120, ge=8)
    """Of one reply."""
    on_failure: Literal["error", "bm25"] = "error"
    """What follows a reply that names too few hints twice in a row: the study stops, or that task gets what bm25 gives, and is counted."""
    concurrency: int = Field(default=32, ge=1)
    """Questions in flight."""
    timeout_s: float = Field(default=600.0, gt=0)
    """One question with all its tries."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries of one question against a model that fails."""

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is given; whoever knows the study adds which model that is."""
        return self.model_dump(mode="json", exclude={"model", "concurrency", "timeout_s", "max_attempts"})


RetrieverName = Literal[
    "bm25",
    "tfidf",
    "lsa",
    "embedding",
    "llm",
    "frequent",
    "none",
    "guard",
    "random",
    "other_kind",
    "shuffled",
    "filler",
    "oracle",
]

_MATCH = ("k", "frequency_weight", "diversity")
_DECIDES: Mapping[str, tuple[str, ...]] = {
    "bm25": _MATCH,
    "tfidf": _MATCH,
    "lsa": _MATCH,
    "embedding": _MATCH,
    "llm": _MATCH,
    "frequent": ("k",),
    "none": (),
    "guard": (),
    "random": ("k", "seed"),
    "other_kind": ("k", "seed"),
    "shuffled": (*_MATCH, "seed"),
    "filler": (*_MATCH, "seed"),
    "oracle": (),
}


class RetrieverConfig(_Frozen):
    """Which hints of the bank an episode starts with."""

    name: RetrieverName = "bm25"
    """By match: `bm25`, `tfidf`, `lsa` (character n-grams, no model), `embedding` (`embedding_model`), `llm`.
    Controls: `none`; `guard` (the hint block with no advice in it); `random` (same kind); `other_kind` (random advice of other kinds);
    `shuffled` (what bm25 gives, its words in random order); `filler` (no advice, as long as what bm25 gives); `frequent` (no query);
    `oracle` (the task's own gold plan: an upper bound)."""
    k: int = Field(default=3, ge=1)
    """Hints a showing."""
    timing: TimingConfig = TimingConfig()
    seed: int = 0
    """For the random ones; the same task under the same seed gets the same hints."""
    frequency_weight: float = Field(default=3.0, ge=0)
    """How much being written often, near-duplicates included, counts beside the match with the task (bm25, tfidf, lsa, embedding)."""
    diversity: float = Field(default=0.75, ge=0, le=1)
    """How much likeness to a hint already chosen is punished (bm25, tfidf, lsa, embedding): 0 not at all, 1 nothing else counts."""
    embedding_model: str | None = None
    """A folder or a Hugging Face id of an encoder that transformers can load, such as a sentence encoder (embedding)."""
    llm: LlmRankConfig = LlmRankConfig()

    @model_validator(mode="after")
    def an_embedding_has_a_model(self) -> "RetrieverConfig":
        if self.name == "embedding" and self.embedding_model is None:
            raise ValueError(
                "name = 'embedding' needs embedding_model, a folder or a Hugging Face id; `lsa` needs no model"
            )
        return self

    @property
    def decisive(self) -> dict[str, object]:
        """The settings that decide what is given; those that this retriever does not read stand at their defaults."""
        own = {"name", *_DECIDES[self.name]}
        if self.name == "llm" and self.llm.on_failure == "error":
            own -= {"frequency_weight", "diversity"}
        plain = self.model_dump(mode="json", include={"name", "k", "seed", "frequency_weight", "diversity"})
        fields = type(self).model_fields
        kept = {name: value if name in own else fields[name].default for name, value in plain.items()}
        if self.name == "embedding":
            kept["embedding_model"] = self.embedding_model
        if self.name == "llm":
            kept["llm"] = self.llm.decisive
        # Left out where it is the usual one, so that stages from before there was a choice keep their keys.
        if self.timing.when != "start":
            kept["timing"] = self.timing.decisive
        return kept
