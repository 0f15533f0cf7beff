"""Names a process so that another one, perhaps on another machine, can say whether it still lives."""

import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMark:
    host: str
    pid: int
    born: int | None = None
    """When the system started it, in its own clock's ticks: pids are used again. None where the system does not tell."""

    @classmethod
    def here(cls) -> "ProcessMark":
        return cls(host=socket.gethostname(), pid=os.getpid(), born=_born(os.getpid()))

    @classmethod
    def from_json(cls, document: Any) -> "ProcessMark | None":
        """None for what is no mark."""
        try:
            return cls(host=str(document["host"]), pid=int(document["pid"]), born=document.get("born"))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_alive(self) -> bool | None:
        """None: it runs on another machine, of which nothing is known here."""
        if self.host != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # It is somebody else's, and there.
        return self.born is None or _born(self.pid) in (self.born, None)

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}"


def _born(pid: int) -> int | None:
    try:
        # Behind the command's name, which may hold anything, the fields are counted from the third.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
