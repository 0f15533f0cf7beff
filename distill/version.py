"""The version of Offbook. A test holds it equal to pyproject.toml's."""

from pathlib import Path

VERSION = "0.1.0"


def project_root() -> Path:
    """The folder that holds the four packages: the repository, or `site-packages` once installed."""
    return Path(__file__).resolve().parent.parent
