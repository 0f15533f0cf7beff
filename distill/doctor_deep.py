"""The doctor's slow checks: import the heavy packages and start Ray, each in a process of its own."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from distill.doctor import Finding

TIMEOUT_S = 120

_RAY = """
import os
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir={folder!r}, object_store_memory=100 * 2**20)
assert ray.get(ray.remote(lambda: 41 + 1).remote()) == 42
ray.shutdown()
"""


def deep_checks() -> Iterator[Finding]:
    for module in ("vllm", "peft", "deepspeed"):
        yield try_python(f"import {module}", f"import {module}", mend="make venv")
    # Ray's sockets live below this folder, and their paths must stay short.
    with tempfile.TemporaryDirectory(prefix="offbook-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield try_python(
            "start Ray",
            _RAY.format(folder=folder),
            mend="read the lines above it: often too little memory, or a full /tmp or /dev/shm",
        )


def try_python(name: str, code: str, *, mend: str, timeout_s: float = TIMEOUT_S) -> Finding:
    """Run `code` in a fresh Python and say how that went."""
    start = time.monotonic()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        return Finding(name=name, state="missing", found=f"not done after {timeout_s:g} s", mend=mend)
    if ended.returncode == 0:
        return Finding(name=name, state="ok", found=f"{time.monotonic() - start:.1f} s")
    last = (ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}").splitlines()[-1]
    return Finding(name=name, state="missing", found=last, mend=mend)
