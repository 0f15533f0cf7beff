"""What this machine has, lacks and should change before a study runs, each with the command that mends it.

Looks and never changes anything. What takes long (starting Ray, importing vLLM) is done in processes of its own, only when asked for.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "advice", "missing"]

GB = 1 << 30
NEEDED_MEMORY = 6 * GB
NEEDED_DISK = 2 * GB
ADVISED_DISK = 10 * GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    name: str
    state: State
    """`missing`: something that a study needs; `advice`: it runs, but could run better or lacks an option."""
    found: str
    mend: str = ""
    """A command, or a sentence where no command does it."""


def examine(*, out: Path, games: Path | None, deep: bool) -> list[Finding]:
    """Every finding, in the order of the report."""
    from distill.doctor_packages import packages

    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _processor,
        _memory,
        lambda: _disk(out),
        _shared_memory,
        _compiler,
        _gpu,
    ]
    findings = [finding for check in checks for finding in check()]
    findings += packages()
    findings += [finding for check in (_threads, _pockets, lambda: _alfworld(games)) for finding in check()]
    if deep:
        from distill.doctor_deep import deep_checks

        findings += deep_checks()
    return findings


def _python() -> Iterator[Finding]:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Finding(name="python", state="ok", found=found)
    else:
        yield Finding(
            name="python",
            state="missing",
            found=f"{found}, wants 3.11 or 3.12",
            mend="make venv PYTHON=python3.11",
        )


def _processor() -> Iterator[Finding]:
    cores, limit = len(os.sched_getaffinity(0)), cpu_limit()
    found = f"{cores} cores" + (
        f", held to {limit:g} by the container" if limit is not None and limit < cores else ""
    )
    usable = min(cores, limit) if limit is not None else cores
    if usable >= 2:
        yield Finding(name="processor", state="ok", found=found)
    else:
        yield Finding(
            name="processor",
            state="advice",
            found=found,
            mend="give the machine two cores: with one, engine and worlds take turns",
        )


def _memory() -> Iterator[Finding]:
    total, available = _meminfo()
    limit = memory_limit()
    found = f"{total / GB:.1f} GB, {available / GB:.1f} GB free"
    if limit is not None and limit < total:
        found += f", held to {limit / GB:.1f} GB by the container"
    usable = min(available, limit) if limit is not None else available
    if usable >= NEEDED_MEMORY:
        yield Finding(name="memory", state="ok", found=found)
    else:
        yield Finding(
            name="memory",
            state="missing",
            found=f"{found}; the demo wants {NEEDED_MEMORY / GB:.0f} GB",
            mend="close other programs, or raise the container's memory limit",
        )


def _disk(out: Path) -> Iterator[Finding]:
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / GB:.1f} GB free for {out}"
    if not os.access(folder, os.W_OK):
        yield Finding(
            name="disk",
            state="missing",
            found=f"{folder} cannot be written to",
            mend="offbook run STUDY --out ANOTHER_FOLDER",
        )
    elif free < NEEDED_DISK:
        yield Finding(
            name="disk",
            state="missing",
            found=found,
            mend="free some space, or offbook run STUDY --out ANOTHER_FOLDER",
        )
    elif free < ADVISED_DISK:
        yield Finding(name="disk", state="advice", found=found, mend="free some space before a larger study")
    else:
        yield Finding(name="disk", state="ok", found=found)


def _shared_memory() -> Iterator[Finding]:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield Finding(
            name="shared memory",
            state="advice",
            found="no /dev/shm",
            mend="Ray then keeps objects on disk, which is slow",
        )
        return
    free = shutil.disk_usage(shared).free
    state: State = "ok" if free >= GB else "advice"
    mend = "" if free >= GB else "start the container with --shm-size=2g: Ray otherwise keeps objects on disk"
    yield Finding(name="shared memory", state=state, found=f"{free / GB:.1f} GB free in /dev/shm", mend=mend)


def _compiler() -> Iterator[Finding]:
    path = shutil.which("gcc") or shutil.which("cc")
    if path:
        yield Finding(name="gcc", state="ok", found=path)
    else:
        yield Finding(
            name="gcc",
            state="missing",
            found="no C compiler; DeepSpeed builds its kernels with it",
            mend="apt-get install build-essential",
        )


def _gpu() -> Iterator[Finding]:
    names = gpu_names()
    yield Finding(name="gpu", state="ok", found=", ".join(names) if names else "none, the CPU engine is used")


def _threads() -> Iterator[Finding]:
    value = os.environ.get("OMP_NUM_THREADS")
    cores = len(os.sched_getaffinity(0))
    if value is None:
        yield Finding(
            name="OMP_NUM_THREADS",
            state="ok",
            found="not set, each engine and worker chooses by its model's size",
        )
    elif value.isdigit() and 1 <= int(value) <= cores:
        yield Finding(name="OMP_NUM_THREADS", state="ok", found=value)
    else:
        found = f"{value!r} on {cores} cores: threads that wait for one another make small models up to twenty times slower"
        yield Finding(name="OMP_NUM_THREADS", state="advice", found=found, mend="unset OMP_NUM_THREADS")


def _pockets() -> Iterator[Finding]:
    from actors.models import POCKETS

    for name in POCKETS:
        yield _pocket(name)


def _pocket(model: str) -> Finding:
    from actors.models import resolve_model

    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    mend = f"git checkout -- distill/pocket  # or train it anew: make {model}"
    try:
        folder = Path(resolve_model(model))
    except (ValueError, RuntimeError, OSError) as error:
        return Finding(name=f"{model} model", state="missing", found=str(error), mend=mend)
    lacking = [name for name in wanted if not (folder / name).is_file() or not (folder / name).stat().st_size]
    if lacking:
        return Finding(
            name=f"{model} model", state="missing", found=f"{folder} lacks {', '.join(lacking)}", mend=mend
        )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    return Finding(name=f"{model} model", state="ok", found=f"{size / 1e6:.1f} MB in {folder}")


def _alfworld(games: Path | None) -> Iterator[Finding]:
    if games is None:
        yield Finding(
            name="ALFWorld games",
            state="ok",
            found="none needed: the demo makes its own households (--games PATH checks yours)",
        )
        return
    from envs.base import EnvError
    from envs.config import AlfworldConfig
    from envs.registry import list_tasks

    mend = f"offbook data fetch alfworld --out {games}"
    try:
        tasks = list_tasks(AlfworldConfig(games=str(games)))
    except (EnvError, OSError, ValueError) as error:
        yield Finding(name="ALFWorld games", state="missing", found=str(error), mend=mend)
        return
    if not tasks:
        yield Finding(name="ALFWorld games", state="missing", found=f"{games} holds no game", mend=mend)
        return
    splits = sorted({task.split for task in tasks})
    counts = ", ".join(f"{sum(task.split == split for task in tasks)} {split}" for split in splits)
    yield Finding(name="ALFWorld games", state="ok", found=f"{counts} in {games}")


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Cores that the container may use; None where it is not held."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or period == "0":
        return None
    return int(quota) / int(period)


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that the container may use; None where it is not held."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (root / name).read_text().strip()
        except OSError:
            continue
        # The old interface says "no limit" with a number near 2**63.
        return int(text) if text.isdigit() and int(text) < 1 << 60 else None
    return None


def gpu_names(proc: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Names of the NVIDIA GPUs, read without loading CUDA."""
    names = []
    for info in sorted(proc.glob("*/information")):
        for line in info.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    if not names and shutil.which("nvidia-smi"):
        import subprocess

        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=30)
        names = [
            line.partition(": ")[2].partition(" (")[0]
            for line in listed.stdout.splitlines()
            if line.startswith("GPU ")
        ]
    return names


def _meminfo() -> tuple[int, int]:
    """(total, available) bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    values = {parts[0].rstrip(":"): int(parts[1]) * 1024 for parts in lines if len(parts) > 1}
    return values.get("MemTotal", 0), values.get("MemAvailable", values.get("MemFree", 0))
