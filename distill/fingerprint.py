"""What a model is, as a short string that changes when its weights, tokenizer or address change."""

from pathlib import Path

from actors.config import EndpointConfig, EngineConfig, ModelConfig
from actors.models import resolve_model
from distill.stages import content_hash, file_hash

_WHOLE_FILE_BYTES = 64 << 20
_EDGE_BYTES = 1 << 20
_PARTS = ("*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt")


def model_fingerprint(config: ModelConfig) -> str:
    """`name:hash` for a local checkpoint, `kind:name@address` for a served one."""
    if isinstance(config, EndpointConfig):
        return f"openai:{config.model}@{','.join(sorted(config.base_urls)) or config.base_url or 'default'}"
    if not isinstance(config, EngineConfig):
        return f"{config.kind}:{content_hash(config.model_dump(mode='json'))[:12]}"
    folder = Path(resolve_model(config.model))
    if not folder.is_dir():
        return f"hub:{config.model}"
    files = sorted(path for pattern in _PARTS for path in folder.glob(pattern))
    return f"{config.model if config.model == 'pocket' else folder.name}:{content_hash([[p.name, _digest(p)] for p in files])[:12]}"


def _digest(path: Path) -> str:
    size = path.stat().st_size
    if size <= _WHOLE_FILE_BYTES:
        return file_hash(path)
    # Shards of many gigabytes: size and both edges tell two checkpoints apart without reading them whole.
    with path.open("rb") as file:
        head = file.read(_EDGE_BYTES)
        file.seek(-_EDGE_BYTES, 2)
        return content_hash([size, head.hex(), file.read().hex()])
