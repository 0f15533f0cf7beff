"""One vLLM engine: chats in, completions out, adapters loaded on demand. `EngineActor` is it as a Ray actor."""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from actors.adapter_versions import AdapterVersions
from actors.chat import Completion, GenerateError, Message, PromptTooLongError, Sampling
from actors.cluster import this_node
from actors.codec import ChatCodec
from actors.config import EngineConfig
from actors.mailbox import Mailbox
from actors.metrics import ENGINE_CALLS, ENGINE_IDLE, ENGINE_RUNNING, ENGINE_TOKENS, ENGINE_WAITING
from actors.models import (
    ModelError,
    check_adapter,
    checkpoint_dtype,
    choose_threads,
    resolve_model,
)
from actors.ray_meters import actor_label, open_actor_meters
from actors.tokenizer import load_tokenizer
from actors.vllm_backend import ApartBackend, Backend, InsideBackend, sampling_params
from actors.wire import Answer, Delivery, Request

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine turned out to be."""

    model: str
    device: str
    dtype: str
    threads: int
    adapters: str
    """"lora" or "merge"."""
    max_model_len: int
    load_s: float
    pid: int
    kv_capacity_tokens: int | None = None
    """Tokens that the KV cache holds; None: unknown."""
    node: str = ""
    """Id of the machine that it runs on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """Counters since the start; `running` is now."""

    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    running: int
    adapter: str | None
    idle_s: float
    """Since a call last ended, or began with none beside it."""
    drawn_tokens: int = 0
    """`completion_tokens` and those of calls that still run; health is that this grows while calls are running."""
    running_tokens: int = 0
    """Prompts and replies so far of the calls that run: what of the KV cache is surely in use."""
    node: str = ""


