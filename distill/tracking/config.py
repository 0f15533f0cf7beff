"""The `[tracker]` table of a study. It decides no number and no stage."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TrackerName = Literal["tensorboard", "mlflow", "wandb"]


class TrackerConfig(BaseModel):
    """Keys and addresses of accounts are no settings: each library reads its own, and nothing of them gets into a run."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    to: tuple[TrackerName, ...] = ()
    """Who is told while the study runs; () nobody. `offbook track` tells them afterwards just as well."""
    project: str = Field(default="offbook", min_length=1)
    """W&B's project, MLflow's experiment."""
    uri: str | None = None
    """MLflow's server or store; None: what MLflow itself is set to."""

    @field_validator("to")
    @classmethod
    def names_are_distinct(cls, to: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        if len(set(to)) != len(to):
            raise ValueError(f"to holds a name twice: {list(to)}")
        return to

    @field_validator("uri")
    @classmethod
    def uri_holds_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and "@" in urlsplit(uri).netloc:
            # Not quoted: what was typed would be shown.
            raise ValueError(
                "uri holds a user or a password, which the run would record; leave them out and set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, which MLflow reads itself"
            )
        return uri

    @model_validator(mode="after")
    def uri_is_of_mlflow(self) -> "TrackerConfig":
        if self.uri is not None and "mlflow" not in self.to:
            raise ValueError(
                f"tracker.uri is MLflow's, and tracker.to = {list(self.to)} has no 'mlflow'; add it or remove the uri"
            )
        return self
