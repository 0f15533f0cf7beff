"""A batch script for Slurm: Ray's head on the job's first node, Ray's other nodes through `srun`, and the study's driver beside the head.

The script needs no more of Ray than `ray start`. A job that is preempted, or whose time is up, goes back into the queue; since finished
stages and episodes are on the shared file system, starting again is going on.
"""

from distill.launch.commented_yaml import comment
from distill.launch.spec import ClusterSpec, NodeConfig
from distill.launch.study_on_cluster import ClusterStudy, offbook_run, write_study

_ABOUT = """\
A study under Slurm. `offbook cluster render slurm` writes this file; run it from the folder of the repository, which all nodes see:

    {exports}sbatch THIS_FILE
    squeue --me; scancel JOB             # look; end it. Submitted again it goes on where it stopped

It has not been tried on a site: partitions, GPU names and limits differ from one to the next."""

_PREPARE = """\
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
{activate}
runs="{runs}"
mkdir -p "$runs"

# Steps get what this script has, whatever --export kept out of the script itself.
export SLURM_EXPORT_ENV=ALL
# Other users of a node can reach Ray's ports, and whoever does can run code: every connection must show the token,
# which lies in the home that all nodes share.
export RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null
# Workers are niced by default; an engine behind a busy neighbour then starves.
export RAY_worker_niceness=0
export RAY_USAGE_STATS_ENABLED=0

# This script runs on the job's first node. The port and the folder are the job's own: two jobs may share a node.
head_node=$(hostname)
head_ip=$(hostname -I | awk '{{print $1}}')
port=$((20000 + SLURM_JOB_ID % 20000))
folder="/tmp/ray-$SLURM_JOB_ID"
address="$head_ip:$port"
"""

_RUN = """\
# Every node, for at most ten minutes; a study begins with what is there then.
for _ in $(seq 300); do
    if [ "$(ray status --address "$address" 2>/dev/null | grep -c ' node_')" -ge {nodes} ]; then break; fi
    sleep 2
done

ended_by=""
driver=""
# Slurm sends USR1 shortly before the time is up, and TERM when it preempts the job, which it then requeues itself.
trap 'ended_by=time; kill -TERM "$driver" 2>/dev/null || true' USR1
trap 'ended_by=preemption; kill -TERM "$driver" 2>/dev/null || true' TERM

{run} &
driver=$!
code=0
wait "$driver" || code=$?
if [ -n "$ended_by" ]; then
    # The signal ended the wait, not yet the driver.
    wait "$driver" || true
fi
if [ "$ended_by" = time ]; then
    echo "the time is up: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


def render_slurm(spec: ClusterSpec, study: ClusterStudy) -> str:
    if spec.slurm is None:
        raise ValueError("Slurm needs a [slurm] table, whose nodes say which [node.NAME] tables to ask for")
    if spec.storage.path is None:
        raise ValueError("Slurm needs storage.path, a folder of the site's shared file system for the runs")
    parts = [(name, spec.node[name]) for name in spec.slurm.nodes]
    exports = " ".join(f"{name}=..." for name in spec.environment)
    about = "\n".join(comment(_ABOUT.format(exports=f"{exports} " if exports else "")))
    prepare = _PREPARE.format(activate=spec.slurm.activate, runs=spec.storage.path)
    num_nodes = sum(kind.max for _, kind in parts)
    run = _RUN.format(nodes=num_nodes, run=offbook_run(study, '"$runs"/studies', '"$runs"', '"$address"'))
    written = write_study(study, "$runs/studies")
    return "\n".join(
        ["#!/bin/bash", about, *_options(spec, parts), "", prepare, written, "", _start(parts), run]
    )


def _options(spec: ClusterSpec, parts: list[tuple[str, NodeConfig]]) -> list[str]:
    assert spec.slurm is not None
    for_all = [
        f"--job-name={spec.name}",
        f"--time={spec.slurm.time}",
        *([f"--account={spec.slurm.account}"] if spec.slurm.account else []),
        "--output=%x-%j.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@180",
        # Names alone: Slurm takes the values from the environment of whoever calls sbatch.
        f"--export={','.join(['HOME', 'PATH', 'USER', *spec.environment])}",
    ]
    lines = [f"#SBATCH {option}" for option in for_all]
    for number, (name, kind) in enumerate(parts):
        if number:
            lines.append("#SBATCH hetjob")
        partition = spec.slurm.partition.get(name)
        lines += [
            *([f"#SBATCH --partition={partition}"] if partition else []),
            f"#SBATCH --nodes={kind.max}",
            "#SBATCH --ntasks-per-node=1",
            f"#SBATCH --cpus-per-task={kind.cpus}",
            f"#SBATCH --mem={kind.memory_gb}G",
            *([f"#SBATCH --gpus-per-node={str(kind.gpu).lower()}:{kind.gpus}"] if kind.gpus else []),
        ]
    return lines


def _start(parts: list[tuple[str, NodeConfig]]) -> str:
    """Ray's nodes, the head first."""
    (_, first), *others = parts
    several = bool(others)
    lines = [
        f'{_srun(0, 1, first, several)} --nodelist="$head_node" \\',
        '    ray start --head --node-ip-address="$head_ip" --port="$port" --temp-dir="$folder" --dashboard-host=127.0.0.1 \\',
        f"    {_offers(first)} --block &",
        "for _ in $(seq 90); do",
        '    if ray status --address "$address" >/dev/null 2>&1; then break; fi',
        "    sleep 2",
        "done",
    ]
    if first.max > 1:
        lines += _join(0, first.max - 1, first, several, ' --exclude="$head_node"')
    for number, (_, kind) in enumerate(others, start=1):
        lines += _join(number, kind.max, kind, several, "")
    return "\n".join(lines) + "\n"


def _join(group: int, nodes: int, kind: NodeConfig, several: bool, where: str) -> list[str]:
    return [
        f"{_srun(group, nodes, kind, several)}{where} \\",
        f'    ray start --address="$address" {_offers(kind)} --block &',
    ]


def _srun(group: int, nodes: int, kind: NodeConfig, several: bool) -> str:
    # srun does not take --cpus-per-task over from the job.
    step = f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={kind.cpus}"
    return f"{step} --het-group={group}" if several else step


def _offers(kind: NodeConfig) -> str:
    return f"--num-cpus={kind.resources['CPU']} --num-gpus={kind.resources.get('GPU', 0)}"
