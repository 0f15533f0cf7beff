"""The games of one place on disk, by path: opened once a process, read when played, a few kept ready.

Three forms: a folder of the release (`SPLIT/TASK/TRIAL/game.tw-pddl`), a compact `.jsonl` or `.jsonl.xz` file with one
game a line, or a folder of such files. Nothing is written beside the games.
"""

import json
import logging
import lzma
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

from envs.alfworld.game import Game
from envs.alfworld.gamefile import (
    GAME_FILE,
    SPLITS,
    GameRow,
    Logic,
    compose_game_file,
    find_logic,
    parse_game_file,
)
from envs.alfworld.manifest import release_hashes
from envs.base import EnvError
from envs.task import Task

log = logging.getLogger(__name__)

_KEPT_GAMES = 128
"""Ready games held for players; one takes about 50 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    source: str
    """File, and line of a compact one: what an error names."""
    read: Callable[[], bytes]
    compact: bool
    sentence: str | None = None
    """The task, where looking for games showed it already."""


class GameIndex:
    """Thread-safe."""

    def __init__(self, games: Path, *, skip_bad: bool = False) -> None:
        self._games = games
        self._skip_bad = skip_bad
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, Game] = OrderedDict()
        self._tasks: dict[str, Task] = {}
        self._entries: dict[str, _Entry] = {}
        for path, entry in _find(games, skip_bad=skip_bad):
            if path in self._entries:
                raise EnvError(
                    f"game {path} is in {self._entries[path].source} and in {entry.source}; keep one"
                )
            self._entries[path] = entry
        if skip_bad:
            self._drop_bad()
        if not self._entries:
            raise EnvError(
                f"no ALFWorld game in {games}; expected {GAME_FILE} files of the release or .jsonl / .jsonl.xz files "
                "(`offbook data fetch alfworld` or `offbook data generate alfworld`)"
            )

    def paths(self, split: str | None = None) -> list[str]:
        """Paths of all games, or of those of "train", "dev" or "test"; sorted."""
        return sorted(
            path for path in self._entries if split is None or SPLITS[path.partition("/")[0]] == split
        )

    def task(self, path: str) -> Task:
        task = self._tasks.get(path)
        if task is None:
            entry = self._entries.get(path)
            sentence = entry.sentence if entry and entry.sentence else self.row(path).task
            split, folder, _ = path.split("/")
            task = Task(
                env="alfworld", split=SPLITS[split], id=path, kind=folder.partition("-")[0], goal=sentence
            )
            self._tasks[path] = task
        return task

    def row(self, path: str) -> GameRow:
        entry = self._entries.get(path)
        if entry is None:
            raise EnvError(
                f"{self._games} holds no game {path}; it holds {len(self._entries)}, such as {min(self._entries)}"
            )
        try:
            content = entry.read()
        except OSError as error:
            raise EnvError(f"cannot read {entry.source}: {error}") from None
        if entry.compact:
            return _parse_line(content, entry.source)
        return parse_game_file(content, path, entry.source)

    def game(self, path: str) -> Game:
        """The game, read at most once while it is among the last ones played."""
        with self._lock:
            game = self._ready.get(path)
            if game is not None:
                self._ready.move_to_end(path)
                return game
        row = self.row(path)
        try:
            game = Game.from_problem(row.problem, row.task, path)
        except EnvError as error:
            raise EnvError(f"{self._entries[path].source}: {error}") from None
        with self._lock:
            self._ready[path] = game
            if len(self._ready) > _KEPT_GAMES:
                self._ready.popitem(last=False)
        return game

    def content_hash(self, path: str) -> str:
        """SHA-256 of the file's bytes for a path of the release, of the facts for any other game."""
        if path not in release_hashes():
            return self.game(path).sha256
        entry = self._entries.get(path)
        if entry is not None and not entry.compact:
            return sha256(entry.read()).hexdigest()
        return sha256(compose_game_file(self.row(path), _logic(self._games))).hexdigest()

    def _drop_bad(self) -> None:
        for path in list(self._entries):
            try:
                self.game(path)
            except EnvError as error:
                log.warning("skipped a bad game: %s", error)
                del self._entries[path]


