"""A large file over HTTP, taken up where it broke off. Knows nothing of what is fetched."""

import logging
from pathlib import Path

from envs.base import EnvError

log = logging.getLogger(__name__)


def download(url: str, target: Path) -> None:
    """Resumable: what came so far lies beside `target` as `.part`. Raises `EnvError` where the server cannot be reached."""
    import httpx

    if target.exists():
        return
    part = target.with_name(target.name + ".part")
    try:
        for _ in range(5):
            if _download_rest(url, part):
                part.replace(target)
                return
    except httpx.HTTPError as error:
        raise EnvError(
            f"cannot download {url}: {error!r}; what came is kept in {part}, run the command again, or give a local copy with --from"
        ) from None
    raise EnvError(
        f"the download of {url} broke off five times; what came is kept in {part}, run the command again"
    )


def _download_rest(url: str, part: Path) -> bool:
    """True once the whole file is there."""
    import httpx

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response:
        if response.status_code == 416:  # nothing is left to send
            return True
        response.raise_for_status()
        resumed = response.status_code == 206
        total = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with part.open("ab" if resumed else "wb") as stream:
            try:
                for chunk in response.iter_raw():
                    stream.write(chunk)
            except httpx.TransportError as error:
                log.warning("the download broke off: %r", error)
    return not total or part.stat().st_size >= total
