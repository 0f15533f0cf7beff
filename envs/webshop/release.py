"""The original's data files: where they are, and proof that a copy of them is whole. They are never part of Offbook.

The authors' setup script takes them from a cloud drive; where that drive's quota is used up, two mirrors hold the same bytes. Sizes and
SHA-256 sums are those that independent users of the files publish, the mirrors' own metadata among them.
"""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from envs.base import EnvError
from envs.download import download

log = logging.getLogger(__name__)

MIRRORS = (
    "https://huggingface.co/datasets/YWZBrandon/webshop-data/resolve/ce990fff5aee388db2706f07820c578ab68e0453/{name}",
    "https://huggingface.co/datasets/HongbangYuan/webshop/resolve/0129d4a81dbdb827e76afd20a1e2c38b61098613/{name}",
    "https://drive.usercontent.google.com/download?id={drive_id}&export=download&confirm=t",
)
"""Tried in turn."""

Products = Literal["1000", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    name: str
    bytes: int
    sha256: str
    drive_id: str
    """On the authors' cloud drive."""


_HUMAN = DataFile(
    name="items_human_ins.json",
    bytes=5_137_548,
    sha256="cf78667548a71786e1d9049c24b802e48e1084ad4bb021cae56ce1f6d96954a3",
    drive_id="14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O",
)
FILES: dict[Products, tuple[DataFile, ...]] = {
    "1000": (
        DataFile(
            name="items_shuffle_1000.json",
            bytes=4_467_013,
            sha256="30a4765c3a327af72d9a9a95a6b2486d516f0fa1d3ecd83681901ce82a21b269",
            drive_id="1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib",
        ),
        DataFile(
            name="items_ins_v2_1000.json",
            bytes=147_099,
            sha256="f88a36314a397b53b3d9c3fa5878e5f7b26d35019a51ec83fbedeca61a948f6f",
            drive_id="1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu",
        ),
        _HUMAN,
    ),
    "all": (
        DataFile(
            name="items_shuffle.json",
            bytes=5_479_720_229,
            sha256="2ef591d65df3af89e972ab72468eb82cbf124d876552d9f3678667edd620a6c8",
            drive_id="1A2whVgOO0euk5O13n2iYDM0bQRkkRduB",
        ),
        DataFile(
            name="items_ins_v2.json",
            bytes=186_295_270,
            sha256="1d36af476bdb8f82a5da62bd8acdabe54cd8de2fa84010d37da5c4890feb447e",
            drive_id="1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi",
        ),
        _HUMAN,
    ),
}


def fetch(
    dest: Path, products: Products, source: Path | None = None, *, mirrors: Sequence[str] = MIRRORS
) -> list[Path]:
    """Put the original's files into `dest`, each checked; returns them. A file that is there and right is not touched.

    `source` is a folder with a copy of them. Without it they are downloaded; a broken download is taken up where it stopped.

    Raises:
        EnvError: a file cannot be had, or what was got is something else; the good ones stay.
    """
    dest = Path(dest).expanduser()
    dest.mkdir(parents=True, exist_ok=True)
    got = []
    for file in FILES[products]:
        target = dest / file.name
        if target.is_file() and _difference(target, file) is None:
            log.info("%s is there and right", target)
        elif source is not None:
            _copy(file, Path(source), target)
        else:
            _download(file, target, mirrors)
        got.append(target)
    return got


def _copy(file: DataFile, source: Path, target: Path) -> None:
    copy = source / file.name
    if not copy.is_file():
        raise EnvError(f"{source} holds no {file.name}; give the folder with the original's files")
    if (difference := _difference(copy, file)) is not None:
        raise EnvError(
            f"{difference}; to play on an altered copy, build from it with `offbook data build webshop {source}`"
        )
    part = target.with_name(target.name + ".copy")
    shutil.copyfile(copy, part)
    part.replace(target)


def _download(file: DataFile, target: Path, mirrors: Sequence[str]) -> None:
    failures = []
    target.unlink(missing_ok=True)
    came = target.with_name(target.name + ".unchecked")
    for mirror in mirrors:
        url = mirror.format(name=file.name, drive_id=file.drive_id)
        log.info("%s (%.1f MB) from %s", file.name, file.bytes / 1e6, url)
        try:
            download(url, came)
        except EnvError as error:
            failures.append(str(error))
            continue
        difference = _difference(came, file)
        if difference is None:
            came.replace(target)
            return
        # A page that says "quota exceeded" is a download as well.
        failures.append(f"{url}: {difference}")
        came.unlink()
    raise EnvError(
        f"cannot get {file.name}: {'; '.join(failures)}; run the command again, or give a local copy with --from"
    )


def _difference(path: Path, file: DataFile) -> str | None:
    """What tells a file from the original's; None where nothing does."""
    size = path.stat().st_size
    if size != file.bytes:
        return f"{path} has {size:,} bytes, the original's {file.name} {file.bytes:,}"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != file.sha256:
        return f"{path} has SHA-256 {digest[:12]}, the original's {file.name} {file.sha256[:12]}"
    return None
