"""The version of Offbook, installed or run from its source."""

import tomllib
from importlib import metadata
from pathlib import Path


def version() -> str:
    try:
        return metadata.version("offbook")
    except metadata.PackageNotFoundError:
        return str(tomllib.loads((project_root() / "pyproject.toml").read_text())["project"]["version"])


def project_root() -> Path:
    """The folder that holds the four packages: the repository, or `site-packages` once installed."""
    return Path(__file__).resolve().parent.parent
