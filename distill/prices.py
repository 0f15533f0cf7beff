"""Prices of tokens and of GPU hours, each with its date and source. Offbook ships none: what is not stated costs "unknown", never 0."""

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

SHIPPED = Path(__file__).with_name("prices.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class TokenPrice(_Frozen):
    """What an endpoint asks for tokens of one model."""

    usd_per_million_prompt_tokens: float = Field(ge=0)
    usd_per_million_cached_tokens: float | None = Field(default=None, ge=0)
    """Prompt tokens that its cache served; None: as other prompt tokens."""
    usd_per_million_completion_tokens: float = Field(ge=0)
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    """When the price was read, YYYY-MM-DD."""
    source: str = Field(min_length=1)
    """Where it was read."""

    def usd(self, *, prompt: float, cached: float, completion: float) -> float:
        """`prompt` counts the cached tokens too."""
        for_cached = self.usd_per_million_cached_tokens
        for_prompt = self.usd_per_million_prompt_tokens
        for_cached = for_prompt if for_cached is None else for_cached
        return (
            (prompt - cached) * for_prompt
            + cached * for_cached
            + completion * self.usd_per_million_completion_tokens
        ) / 1e6


class PricesConfig(_Frozen):
    """Decides sums of money in reports and nothing that a study does."""

    usd_per_gpu_hour: float | None = Field(default=None, gt=0)
    """One GPU for an hour, engines and training alike; None: unknown."""
    gpu_hour_date: str | None = Field(default=None, pattern=r"^\d{4}-\d{2}-\d{2}$")
    """When that price was read, YYYY-MM-DD."""
    gpu_hour_source: str | None = None
    """Where it was read, such as an invoice."""
    models: dict[str, TokenPrice] = {}
    """By the name of a model behind an endpoint."""

    @model_validator(mode="after")
    def gpu_hour_has_date_and_source(self) -> "PricesConfig":
        if self.usd_per_gpu_hour is not None and not (self.gpu_hour_date and self.gpu_hour_source):
            raise ValueError(
                f"usd_per_gpu_hour = {self.usd_per_gpu_hour:g} has no gpu_hour_date or no gpu_hour_source; say when and where it was read"
            )
        return self

    def token_price(self, model: str) -> TokenPrice | None:
        """This study's price, else the one in the package's table, else None: unknown."""
        return self.models.get(model) or shipped_prices().get(model)


@cache
def shipped_prices(path: Path = SHIPPED) -> dict[str, TokenPrice]:
    """Raises `ValueError` where a row of the table is not whole."""
    rows = tomllib.loads(path.read_text(encoding="utf-8")).get("models", {})
    try:
        return {model: TokenPrice.model_validate(row) for model, row in rows.items()}
    except ValueError as error:
        raise ValueError(f"{path} holds a price that is not whole: {error}") from None
