"""Training workers without Ray: plain processes joined by gloo, for tests of the loop itself."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def start_group(settings: list, *, num_workers: int):
    """The workers' processes, which do all `settings` in turn; each ends with exit code 0 when they are done."""
    import multiprocessing

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=run_worker, args=(settings, rank, num_workers, port))
        for rank in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    return workers


def run_group(settings: list, *, num_workers: int) -> None:
    workers = start_group(settings, num_workers=num_workers)
    for worker in workers:
        worker.join(900)
    assert [w.exitcode for w in workers] == [0] * num_workers


def kill_past_a_checkpoint(settings, *, num_workers: int) -> None:
    """Start the group and kill -9 all of it once a checkpoint is there."""
    folder = Path(settings.jobs[0].folder)
    workers = start_group([settings], num_workers=num_workers)
    deadline = time.monotonic() + 600
    while not list(folder.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    assert list(folder.glob("checkpoints/step-*")) and not (folder / "adapter").exists()


def run_worker(settings: list, rank: int, num_workers: int, port: int) -> None:
    sys.path.insert(0, str(REPOSITORY))
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_workers),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "DS_ACCELERATOR": "cpu",
    }
    import torch.distributed as dist

    from train.loop import train_jobs

    dist.init_process_group("gloo", rank=rank, world_size=num_workers)
    for one in settings:
        train_jobs(one, report=lambda metrics: None)
    dist.barrier()
    dist.destroy_process_group()
