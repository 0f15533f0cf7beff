"""The official release of the text games: get it, and prove that a copy of it is whole. Games are never part of Offbook."""

import hashlib
import logging
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from envs.alfworld.gamefile import GAME_FILE
from envs.alfworld.index import GameIndex
from envs.alfworld.manifest import release_hashes
from envs.base import EnvError
from envs.download import download

log = logging.getLogger(__name__)

RELEASE_URL = "https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip"
ARCHIVE = "json_2.1.2_tw-pddl.zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """A copy of the release held against the shipped hashes. Paths are sorted."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    """Path of the release, other content (an older or a patched copy, or damage)."""
    foreign: tuple[str, ...]
    """Games that the release does not have, such as generated ones."""

    @property
    def whole(self) -> bool:
        """Every game of the release is there, unchanged."""
        return not self.missing and not self.changed

    @property
    def genuine(self) -> bool:
        """Whatever is there is the release's, even if not all of it is."""
        return bool(self.matched) and not self.changed and not self.foreign

    def summary(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.changed)
        text = f"{len(self.matched)} of {total} games of the release match"
        for word, paths in (("missing", self.missing), ("changed", self.changed), ("foreign", self.foreign)):
            if paths:
                text += f"; {len(paths)} {word}, first {paths[0]}"
        return text


def verify(games: Path) -> VerifyReport:
    """Compare every game in `games` (a folder of the release, or compact files) with the shipped hashes.

    Raises:
        EnvError: there is no game at all, or a compact file is damaged.
    """
    index = GameIndex(Path(games).expanduser().resolve())
    wanted = release_hashes()
    matched, changed, foreign = [], [], []
    for path in index.paths():
        if path not in wanted:
            foreign.append(path)
        elif index.content_hash(path) == wanted[path]:
            matched.append(path)
        else:
            changed.append(path)
    there = {*matched, *changed}
    return VerifyReport(
        matched=tuple(matched),
        missing=tuple(path for path in wanted if path not in there),
        changed=tuple(changed),
        foreign=tuple(foreign),
    )


def fetch(dest: Path, source: Path | None = None) -> VerifyReport:
    """Put the release's games into `dest` as `SPLIT/TASK/TRIAL/game.tw-pddl`, each checked against its shipped hash.

    `source` is a local copy: the release's zip, or a folder that holds its game files at any depth. Without it the zip is
    downloaded; a broken download is taken up where it stopped. A game that is already there and right is not touched.

    Raises:
        EnvError: the download or a game is not what the release holds; good games that were copied stay.
    """
    dest = Path(dest).expanduser()
    dest.mkdir(parents=True, exist_ok=True)
    if source is None:
        archive = dest / ARCHIVE
        download(RELEASE_URL, archive)
        _unpack(archive, dest)
        archive.unlink()
    elif not Path(source).exists():
        raise EnvError(
            f"{source} does not exist; give the release's zip or a folder that holds its {GAME_FILE} files"
        )
    elif Path(source).is_dir():
        _copy_folder(Path(source), dest)
    else:
        _unpack(Path(source), dest)
    report = verify(dest)
    log.info("%s: %s", dest, report.summary())
    return report


def _unpack(archive: Path, dest: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            for name in sorted(packed.namelist()):
                if PurePosixPath(name).name == GAME_FILE:
                    _install(
                        "/".join(PurePosixPath(name).parts[-4:-1]),
                        packed.read(name),
                        dest,
                        f"{archive}:{name}",
                    )
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise EnvError(f"{archive} is damaged or no zip ({error}); delete it and fetch again") from None


def _copy_folder(source: Path, dest: Path) -> None:
    for file in sorted(source.rglob(GAME_FILE)):
        _install("/".join(file.resolve().parts[-4:-1]), file.read_bytes(), dest, str(file))


def _install(path: str, content: bytes, dest: Path, origin: str) -> None:
    """Write one game, whole or not at all; what is no game of the release is left out."""
    wanted = release_hashes().get(path)
    if wanted is None:
        log.debug("left out %s: not among the games of the release", origin)
        return
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted:
        raise EnvError(
            f"{origin} has SHA-256 {digest[:12]}, the release {wanted[:12]}: it is damaged or of another version; "
            "get json_2.1.2_tw-pddl.zip (ALFWorld 0.4)"
        )
    file = dest / path / GAME_FILE
    if file.exists() and hashlib.sha256(file.read_bytes()).hexdigest() == wanted:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as stream:
        stream.write(content)
    shutil.move(stream.name, file)
