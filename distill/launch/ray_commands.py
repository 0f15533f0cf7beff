"""Ray's own commands for a cluster of its launcher: start it, run a study on its head, look at it, end it.

Each is the command that one would type, shown by `--dry-run`. Values of variables travel in a file that only its owner may read, never in
an argument: arguments are seen by whoever lists the machine's processes, and end up in logs.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from distill.launch.demands import NodeType
from distill.launch.ray_launcher import CODE, ENVIRONMENT_FILE, RUNS, environment_source
from distill.launch.study_on_cluster import ClusterStudy

_EXAMPLE = "example"


class LaunchError(RuntimeError):
    """A command of Ray's launcher did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchedCluster:
    """What `offbook cluster` reads of a launcher's file."""

    file: Path
    name: str
    environment: tuple[str, ...]
    """Names of the variables that its nodes get."""
    types: tuple[NodeType, ...]
    """Without the head."""
    mounts: str
    """The commands that mount the runs, for a look at whether they are still an example's."""

    @property
    def has_gpus(self) -> bool:
        return any(kind.resources.get("GPU", 0) for kind in self.types)

    @property
    def environment_file(self) -> Path:
        return Path(environment_source(self.name)).expanduser()

    def study_folder(self, study: ClusterStudy) -> Path:
        """Where a study's files wait on this machine to be copied."""
        return self.environment_file.parent / "studies" / self.name / study.config.name


def read_cluster(file: Path) -> LaunchedCluster:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        types: Mapping[str, Any] = document["available_node_types"]
        return LaunchedCluster(
            file=file,
            name=document["cluster_name"],
            environment=tuple((document.get("metadata") or {}).get("environment", ())),
            types=tuple(
                NodeType(name=name, max=kind["max_workers"], resources=kind["resources"])
                for name, kind in types.items()
                if name != document["head_node_type"]
            ),
            mounts="\n".join(document.get("initialization_commands", ())),
        )
    except FileNotFoundError:
        raise ValueError(
            f"there is no {file}; write it with `offbook cluster render ray --out {file}`"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no file of Ray's launcher ({error!r}); write one with `offbook cluster render ray`"
        ) from None


def up_commands(cluster: LaunchedCluster) -> list[list[str]]:
    return [["ray", "up", "--yes", str(cluster.file)]]


def submit_commands(cluster: LaunchedCluster, study: ClusterStudy) -> list[list[str]]:
    file = str(cluster.file)
    source = "" if not cluster.environment else f"set -a; . {ENVIRONMENT_FILE}; set +a; "
    name = study.config.name
    run = f"{source}cd {CODE} && offbook run {RUNS}/studies/{name}.toml --address auto --out {RUNS} 2>&1 | tee -a {RUNS}/{name}.log"
    variables = [["ray", "rsync-up", file, str(cluster.environment_file), ENVIRONMENT_FILE]]
    return [
        ["ray", "exec", file, f"mkdir -p {RUNS}/studies"],
        *(variables if cluster.environment else []),
        ["ray", "rsync-up", file, f"{cluster.study_folder(study)}/", f"{RUNS}/studies/"],
        # In tmux: the study goes on when this connection ends.
        ["ray", "exec", "--tmux", file, run],
    ]


def status_commands(cluster: LaunchedCluster) -> list[list[str]]:
    return [["ray", "exec", str(cluster.file), "ray status"]]


def down_commands(cluster: LaunchedCluster) -> list[list[str]]:
    return [["ray", "down", "--yes", str(cluster.file)]]


def shown(commands: Sequence[Sequence[str]]) -> str:
    return "\n".join(shlex.join(command) for command in commands)


def call(commands: Sequence[Sequence[str]]) -> None:
    """One after the other, in this terminal; raises `LaunchError` at the first that fails."""
    for command in commands:
        try:
            code = subprocess.run(command, check=False).returncode
        except FileNotFoundError:
            raise LaunchError(
                "there is no `ray` command here; install Offbook's own environment, which brings it along"
            ) from None
        if code:
            raise LaunchError(f"`{shlex.join(command)}` ended with exit code {code}; Ray says above why")


def check_filled_in(cluster: LaunchedCluster) -> None:
    if any(_EXAMPLE in line for line in cluster.mounts.splitlines() if "mount" in line):
        raise ValueError(
            f"{cluster.file} still mounts the example's file server; set storage.nfs in the description of the cluster and render it again"
        )


@contextmanager
def environment_on_disk(cluster: LaunchedCluster, wanted: Sequence[str] = ()) -> Iterator[list[str]]:
    """The variables' values in a file that Ray copies to the nodes, for the block alone; yields the names that are not set here.

    Raises:
        ValueError: one that is `wanted` is not set, or would not reach the nodes.
    """
    if strangers := [name for name in wanted if name not in cluster.environment]:
        raise ValueError(
            f"the study reads {strangers[0]}, which {cluster.file} hands to no node; add it to environment in the cluster's description, and "
            "render and start it again"
        )
    values = {name: os.environ[name] for name in cluster.environment if os.environ.get(name)}
    if missing := [name for name in wanted if name not in values]:
        raise ValueError(f"the study reads {missing[0]}, which is not set here; export it first")
    if not cluster.environment:
        yield []
        return
    file = cluster.environment_file
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    # Made with its mode: between writing and closing it to others, others could read.
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    try:
        yield [name for name in cluster.environment if name not in values]
    finally:
        file.unlink(missing_ok=True)


def write_files(study: ClusterStudy, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in study.files.items():
        (folder / name).write_text(text, encoding="utf-8")