class Engine:
    """Start it with `engine_environment` in the process's environment, before torch is imported."""

    def __init__(self, config: EngineConfig) -> None:
        began = time.monotonic()
        self._config, self._folder = config, resolve_model(config.model)
        self._device = _device(config)
        self._merge = config.adapters == "merge" or (config.adapters == "auto" and self._device == "cpu")
        self._tokenizer = load_tokenizer(self._folder)
        self._dtype = _dtype(config, self._folder, self._device)
        self._max_len = config.max_model_len or _context_length(self._folder, self._device)
        kind = InsideBackend if _core(config) == "inside" else ApartBackend
        self._backend: Backend = kind(**self._engine_args())
        self._versions = AdapterVersions()
        self._codec = ChatCodec(self._tokenizer)
        self._greedy: dict[Sampling, Any] = {}
        self._mailbox = Mailbox(self._answer)
        self._loaded: str | None = None
        self._loaded_version: str | None = None
        self._running = self._running_prompt_tokens = 0
        self._calls = self._prompt_tokens = self._cached_tokens = self._completion_tokens = 0
        self._last_end, self._idle_s = time.monotonic(), 0.0
        self._turnstile = asyncio.Condition()
        self._loras: dict[str, Any] = {}  # version -> what serves it
        self._workspace = tempfile.TemporaryDirectory(prefix="offbook-engine-")
        self._load_s = time.monotonic() - began
        self._watch()

    async def info(self) -> EngineInfo:
        return EngineInfo(
            model=self._config.model,
            device=self._device,
            dtype=self._dtype,
            threads=int(os.environ.get("OMP_NUM_THREADS", "0")),
            adapters="merge" if self._merge else "lora",
            max_model_len=self._max_len,
            load_s=self._load_s,
            pid=os.getpid(),
            kv_capacity_tokens=self._backend.kv_capacity_tokens(),
            node=this_node(),
        )

    async def metrics(self) -> EngineMetrics:
        drawing = self._drawing_tokens()
        return EngineMetrics(
            calls=self._calls,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self._completion_tokens,
            running=self._running,
            adapter=self._loaded,
            idle_s=time.monotonic() - self._last_end,
            drawn_tokens=self._completion_tokens + drawing,
            running_tokens=self._running_prompt_tokens + drawing,
            node=this_node(),
        )

    def _drawing_tokens(self) -> int:
        """Of the calls that run now."""
        return self._backend.drawing_tokens()

    async def generate(
        self, messages: Sequence[Message], sampling: Sampling, adapter: str | None = None
    ) -> Completion:
        """One chat at a time. Raises `PromptTooLongError`, and `ModelError` for an adapter that does not fit."""
        prompt_ids = self._codec.encode(messages)
        answer = await self._draw(prompt_ids, sampling, adapter)
        return self._codec.completion(prompt_ids, answer, sampling.stop)

    async def post(self, line: str, requests: Sequence[Request], dropped: Sequence[int]) -> str:
        """See `Mailbox`: a host's requests, whose answers it collects."""
        return self._mailbox.post(line, requests, dropped)

    async def collect(self, line: str) -> Delivery:
        return await self._mailbox.collect(line)

    async def tokenizer(self) -> Any:
        return self._tokenizer

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the chat up to where the model speaks, by the model's own template."""
        return self._codec.encode_whole(messages)

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._draw(request.prompt_ids, request.sampling, request.adapter)
        except ModelError as error:
            raise GenerateError(str(error), retryable=False) from error

    async def _draw(self, prompt_ids: list[int], sampling: Sampling, adapter: str | None) -> Answer:
        if len(prompt_ids) >= self._max_len:
            raise PromptTooLongError(
                f"the prompt has {len(prompt_ids)} tokens, the engine's context {self._max_len}"
            )
        params = self._params(sampling)
        version = self._versions.of(adapter)
        lora = await self._enter(adapter, version)
        self._running_prompt_tokens += len(prompt_ids)
        try:
            answer = await self._backend.generate(prompt_ids, params, lora, version)
        finally:
            self._running_prompt_tokens -= len(prompt_ids)
            await self._leave()
        self._calls += 1
        self._prompt_tokens += len(prompt_ids)
        self._cached_tokens += answer.cached_tokens
        self._completion_tokens += len(answer.token_ids)
        return answer

    def _params(self, sampling: Sampling) -> Any:
        """vLLM's own record; that of greedy decoding, where a seed says nothing, is made once."""
        if sampling.temperature > 0:
            return sampling_params(sampling, self._codec.stop_ids(sampling.stop))
        key = replace(sampling, seed=None)
        if key not in self._greedy:
            self._greedy[key] = sampling_params(key, self._codec.stop_ids(key.stop))
        return self._greedy[key]

    async def reset_cache(self) -> None:
        """Forget every prompt, so that a measurement starts cold."""
        await self._backend.reset_cache()

    def shutdown(self) -> None:
        self._backend.shutdown()
        self._workspace.cleanup()

    async def _enter(self, adapter: str | None, version: str | None) -> Any | None:
        """Count a call in, once the weights that it wants are in place."""
        async with self._turnstile:
            if self._merge and version != self._loaded_version:
                await self._turnstile.wait_for(lambda: self._running == 0 or version == self._loaded_version)
                if version != self._loaded_version:
                    await self._swap(adapter, version)
            lora = self._lora(adapter, version) if adapter and version and not self._merge else None
            if self._running == 0:
                self._idle_s += time.monotonic() - self._last_end
                self._last_end = time.monotonic()  # Time without calls is no sign of ill health.
            self._running += 1
            return lora

    async def _leave(self) -> None:
        self._last_end = time.monotonic()
        self._running -= 1
        if self._running == 0:
            async with self._turnstile:
                self._turnstile.notify_all()

    def _watch(self) -> None:
        """Have the counters read that are kept anyway: a call costs nothing more."""
        places = self._config.max_num_seqs
        meters = open_actor_meters("engine", engine=actor_label())
        meters.watch(ENGINE_RUNNING, lambda: min(self._running, places))
        meters.watch(ENGINE_WAITING, lambda: max(0, self._running - places))
        meters.watch(ENGINE_CALLS, lambda: self._calls)
        meters.watch(ENGINE_TOKENS, lambda: self._prompt_tokens, kind="prompt")
        meters.watch(ENGINE_TOKENS, lambda: self._cached_tokens, kind="cached")
        meters.watch(ENGINE_TOKENS, lambda: self._completion_tokens, kind="completion")
        meters.watch(ENGINE_IDLE, self._seconds_idle)

    def _seconds_idle(self) -> float:
        now = 0.0 if self._running else time.monotonic() - self._last_end
        return self._idle_s + now

    async def _swap(self, adapter: str | None, version: str | None) -> None:
        began = time.monotonic()
        folder = self._folder
        if adapter is not None and version is not None:
            folder = await asyncio.to_thread(self._merged, adapter, version)
        await self._backend.reload(folder)
        self._loaded, self._loaded_version = adapter, version
        log.info("weights are now %s (%.1f s)", adapter or self._config.model, time.monotonic() - began)

    def _merged(self, adapter: str, version: str) -> str:
        """A folder with base and adapter in one; kept while the adapter's content is the same."""
        self._check(adapter)
        folder = Path(self._workspace.name) / version
        if not folder.is_dir():
            merge_adapter(self._folder, adapter, folder)
        return str(folder)

    def _lora(self, adapter: str, version: str) -> Any:
        """One for each version: requests that still run keep theirs."""
        from vllm.lora.request import LoRARequest

        if version not in self._loras:
            self._check(adapter)
            self._loras[version] = LoRARequest(version, len(self._loras) + 1, adapter)
        return self._loras[version]

    def _check(self, adapter: str) -> None:
        check_adapter(
            adapter,
            model=self._config.model,
            model_folder=self._folder,
            max_rank=self._config.max_lora_rank,
        )

    def _engine_args(self) -> dict[str, Any]:
        config = self._config
        args: dict[str, Any] = {
            "model": self._folder,
            "dtype": self._dtype,
            "max_model_len": self._max_len,
            "max_num_seqs": config.max_num_seqs,
            "tensor_parallel_size": config.tensor_parallel_size,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
        }
        if self._device == "cpu":
            # Small blocks: an append-only chat of short turns hits the cache to within one block (32 is the kernel's least).
            # Eager: compiling takes longer than a small model's whole study.
            kv_bytes = int(config.kv_cache_gb * 2**30)
            args |= {"block_size": 32, "enforce_eager": True, "kv_cache_memory_bytes": kv_bytes}
            # A prompt read in two parts draws a token too many, and a CPU generator cannot be set back: the engine dies.
            args |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(self._max_len, 8192)}
        else:
            args |= {"gpu_memory_utilization": config.gpu_memory_utilization}
        if config.tensor_parallel_size > 1:
            # Left to itself vLLM sees the actor's placement group and wants a bundle of it for every GPU.
            args |= {"distributed_executor_backend": "mp"}
        if not self._merge:
            args |= {"enable_lora": True, "max_lora_rank": config.max_lora_rank, "max_loras": 4}
        return args


