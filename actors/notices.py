"""A cloud's word that it wants a spot machine back, handed on to Ray: the node drains, nothing new begins there, and what can end in time does.

    python -m actors.notices aws      # beside `ray start`, on nodes that may be spot; ends when it has told Ray
    python -m actors.notices now      # where somebody else heard of it, such as a pod that is asked to end

The clouds tell it on the machine itself: two minutes ahead on AWS
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html), half a minute on GCP
(https://cloud.google.com/compute/docs/instances/spot) and Azure (https://learn.microsoft.com/azure/virtual-machines/linux/scheduled-events).
"""

import argparse
import json
import logging
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

log = logging.getLogger("actors.notices")

_LOCAL = "http://169.254.169.254"
_TIMEOUT_S = 5.0
_TRY_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    why: str
    left_s: float
    """Until the machine is gone; never negative."""


class Source(Protocol):
    every_s: float

    def look(self) -> Notice | None:
        """Raises `OSError` or `ValueError` where no answer can be had or read."""
        ...


class Aws:
    every_s = 5.0  # As Amazon recommends.

    def __init__(self, at: str = _LOCAL) -> None:
        self._at, self._token = at, ""

    def look(self) -> Notice | None:
        said = self._ask("/latest/meta-data/spot/instance-action")
        if said is None:
            return None
        action = json.loads(said)
        return Notice(why=f"AWS: {action['action']}", left_s=_until(datetime.fromisoformat(action["time"])))

    def _ask(self, path: str) -> str | None:
        for is_last in (False, True):
            try:
                return _get(self._at + path, {"X-aws-ec2-metadata-token": self._token})
            except urllib.error.HTTPError as error:
                if error.code != 401 or is_last:
                    raise
                # None yet, or one that ran out.
                wish = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
                self._token = _get(f"{self._at}/latest/api/token", wish, method="PUT") or ""
        raise AssertionError("unreachable")


class Gcp:
    every_s = 2.0

    def __init__(self, at: str = "http://metadata.google.internal") -> None:
        self._url = f"{at}/computeMetadata/v1/instance/preempted"

    def look(self) -> Notice | None:
        said = _get(self._url, {"Metadata-Flavor": "Google"})
        return Notice(why="GCP: preempted", left_s=30.0) if (said or "").strip() == "TRUE" else None


class Azure:
    every_s = 2.0

    def __init__(self, at: str = _LOCAL) -> None:
        self._at, self._name = f"{at}/metadata", ""

    def look(self) -> Notice | None:
        # Neighbours' events are told here too.
        if not self._name:
            self._name = self._ask("instance/compute/name?api-version=2021-02-01&format=text")
        for event in json.loads(self._ask("scheduledevents?api-version=2020-07-01"))["Events"]:
            if event["EventType"] == "Preempt" and self._name in event["Resources"]:
                # Empty once it has begun.
                at = event.get("NotBefore")
                return Notice(why="Azure: preempted", left_s=_until(parsedate_to_datetime(at)) if at else 0.0)
        return None

    def _ask(self, path: str) -> str:
        said = _get(f"{self._at}/{path}", {"Metadata": "true"})
        if said is None:
            raise ValueError(f"{self._at}/{path} is not there; is this a machine of Azure's?")
        return said


class Now:
    every_s = 1.0

    def __init__(self, left_s: float = 25.0) -> None:
        self._left_s = left_s

    def look(self) -> Notice:
        return Notice(why="asked to end", left_s=self._left_s)


SOURCES: dict[str, Callable[[], Source]] = {"aws": Aws, "gcp": Gcp, "azure": Azure, "now": Now}


def heed(source: Source, drain: Callable[[str, float], None]) -> Notice:
    """Returns when `drain` (why, seconds left) has been called without an error."""
    said = ""
    while True:
        notice, trouble, pause_s = None, "", source.every_s
        try:
            notice = source.look()
        except (OSError, ValueError, KeyError) as error:
            trouble = f"no word from the cloud's metadata service: {error!r}"
        if notice is not None:
            try:
                drain(notice.why, notice.left_s)
                return notice
            except Exception as error:  # noqa: BLE001 - Ray may not run yet, or its head be away: the notice stands
                trouble = f"Ray does not take the notice ({notice.why}) yet: {error!r}"
                pause_s = _TRY_AGAIN_S
        # What is away for a while is told of once and not every few seconds.
        if trouble and trouble != said:
            log.warning("%s", trouble)
        said = trouble
        time.sleep(pause_s)


def _get(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """None where there is no such thing at the moment."""
    # Never through a proxy: who answers is the machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=headers, method=method)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def _until(then: datetime) -> float:
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m actors.notices", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("source", choices=tuple(SOURCES), help="who tells it")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    from actors.cluster import drain_this_node

    log.info("listening to %s", asked.source)
    notice = heed(SOURCES[asked.source](), drain_this_node)
    log.info("%s in %.0f s: this node drains", notice.why, notice.left_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
