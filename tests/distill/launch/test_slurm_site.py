"""Slurm itself reads the batch scripts: `sbatch --test-only` asks a controller of the test's own, on the loopback device, whether and where they would run."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.commands.shared import load_study_at
from distill.launch.render import render
from distill.launch.spec import ClusterSpec
from distill.launch.study_on_cluster import cluster_study
from distill.settings import load_settings

_TOOLS = ("munged", "slurmctld", "sbatch")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, _TOOLS)),
        reason="needs root and Slurm's own programs (Debian: munge slurmctld slurm-client)",
    ),
]

SITE = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
NodeName=head1 NodeAddr=127.0.0.1 CPUs=4 RealMemory=16384 State=CLOUD
NodeName=cpu[1-2] NodeAddr=127.0.0.1 CPUs=16 RealMemory=32768 State=CLOUD
NodeName=gpu[1-4] NodeAddr=127.0.0.1 CPUs=8 RealMemory=65536 Gres=gpu:l40s:1 State=CLOUD
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    """Nodes as in the shipped description, which exist on paper alone: nothing can run on them."""
    # Slurm wants folders that only their owner can write, all the way up; paths of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="offbook-slurm-", dir="/run") as name:
        folder = Path(name)
        folder.chmod(0o755)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        munge = [f"--{what}-file={folder / file}" for what, file in (("log", "munged.log"), ("pid", "m.pid"))]
        munge += [f"--key-file={key}", f"--seed-file={folder / 'seed'}", f"--socket={folder / 'munge.sock'}"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = folder / "slurm.conf"
        config.write_text(SITE.format(host=socket.gethostname(), port=port, folder=folder))
        (folder / "state").mkdir()
        commands = [
            ["munged", "--foreground", "--force", *munge],
            ["slurmctld", "-D", "-c", "-f", str(config)],
        ]
        processes = []
        try:
            for command in commands:
                processes.append(
                    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
                time.sleep(1)
            yield config
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait()


def ask(site: Path, folder: Path, slurm: str, *lines: str) -> subprocess.CompletedProcess[str]:
    file = folder / "site.toml"
    file.write_text(f'extends = "clusters/aws.toml"\n[slurm]\n{slurm}\n' + "\n".join(lines))
    spec = load_settings(file, [], ClusterSpec)
    script = folder / "job.sh"
    script.write_text(render("slurm", spec, cluster_study(load_study_at("paper-14b"), (), has_gpus=True)))
    for _ in range(50):
        done = subprocess.run(
            ["sbatch", "--test-only", str(script)],
            env=os.environ | {"SLURM_CONF": str(site)},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if "Unable to contact" not in done.stderr:
            return done
        time.sleep(0.2)
    raise AssertionError(f"the controller never answered: {(site.parent / 'slurmctld.log').read_text()}")


def test_a_plain_job_would_start_on_the_gpu_nodes(site: Path, tmp_path: Path) -> None:
    done = ask(site, tmp_path, 'nodes = ["gpu"]')
    assert done.returncode == 0 and "gpu[1-4]" in done.stderr, done.stderr


def test_a_heterogeneous_job_would_start_on_all_kinds(site: Path, tmp_path: Path) -> None:
    done = ask(site, tmp_path, 'nodes = ["head", "cpu", "gpu"]')
    assert done.returncode == 0, done.stderr
    assert all(nodes in done.stderr for nodes in ("head1", "cpu[1-2]", "gpu[1-4]")), done.stderr


def test_a_site_without_such_nodes_refuses(site: Path, tmp_path: Path) -> None:
    done = ask(site, tmp_path, 'nodes = ["gpu"]', "[node.gpu]", "gpus = 8")
    assert done.returncode != 0 and "not available" in done.stderr, done.stderr
