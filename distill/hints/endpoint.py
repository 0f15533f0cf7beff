"""How a writer's settings become a shop for replies: which model, which prices, which pace, live or in batches."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from actors.chat import Generate
from actors.config import EndpointConfig
from actors.openai_chat import OpenAIOnce
from actors.openai_client import place_of
from actors.pace import Pace
from actors.patience import Patience
from actors.retry import Backoff
from actors.trajectory import Trajectory
from distill.hints.call_cache import CallCache
from distill.hints.config import ModelWriterConfig, OpenAIWriterConfig
from distill.hints.conversation import Conversation
from distill.hints.reply import WrittenHints
from distill.hints.spending import Prices, Spending
from distill.hints.till import Books, Paces, Shop, Till

SENT = "sent.jsonl"
"""Every request, written before it leaves."""


def books_of(config: ModelWriterConfig, cache: CallCache, out_dir: Path) -> Books:
    """The ledger of `out_dir`, and what a token costs; engines of one's own cost no money."""
    path, calls = out_dir / SENT, cache.calls
    if not isinstance(config, OpenAIWriterConfig):
        return Books(cache=cache, spending=Spending(path, None, calls), prices=Prices())
    prices = Prices(
        prompt=_a_token(config.usd_per_million_prompt_tokens),
        cached=_a_token(
            config.usd_per_million_prompt_tokens
            if config.usd_per_million_cached_tokens is None
            else config.usd_per_million_cached_tokens
        ),
        completion=_a_token(config.usd_per_million_completion_tokens),
    )
    form = response_format(config)
    return Books(
        cache=cache,
        spending=Spending(path, config.max_cost_usd, calls),
        prices=prices,
        form_bytes=len(json.dumps(form)) if form else 0,
    )


async def open_shop(
    failures: Collection[Trajectory],
    talk: Conversation,
    books: Books,
    out_dir: Path,
    generate: Generate | None = None,
) -> Shop:
    """`generate` in the place of the configured endpoint. In batch mode everything is bought by the time that this returns."""
    config = talk.config
    if not isinstance(config, OpenAIWriterConfig):
        assert generate is not None
        return Till(generate, talk, books, patience_of(config, f"the fleet (model {talk.model!r})"), Paces())
    patience = patience_of(config, place_of(config.base_url, config.model))
    if config.mode == "batch" and generate is None:
        from distill.hints.batch_shop import buy_in_batches

        return await buy_in_batches(failures, talk, books, patience, out_dir)
    return Till(generate or endpoint_of(config), talk, books, patience, _paces(config))


def endpoint_of(config: OpenAIWriterConfig) -> Generate:
    """Asks once; it belongs to the event loop that it is first used in."""
    endpoint = EndpointConfig(model=config.model, base_url=config.base_url, api_key_env=config.api_key_env)
    return OpenAIOnce(endpoint, response_format=response_format(config))


def response_format(config: OpenAIWriterConfig) -> dict[str, Any] | None:
    if not config.json_schema:
        return None
    form = {"name": "hints", "strict": True, "schema": WrittenHints.model_json_schema()}
    return {"type": "json_schema", "json_schema": form}


def patience_of(config: ModelWriterConfig, place: str) -> Patience:
    return Patience(
        place=place,
        backoff=Backoff(max_attempts=config.max_attempts),
        timeout_s=config.timeout_s,
        try_timeout_s=getattr(config, "try_timeout_s", None),
    )


def _paces(config: OpenAIWriterConfig) -> Paces:
    requests, tokens = config.requests_per_minute, config.tokens_per_minute
    return Paces(requests=Pace(requests) if requests else None, tokens=Pace(tokens) if tokens else None)


def _a_token(usd_per_million: float) -> int:
    """Picodollars; exact for prices of at most six decimals."""
    return round(usd_per_million * 1e6)