def open_index(games: str, *, skip_bad: bool = False) -> GameIndex:
    """The index of `games`, shared by every environment of this process until the files change."""
    place = Path(games).expanduser()
    try:
        place = place.resolve(strict=True)
        stamp = tuple((p.stat().st_mtime_ns, p.stat().st_size) for p in (place, *_compact_files(place)))
    except OSError:
        raise EnvError(
            f"no games at {games}; give a folder of the release or a .jsonl file (`offbook data fetch alfworld` or "
            "`offbook data generate alfworld` makes one)"
        ) from None
    with _OPENING:
        return _open(place, skip_bad, stamp)


_OPENING = threading.Lock()


@lru_cache(maxsize=8)
def _open(place: Path, skip_bad: bool, _stamp: tuple[tuple[int, int], ...]) -> GameIndex:
    index = GameIndex(place, skip_bad=skip_bad)
    log.info("opened %d games in %s", len(index.paths()), place)
    return index


@lru_cache(maxsize=8)
def _logic(games: Path) -> Logic:
    return find_logic(games)


def _compact_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(p for p in place.iterdir() if p.name.endswith((".jsonl", ".jsonl.xz")) and p.is_file())


def _find(place: Path, *, skip_bad: bool) -> Iterator[tuple[str, _Entry]]:
    if place.is_dir():
        compact = _compact_files(place)
        for file in compact:
            yield from _find_lines(file, skip_bad=skip_bad)
        if not compact:
            yield from _find_files(place)
    elif place.name == GAME_FILE:
        yield from _find_files(place.parent)
    elif place.name.endswith((".jsonl", ".jsonl.xz")):
        yield from _find_lines(place, skip_bad=skip_bad)
    else:
        raise EnvError(
            f"{place} is no place for games: give a folder of the release, or a .jsonl or .jsonl.xz file"
        )


def _find_files(place: Path) -> Iterator[tuple[str, _Entry]]:
    """Every game file under `place`. Its path is the last three folders, so that a folder of one split is understood too."""
    left_out = 0
    for folder, subfolders, files in os.walk(place):
        subfolders.sort()
        if GAME_FILE not in files:
            continue
        path = "/".join(Path(folder).parts[-3:])
        if path.partition("/")[0] not in SPLITS:
            left_out += 1
            continue
        file = Path(folder, GAME_FILE)
        yield path, _Entry(source=str(file), read=file.read_bytes, compact=False)
    if left_out:
        log.info("left out %d games of other splits in %s", left_out, place)


def _find_lines(file: Path, *, skip_bad: bool) -> Iterator[tuple[str, _Entry]]:
    start = 0
    number = 0
    packed = file.name.endswith(".xz")
    try:
        with lzma.open(file, "rb") if packed else file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                source = f"{file} line {number}"
                try:
                    row = _parse_line(line, source)
                except EnvError as error:
                    if not skip_bad:
                        raise
                    log.warning("skipped a bad game: %s", error)
                else:
                    # A compressed file cannot be read from the middle: its games stay in memory, a few kB each.
                    read = (
                        partial(zlib.decompress, zlib.compress(line, 1))
                        if packed
                        else partial(_read_span, file, start, len(line))
                    )
                    yield row.path, _Entry(source=source, read=read, compact=True, sentence=row.task)
                start += len(line)
    except (EOFError, lzma.LZMAError, OSError) as error:
        if not skip_bad:
            raise EnvError(
                f"{file} is truncated or damaged after line {number} ({error}); fetch it again or pass skip_bad=true"
            ) from None
        log.warning("skipped the rest of %s after line %d: %s", file, number, error)


def _read_span(file: Path, start: int, size: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def _parse_line(line: bytes, source: str) -> GameRow:
    try:
        document = json.loads(line)
        row = GameRow(
            path=document["path"],
            task=document["task"],
            problem=document["pddl_problem"],
            walkthrough=tuple(document.get("walkthrough") or ()),
            solvable=bool(document.get("solvable", True)),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise EnvError(
            f"{source} is no complete game ({error!r}); fetch or generate it again, or pass skip_bad=true"
        ) from None
    split, *rest = row.path.split("/")
    if split not in SPLITS or len(rest) != 2:
        raise EnvError(
            f"{source}: {row.path!r} is no path of a game; it must be SPLIT/TASK/TRIAL with a split of {', '.join(SPLITS)}"
        )
    return row
