"""LoRA adapters on disk: written, reloaded and compared with what was trained before anybody is told of them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.base import probe
from train.errors import AdapterError, TrainError

WEIGHTS = "adapter_model.safetensors"
MANIFEST = "adapter.json"
_WHOLE_BYTES = 64 * 2**20
_EDGE_BYTES = 2**20


def hash_model(model: str) -> str:
    """Names a checkpoint by its weights, configuration and tokenizer, wherever it lies.

    Files above 64 MiB count with their size, first and last MiB: a changed weight file differs there (safetensors
    begins with its table of contents), and hashing all of a 14B model would take minutes. A model that is no
    folder counts by its name.
    """
    folder = Path(model)
    if not folder.is_dir():
        return hashlib.sha256(model.encode()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(
        f for f in folder.iterdir() if f.suffix in (".json", ".safetensors", ".bin", ".jinja", ".txt")
    ):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(size if size <= _WHOLE_BYTES else _EDGE_BYTES))
            if size > _WHOLE_BYTES:
                opened.seek(-_EDGE_BYTES, 2)
                digest.update(opened.read())
    return digest.hexdigest()


def check_model(model: str) -> None:
    """`TrainError` where `model` looks like a folder but holds no checkpoint."""
    folder = Path(model)
    looks_like_path = folder.is_absolute() or model.startswith((".", "~")) or len(folder.parts) > 2
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise TrainError(
            f"no checkpoint in {model}: config.json is missing; give a folder saved by save_pretrained"
        )
    if not folder.exists() and looks_like_path:
        raise TrainError(
            f"no checkpoint at {model}: the folder does not exist; give a checkpoint's folder or a hub name"
        )


def read_manifest(adapter: Path) -> dict[str, Any] | None:
    """The manifest of a finished adapter; None where there is none."""
    try:
        return json.loads((adapter / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise AdapterError(
            f"{adapter / MANIFEST} is damaged ({error}); delete {adapter} and train again"
        ) from error


def check_base(adapter: Path, model: str) -> None:
    """`AdapterError` naming both models, where the adapter was trained on another base than `model`."""
    manifest = read_manifest(adapter)
    if manifest is None:
        raise AdapterError(f"no adapter in {adapter}: {MANIFEST} is missing")
    if manifest["base_sha256"] != hash_model(model):
        raise AdapterError(
            f"adapter {adapter} was trained on {manifest['base']!r} but the model is {model!r}; "
            "serve it on its own base, or train another adapter"
        )


def save_adapter(peft_config: Any, tensors: Mapping[str, Any], folder: Path) -> None:
    """Write PEFT's standard files. `tensors`: from `gather_adapter`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
    training, peft_config.inference_mode = peft_config.inference_mode, True
    peft_config.save_pretrained(str(folder))
    peft_config.inference_mode = training


def gather_adapter(model: Any) -> dict[str, Any]:
    """The adapter's tensors as PEFT names them, on CPU. Under ZeRO-3 every worker must call it: parameters that are
    spread over the workers are empty locally, and saved so they make an adapter of 40 bytes."""
    from peft import get_peft_model_state_dict

    whole = {name: _whole(p) for name, p in model.named_parameters() if p.requires_grad}
    return {n: t.contiguous() for n, t in get_peft_model_state_dict(model, state_dict=whole).items()}


def _whole(parameter: Any) -> Any:
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().cpu().clone()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().cpu().clone()


def verify_adapter(
    folder: Path,
    base: Any,
    *,
    trained: Mapping[str, Any],
    probe_ids: list[int],
    trained_logits: Any,
    plain_logits: Any = None,
    dtype: str,
) -> None:
    """Reload the adapter onto its base and compare it with what was trained; `base` is left as it was.

    `trained`: the tensors in memory. `trained_logits` and `plain_logits` [num_tokens, vocabulary]: of the trained module and of the base
    before training, on `probe_ids`. Raises `AdapterError` for missing, misshapen or different tensors, for an adapter without effect,
    where the reloaded model does not compute what the trained one did, and where the base is not what it was.
    """
    import torch
    from peft import PeftModel

    _check_tensors(folder, trained)
    plain = probe(base, probe_ids)
    if plain_logits is not None and not torch.equal(plain, plain_logits.to(plain.device)):
        raise AdapterError(
            f"adapter {folder} was trained on weights that moved: the base does not compute what it did before; "
            "train again, one adapter a job"
        )
    reloaded = PeftModel.from_pretrained(base, str(folder), autocast_adapter_dtype=False).eval()
    found = probe(reloaded, probe_ids)
    reloaded.unload()
    trained_logits = trained_logits.to(found.device)
    scale = max(trained_logits.abs().max().item(), 1e-6)
    tolerance = scale * (1e-4 if dtype == "float32" else 3e-2)
    gap, effect = (found - trained_logits).abs().max().item(), (found - plain).abs().max().item()
    if not torch.isfinite(found).all():
        raise AdapterError(f"adapter {folder} computes values that are not finite; lower the learning rate")
    if gap > tolerance:
        raise AdapterError(
            f"adapter {folder} does not compute what was trained: logits differ by {gap:.3g} (at most {tolerance:.3g} "
            "is rounding); its files are damaged or incomplete, train again"
        )
    if effect == 0:
        raise AdapterError(f"adapter {folder} does not change the base model's logits: nothing was learnt")


def _check_tensors(folder: Path, trained: Mapping[str, Any]) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        saved = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"adapter {folder} cannot be read back: {error}") from error
    if missing := sorted(set(trained) ^ set(saved)):
        raise AdapterError(
            f"adapter {folder} has {len(saved)} tensors, {len(trained)} were trained: {missing[:3]} ..."
        )
    for name, tensor in trained.items():
        if saved[name].shape != tensor.shape or saved[name].numel() == 0:
            raise AdapterError(
                f"adapter {folder}: {name} has shape {list(saved[name].shape)}, not {list(tensor.shape)}"
            )
        if not torch.equal(saved[name], tensor):
            raise AdapterError(f"adapter {folder}: {name} is not what was trained")
    if not any(saved[name].any() for name in saved if "lora_B" in name):
        raise AdapterError(
            f"adapter {folder}: every lora_B is zero, so it has no effect; was anything trained?"
        )
