"""Ray nodes as processes of this machine: started, killed, started again, and each, if asked, in a network namespace of its own.

With namespaces every node has an address and a cable of its own, all cables end in one bridge, and nothing else is on that network. A
cable can be pulled: packets then vanish, as between machines whose switch has died, and no connection is closed.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

MARK, NODE = "OFFBOOK_BENCHMARK_MARK", "OFFBOOK_BENCHMARK_NODE"
_START_TIMEOUT_S = 180.0
_SETTINGS = {
    # Or the title that Ray gives a process would be written over its environment, where the mark is.
    "SPT_NOENV": "1",
    "RAY_worker_niceness": "0",
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class NodesError(RuntimeError):
    """No cluster can be had here."""


class Network:
    """Where nodes are. Here: addresses of the loopback device, whose cables cannot be pulled."""

    def address(self, number: int) -> str:
        return f"127.0.0.{10 + number}"

    def inside(self, number: int) -> list[str]:
        """What a command of that node begins with."""
        return []

    def connect(self, number: int, *, on: bool) -> None:
        raise NodesError("nodes of the loopback device cannot be cut off; take namespaces")

    def close(self) -> None:
        pass


class Namespaces(Network):
    """A bridge in one namespace and a cable from it to each node's. They are gone with the processes that hold them."""

    def __init__(self, count: int) -> None:
        missing = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]
        if missing or os.geteuid() != 0:
            raise NodesError(
                f"network namespaces need root and {', '.join(missing) or 'its rights'}: install iproute2 and util-linux, or take --network loopback"
            )
        self._holders: list[subprocess.Popen[bytes]] = []
        try:
            self._hub = self._hold()
            _run(self._in(self._hub), "ip link add hub type bridge", "ip link set hub up")
            self._nodes = [self._wire(number) for number in range(count)]
        except BaseException:
            self.close()
            raise

    def address(self, number: int) -> str:
        # A range for benchmarks of networks (RFC 2544): no machine has such an address.
        return f"198.18.0.{10 + number}"

    def inside(self, number: int) -> list[str]:
        return self._in(self._nodes[number])

    def connect(self, number: int, *, on: bool) -> None:
        _run(self._in(self._hub), f"ip link set port{number} {'up' if on else 'down'}")

    def close(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def _hold(self) -> int:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self._holders.append(holder)
        ours = os.readlink("/proc/self/ns/net")
        for _ in range(200):
            with suppress(OSError):
                if os.readlink(f"/proc/{holder.pid}/ns/net") != ours:
                    return holder.pid
            time.sleep(0.02)
        raise NodesError("no network namespace could be made")

    def _wire(self, number: int) -> int:
        node = self._hold()
        _run(
            self._in(self._hub),
            f"ip link add port{number} type veth peer name cable netns {node}",
            f"ip link set port{number} master hub",
            f"ip link set port{number} up",
        )
        _run(
            self._in(node),
            "ip link set lo up",
            f"ip addr add {self.address(number)}/24 dev cable",
            "ip link set cable up",
        )
        return node

    @staticmethod
    def _in(pid: int) -> list[str]:
        return ["nsenter", f"--net=/proc/{pid}/ns/net"]


class RayNodes:
    """Node 0 is the head, without CPUs of its own; the others have one each, so that a host and an engine never share one."""

    def __init__(self, count: int, network: Network) -> None:
        """`count`: with the head."""
        self.mark = uuid.uuid4().hex
        # Ray wants one from whoever connects; ours is for these processes alone.
        self._token = secrets.token_hex(32)
        self.restarts = [0] * count
        # Paths of sockets must stay below 108 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="ob-", dir="/tmp"))
        self._network, self._port = network, _free_port()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for number in range(count):
                self._start(number)
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        return f"{self._network.address(0)}:{self._port}"

    @property
    def workers(self) -> range:
        return range(1, len(self.restarts))

    def environment(self, number: int) -> dict[str, str]:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}
        return os.environ | _SETTINGS | token | {MARK: self.mark, NODE: str(number)}

    def on_head(self, command: Sequence[str], **options: object) -> "subprocess.Popen[bytes]":
        """Start it there, in a group of its own."""
        return subprocess.Popen(
            [*self._network.inside(0), *command],
            env=self.environment(0),
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )

    def connect(self, number: int, *, on: bool) -> None:
        self._network.connect(number, on=on)

    def raylet(self, number: int) -> int | None:
        """Its process, if it lives."""
        found = [
            pid for pid, command in self.processes(number) if command.split(" ")[0].endswith("/raylet/raylet")
        ]
        return found[0] if found else None

    def processes(self, number: int | None = None) -> Iterator[tuple[int, str]]:
        """(pid, command line) of a node's, or of all nodes'."""
        for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            with suppress(OSError):
                found = _environment(pid)
                if found.get(MARK) == self.mark and number in (None, int(found.get(NODE, -1))):
                    line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
                    if line:  # What has ended and nobody has waited for has none.
                        yield pid, line

    def mend(self) -> list[int]:
        """Start again the nodes that are gone, as a cluster's autoscaler would; says which."""
        mended = []
        for number in self.workers:
            if self._processes[number].poll() is not None:
                self._sweep(number)
                self.restarts[number] += 1
                self._start(number)
                mended.append(number)
        return mended

    def close(self) -> None:
        for number in reversed(range(len(self.restarts))):
            self._sweep(number)
        for process in self._processes.values():
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, number: int) -> None:
        head = ["--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}"]
        command = [
            *self._network.inside(number),
            *(sys.executable, "-m", "ray.scripts.scripts", "start"),
            *([f"--address={self.address}"] if number else head),
            f"--node-ip-address={self._network.address(number)}",
            f"--num-cpus={min(number, 1)}",
            *("--num-gpus=0", "--object-store-memory=100000000", "--disable-usage-stats", "--block"),
        ]
        log = self._folder / f"node-{number}.{self.restarts[number]}.log"
        with log.open("wb") as out:
            process = self._processes[number] = subprocess.Popen(
                command, env=self.environment(number), stdout=out, stderr=out, start_new_session=True
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while "Ray runtime started." not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise NodesError(f"node {number} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _sweep(self, number: int) -> None:
        for pid, _ in list(self.processes(number)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _run(inside: Sequence[str], *commands: str) -> None:
    for command in commands:
        done = subprocess.run([*inside, *command.split()], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NodesError(f"{command}: {done.stderr.strip()}")