def engine_environment(config: EngineConfig, model_folder: str, cores: int) -> dict[str, str]:
    """Variables that an engine's process needs before it imports torch."""
    threads = config.threads or choose_threads(model_folder, cores, config.replicas)
    environment = {
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if _device(config) == "cpu":
        environment |= {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            # Binding threads to cores makes two engines fight for the same ones.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0" if _core(config) == "inside" else "1",
        }
    return environment


def merge_adapter(model_folder: str, adapter: str, out: Path) -> None:
    """Write base + LoRA as a plain checkpoint; a folder at `out` is complete."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    partial = out.with_suffix(".partial")
    merged.save_pretrained(partial)
    partial.rename(out)


def gpus_of(config: EngineConfig) -> int:
    """What one engine takes."""
    return 0 if _device(config) == "cpu" else config.tensor_parallel_size


def engine_actor(
    config: EngineConfig, cores: int, name: str, kind: type[Engine] = Engine, strategy: Any = None
) -> Any:
    """Start an engine as a Ray actor of that name; a killed one comes back by itself and loses only what was running."""
    remote = ray.remote(kind).options(
        name=name,
        num_cpus=1,
        num_gpus=gpus_of(config),
        scheduling_strategy=strategy,
        max_restarts=100,
        max_concurrency=4096,
        runtime_env={"env_vars": engine_environment(config, resolve_model(config.model), cores)},
    )
    return remote.remote(config)


def _device(config: EngineConfig) -> str:
    if config.device != "auto":
        return config.device
    # Asked of the driver's files, not of torch: importing torch takes seconds and this runs in the driver too.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return "cuda" if Path("/dev/nvidiactl").exists() and visible != "" else "cpu"


def _core(config: EngineConfig) -> str:
    if config.core != "auto":
        return config.core
    return "inside" if _device(config) == "cpu" else "apart"


def _dtype(config: EngineConfig, folder: str, device: str) -> str:
    if config.dtype != "auto" or device != "cpu":
        return config.dtype
    import torch

    # Without the instructions for it, bfloat16 on CPU is emulated: some forty times slower than float32.
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_bf16 and checkpoint_dtype(folder) == "bfloat16" else "float32"


def _context_length(folder: str, device: str) -> int:
    import json

    stated = json.loads((Path(folder) / "config.json").read_text()).get("max_position_embeddings", 2048)
    # A long context costs KV cache at start-up; episodes of text games stay far below this.
    return min(stated, 8192 if device == "cpu" else 32768)
