"""What GPUs of a kind hold and compute, as their makers state it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One accelerator."""

    name: str
    memory_gb: float
    """Decimal gigabytes, as on the box."""
    bf16_tflops: float
    """Dense peak of the matrix units in bfloat16, float32 accumulation."""
    source: str

    @property
    def memory_bytes(self) -> float:
        return self.memory_gb * 1e9


# Dense figures: data sheets that print "with sparsity" are halved.
GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu(name="A100-40GB", memory_gb=40, bf16_tflops=312, source="NVIDIA A100 data sheet"),
        Gpu(name="A100-80GB", memory_gb=80, bf16_tflops=312, source="NVIDIA A100 data sheet"),
        Gpu(name="A10G", memory_gb=24, bf16_tflops=70, source="NVIDIA A10G data sheet"),
        Gpu(name="L4", memory_gb=24, bf16_tflops=121, source="NVIDIA L4 data sheet (242 with sparsity)"),
        Gpu(name="L40S", memory_gb=48, bf16_tflops=362, source="NVIDIA L40S data sheet"),
        Gpu(
            name="H100",
            memory_gb=80,
            bf16_tflops=989,
            source="NVIDIA H100 SXM data sheet (1,979 with sparsity)",
        ),
        Gpu(
            name="H200",
            memory_gb=141,
            bf16_tflops=989,
            source="NVIDIA H200 SXM data sheet (1,979 with sparsity)",
        ),
    )
}
DEFAULT_GPU = "A100-80GB"


def gpu_named(name: str) -> Gpu:
    """Raises `ValueError` with the names there are."""
    found = {known.lower(): gpu for known, gpu in GPUS.items()}.get(name.lower())
    if found is None:
        raise ValueError(f"unknown GPU {name!r}; choose one of {', '.join(sorted(GPUS))}")
    return found
