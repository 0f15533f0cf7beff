"""Checkpoints and adapters on disk: where they lie, how large they are, and whether they fit. Loads no weights."""

import hashlib
import json
import struct
from pathlib import Path

_POCKET = Path(__file__).resolve().parent.parent / "distill" / "pocket"
POCKETS = {
    "pocket": _POCKET / "model",
    "pocket-stateact": _POCKET / "model_stateact",
    "pocket-shop": _POCKET / "shop" / "model",
    "pocket-shop-stateact": _POCKET / "shop" / "model_stateact",
}
"""The models that ship with Offbook, by name."""
_SMALL_BYTES = 200 * 2**20
"""Below this a second thread costs more than it gives."""


class ModelError(ValueError):
    """A checkpoint or an adapter is missing or does not fit; the message says what to do."""


def resolve_model(name: str) -> str:
    """The folder of a checkpoint: one of `POCKETS`, a folder, or a Hugging Face id (fetched unless it is in the local cache)."""
    if name in POCKETS:
        missing = f"the {name} model is missing from {{}}; train it with `make {name}`"
        return str(_checkpoint(POCKETS[name], missing))
    folder = Path(name).expanduser()
    if folder.is_dir() or folder.is_absolute() or name.startswith(".") or name.count("/") > 1:
        return str(_checkpoint(folder, "model {} holds no checkpoint (config.json and weights)"))
    return _from_hub(name)


def model_bytes(folder: str) -> int:
    """Size of the weights."""
    weights = [*Path(folder).glob("*.safetensors")] or [*Path(folder).glob("*.bin")]
    return sum(file.stat().st_size for file in weights)


def choose_threads(folder: str, cores: int, replicas: int) -> int:
    """OpenMP threads of one engine on CPU: one for a small model, which a second thread only slows, else its share."""
    return 1 if model_bytes(folder) < _SMALL_BYTES else max(1, cores // replicas)


def checkpoint_dtype(folder: str) -> str:
    """The dtype that the checkpoint says it was saved in."""
    config = json.loads((Path(folder) / "config.json").read_text())
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def check_adapter(adapter: str, *, model: str, model_folder: str, max_rank: int) -> None:
    """Raise `ModelError` unless the LoRA adapter was trained on this base and fits its shapes and the engine's rank."""
    folder = Path(adapter)
    config_file, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    for file in (config_file, weights):
        if not file.is_file():
            raise ModelError(
                f"adapter {adapter} is incomplete: {file.name} is missing; train it again or correct the path"
            )
    config = json.loads(config_file.read_text())
    base = str(config.get("base_model_name_or_path") or "")
    if not _same_model(base, model, model_folder):
        raise ModelError(
            f"adapter {adapter} was trained on {base!r} but the engine serves {model!r}; serve it on its own base"
        )
    if config["r"] > max_rank:
        raise ModelError(
            f"adapter {adapter} has rank {config['r']} but the engine allows max_lora_rank = {max_rank}; raise max_lora_rank"
        )
    _check_shapes(adapter, weights, model, model_folder)


def adapter_digest(adapter: str) -> str:
    """Names an adapter by its content, so that a folder trained anew is not taken for the old one."""
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((Path(adapter) / name).read_bytes())
    return digest.hexdigest()[:16]


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name from the head of a safetensors file."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        head = json.loads(opened.read(length))
    return {name: tuple(entry["shape"]) for name, entry in head.items() if name != "__metadata__"}


def _checkpoint(folder: Path, message: str) -> Path:
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
    if not (folder / "config.json").is_file() or not has_weights:
        raise ModelError(message.format(folder))
    return folder


def _from_hub(name: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(
            name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {name!r} is neither a folder here nor on the Hugging Face hub ({reason}); "
            "give a checkpoint's folder, `pocket`, or fetch it first"
        ) from error


def _same_model(base: str, model: str, model_folder: str) -> bool:
    # Adapters move between machines: the last part of the path is all that both sides can agree on.
    names = {model, model_folder, str(Path(model_folder).resolve())}
    if base in names or (Path(base).is_dir() and str(Path(base).resolve()) in names):
        return True
    return Path(base).name in {Path(name).name for name in names} and not Path(base).is_dir()


def _check_shapes(adapter: str, weights: Path, model: str, model_folder: str) -> None:
    of_base: dict[str, tuple[int, ...]] = {}
    for file in Path(model_folder).glob("*.safetensors"):
        of_base |= tensor_shapes(file)
    for name, shape in tensor_shapes(weights).items():
        module, _, side = name.removeprefix("base_model.model.").partition(".lora_")
        expected = of_base.get(f"{module}.weight")
        if not of_base or side not in ("A.weight", "B.weight"):
            continue
        fits = expected is not None and shape[side == "A.weight"] == expected[side == "A.weight"]
        if not fits:
            raise ModelError(
                f"adapter {adapter} does not fit {model!r}: {name} has shape {list(shape)}, the base has "
                f"{list(expected) if expected else 'no such weight'}; serve it on its own base"
            )
