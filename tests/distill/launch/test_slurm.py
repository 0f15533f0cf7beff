"""The batch script: its options are sbatch's, bash reads it, and it starts Ray and goes back into the queue as it says."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from distill.commands.shared import load_study_at
from distill.launch.render import render
from distill.launch.spec import ClusterSpec, load_cluster
from distill.launch.study_on_cluster import cluster_study
from distill.settings import load_settings

OPTIONS = {
    line.removesuffix("="): line.endswith("=")
    for line in (Path(__file__).parent / "schemas" / "sbatch_options.txt").read_text().splitlines()
    if not line.startswith("#")
}


def script(spec: ClusterSpec) -> str:
    return render("slurm", spec, cluster_study(load_study_at("paper-14b"), (), has_gpus=True))


@pytest.fixture
def several(tmp_path: Path) -> ClusterSpec:
    """A heterogeneous job: the head, hosts and engines on nodes of their own kind and partition."""
    file = tmp_path / "site.toml"
    file.write_text(
        'extends = "clusters/aws.toml"\n[slurm]\nnodes = ["head", "cpu", "gpu"]\naccount = "lab"\ntime = "08:00:00"\n'
        '[slurm.partition]\nhead = "small"\ncpu = "small"\ngpu = "big"\n'
    )
    return load_settings(file, [], ClusterSpec)


def directives(text: str) -> list[list[str]]:
    """Options of each component, as sbatch reads them: up to the first line that is neither blank nor a comment."""
    components: list[list[str]] = [[]]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line == "#SBATCH hetjob":
            components.append([])
        elif line.startswith("#SBATCH "):
            components[-1].append(line.removeprefix("#SBATCH "))
    return components


def check_options(components: list[list[str]]) -> None:
    for option in (option for part in components for option in part):
        found = re.fullmatch(r"--([a-z-]+)(=\S+)?", option)
        assert found, option
        name, value = found.groups()
        assert name in OPTIONS, f"sbatch has no --{name}"
        assert value if OPTIONS[name] else True, f"--{name} wants a value"


def test_a_plain_job_asks_for_equal_nodes_and_comes_back_when_preempted() -> None:
    (options,) = directives(script(load_cluster("aws")))
    check_options([options])
    assert {
        "--requeue",
        "--signal=B:USR1@180",
        "--nodes=4",
        "--gpus-per-node=l40s:1",
        "--open-mode=append",
    } <= {*options}
    assert "--export=HOME,PATH,USER,HF_TOKEN,OPENAI_API_KEY" in options


def test_a_heterogeneous_job_has_a_component_for_each_type(several: ClusterSpec) -> None:
    components = directives(script(several))
    check_options(components)
    assert [[o for o in part if o.startswith(("--nodes", "--part"))] for part in components] == [
        ["--partition=small", "--nodes=1"],
        ["--partition=small", "--nodes=2"],
        ["--partition=big", "--nodes=4"],
    ]
    text = script(several)
    assert "--het-group=0" in text
    assert "--het-group=2" in text


def test_an_option_that_sbatch_does_not_have_is_seen() -> None:
    with pytest.raises(AssertionError, match="sbatch has no --gpu-per-node"):
        check_options([["--gpu-per-node=1"]])
    with pytest.raises(AssertionError, match="--nodes wants a value"):
        check_options([["--nodes"]])


@pytest.mark.parametrize("kind", ["plain", "several"])
def test_bash_and_shellcheck_read_it(kind: str, several: ClusterSpec, tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text(script(several if kind == "several" else load_cluster("aws")))
    subprocess.run(["bash", "-n", str(file)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--exclude=SC1091", str(file)], check=True)


class Site:
    """Slurm's, Ray's and Offbook's commands, of which each writes down its call."""

    def __init__(self, folder: Path):
        self.folder, self.calls = folder, folder / "calls"
        (folder / "bin").mkdir()
        (folder / ".venv/bin").mkdir(parents=True)
        (folder / ".venv/bin/activate").touch()
        self.command("srun", "sleep 60")
        self.command("scontrol", "")
        self.command("ray", 'if [ "$1" = status ]; then for i in 1 2 3 4; do echo " 1 node_$i"; done; fi')
        self.command("offbook", "exec sleep 60")

    def command(self, name: str, body: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(f'#!/bin/bash\necho "{name} $*" >> "{self.calls}"\n{body}\n')
        file.chmod(0o755)

    def start(self, text: str) -> subprocess.Popen[str]:
        (self.folder / "job.sh").write_text(text)
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        own = {
            "PATH": path,
            "HOME": str(self.folder),
            "SLURM_SUBMIT_DIR": str(self.folder),
            "SLURM_JOB_ID": "4711",
        }
        return subprocess.Popen(
            ["bash", "job.sh"],
            cwd=self.folder,
            env=own,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, call: str) -> None:
        until = time.monotonic() + 60
        while not (self.calls.exists() and call in self.calls.read_text()):
            assert time.monotonic() < until, self.calls.read_text() if self.calls.exists() else "no call"
            time.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def end(job: subprocess.Popen[str]) -> None:
    try:
        os.killpg(job.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    job.wait()


def test_the_head_starts_first_then_the_others_then_the_study(site: Site) -> None:
    site.command("offbook", "exit 3")
    job = site.start(script(load_cluster("aws")))
    try:
        assert job.wait(timeout=60) == 3  # The study's own exit code is the job's.
    finally:
        end(job)
    calls = site.calls.read_text().splitlines()
    head, others = [call for call in calls if call.startswith("srun")]
    assert "--nodes=1 --ntasks=1" in head
    assert "ray start --head" in head
    assert "--num-cpus=8 --num-gpus=1" in head
    assert "--nodes=3 --ntasks=3" in others
    assert "--exclude=" in others
    ran = [call for call in calls if call.startswith("offbook run")]
    assert len(ran) == 1
    assert f"--out {site.folder}/offbook/runs" in ran[0]
    assert (site.folder / "offbook/runs/studies/paper-14b.toml").read_text().startswith('name = "paper-14b"')
    assert not [call for call in calls if call.startswith("scontrol")]


def test_a_job_whose_time_is_up_ends_the_driver_and_goes_back_into_the_queue(site: Site) -> None:
    job = site.start(script(load_cluster("aws")))
    try:
        site.wait_for("offbook run")
        os.kill(job.pid, signal.SIGUSR1)
        assert job.wait(timeout=60) != 0
        assert "scontrol requeue 4711" in site.calls.read_text()
    finally:
        end(job)


def test_a_preempted_job_leaves_the_requeueing_to_slurm(site: Site) -> None:
    job = site.start(script(load_cluster("aws")))
    try:
        site.wait_for("offbook run")
        os.kill(job.pid, signal.SIGTERM)
        job.wait(timeout=60)
        assert "scontrol" not in site.calls.read_text()
    finally:
        end(job)
