"""The description of a cluster, `cluster.toml`: which machines there are, what they share, and which variables they need. Holds no secret."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from actors.config import VariableName
from distill.settings import SHIPPED, load_settings

CLUSTERS = SHIPPED / "clusters"
DEFAULT = "aws"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
"""Fits what clouds, Kubernetes and Slurm all accept."""
Role = Literal["head", "hosts", "engines", "training"]
Cloud = Literal["aws", "gcp", "azure"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class NodeConfig(_Frozen):
    """A type of machine."""

    roles: tuple[Role, ...] = Field(min_length=1)
    """What it is for: the driver (`head`), worlds (`hosts`), models (`engines`), adapters (`training`)."""
    why: str = ""
    """Stands as a comment in what is rendered."""
    instance: str
    """The cloud's name of it. Slurm and SkyPilot go by the numbers below instead."""
    cpus: int = Field(ge=1)
    memory_gb: int = Field(ge=1)
    gpu: str | None = None
    """Kind of GPU, as SkyPilot and Slurm call it, such as L40S."""
    gpus: int = Field(default=0, ge=0)
    min: int = Field(default=0, ge=0)
    max: int = Field(default=1, ge=0)
    spot: Literal["never", "first", "only"] = "never"
    """`first`: on demand where there is no spot capacity."""
    why_spot: str = ""
    """Why a node of this type may, or may not, be taken away; a comment too."""
    disk_gb: int = Field(default=100, ge=20)

    @model_validator(mode="after")
    def numbers_agree(self) -> "NodeConfig":
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is more than max = {self.max}; lower it or raise max")
        if bool(self.gpu) != bool(self.gpus):
            raise ValueError(
                f"gpu = {self.gpu!r} and gpus = {self.gpus} do not agree; set both, or neither for a node without"
            )
        if "head" in self.roles and (self.roles != ("head",) or self.spot != "never" or self.max != 1):
            raise ValueError(
                "the head's node has roles = ['head'] alone, max = 1 and spot = 'never': with it goes the whole run"
            )
        return self

    @property
    def is_head(self) -> bool:
        return "head" in self.roles

    @property
    def resources(self) -> dict[str, int]:
        """What Ray may promise of one such node. The head offers nothing: starved by hosts it loses heartbeats, and with them the run."""
        if self.is_head:
            return {"CPU": 0}
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


class StorageConfig(_Frozen):
    """The one folder of runs that all nodes see; each launcher takes the entry that it can mount."""

    nfs: str | None = None
    """`HOST:/PATH`, mounted on every node by Ray's launcher and SkyPilot."""
    bucket: Annotated[str, Field(pattern=r"^(s3|gs|r2|https)://[^?@]+$")] | None = None
    """An object store's address, which SkyPilot mounts where there is no `nfs`."""
    claim: Name | None = None
    """Kubernetes: a PersistentVolumeClaim that many pods may write (ReadWriteMany)."""
    claim_class: str | None = None
    """The storage class of a claim that is to be made; None: the claim exists."""
    claim_gb: int = Field(default=500, ge=1)
    path: str | None = None
    """Slurm: a folder of the site's shared file system. May name variables of the shell, such as $HOME."""


class ImageConfig(_Frozen):
    """Container images; {ray} and {python} (311 for 3.11) are filled in."""

    cpu: str = "rayproject/ray:{ray}-py{python}-cpu"
    gpu: str = "rayproject/ray:{ray}-py{python}-gpu"
    kubernetes: str | None = None
    """One that holds Offbook with its extras gpu, train and openai; pods install nothing."""


class VmConfig(_Frozen):
    """The machine image under the containers, where Ray's launcher does not find one by itself (all clouds but AWS)."""

    cpu: str | None = None
    """GCP: a `sourceImage`. Azure: PUBLISHER:OFFER:SKU."""
    gpu: str | None = None
    """The same with NVIDIA's driver and container runtime."""


class SlurmConfig(_Frozen):
    nodes: tuple[Name, ...] = Field(min_length=1)
    """Node types to ask for, `max` of each; one makes a plain job, several a heterogeneous one. Without the head's, the first node of the first
    is the head as well."""
    partition: dict[Name, str] = {}
    """By node type; what is left out goes where the site sends it."""
    account: str | None = None
    time: Annotated[str, Field(pattern=r"^(\d+-)?\d{1,2}:\d{2}:\d{2}$")] = "1-00:00:00"
    """[DAYS-]HOURS:MINUTES:SECONDS of one stretch; the job puts itself back into the queue shortly before."""
    activate: str = "source .venv/bin/activate"
    """Shell line that makes `offbook` and `ray` known on a node."""


class ClusterSpec(_Frozen):
    name: Name
    cloud: Cloud
    region: str
    zone: str | None = None
    project: str | None = None
    """GCP's project."""
    resource_group: str | None = None
    """Azure's."""
    subscription: str | None = None
    """Azure's id of the account that pays. Ray would ask the command line tools for it, by a way that they have closed (azure-cli-core 2.21)."""
    python: Annotated[str, Field(pattern=r"^3\.\d+$")] = "3.11"
    """Minor version on every node: what is pickled on one is read on the others."""
    ray: str | None = None
    """None: the version that is installed here, for Ray wants the same one everywhere, to the patch."""
    idle_minutes: float = Field(default=15, gt=0)
    """After which a node that nothing runs on is ended."""
    environment: tuple[VariableName, ...] = ()
    """Names of variables that every node gets from the caller's environment or a secret store. Values never stand in a file that is rendered."""
    images: ImageConfig = ImageConfig()
    vm: VmConfig = VmConfig()
    storage: StorageConfig
    slurm: SlurmConfig | None = None
    node: dict[Name, NodeConfig]

    @field_validator("node")
    @classmethod
    def one_node_is_the_head(cls, node: dict[str, NodeConfig]) -> dict[str, NodeConfig]:
        heads = [name for name, kind in node.items() if kind.is_head]
        if len(heads) != 1:
            raise ValueError(
                f"one [node.NAME] table must have roles = ['head'], got {', '.join(heads) or 'none'}"
            )
        return node

    @model_validator(mode="after")
    def slurm_names_nodes(self) -> "ClusterSpec":
        if self.slurm is None:
            return self
        for key, names in (("nodes", self.slurm.nodes), ("partition", tuple(self.slurm.partition))):
            if unknown := [name for name in names if name not in self.node]:
                raise ValueError(
                    f"slurm.{key} names {unknown[0]!r}, which is no [node.NAME] table; there are {', '.join(self.node)}"
                )
        return self

    @model_validator(mode="after")
    def the_cloud_is_told_whose_it_is(self) -> "ClusterSpec":
        needs = {"gcp": ("project",), "azure": ("resource_group", "subscription")}.get(self.cloud, ())
        if missing := [key for key in needs if getattr(self, key) is None]:
            raise ValueError(
                f"cloud = {self.cloud!r} needs {' and '.join(missing)}, which says in whose account nodes start"
            )
        return self

    @property
    def head(self) -> NodeConfig:
        return next(kind for kind in self.node.values() if kind.is_head)

    @property
    def workers(self) -> dict[str, NodeConfig]:
        return {name: kind for name, kind in self.node.items() if not kind.is_head}

    @property
    def has_gpus(self) -> bool:
        return any(kind.gpus for kind in self.node.values())

    @property
    def ray_version(self) -> str:
        return self.ray or version("ray")

    def image(self, *, gpu: bool) -> str:
        template = self.images.gpu if gpu else self.images.cpu
        return template.format(ray=self.ray_version, python=self.python.replace(".", ""))

    @property
    def placeholders(self) -> list[str]:
        """Settings that still name the example of the shipped files, by their dotted key."""
        named = {
            "project": self.project,
            "resource_group": self.resource_group,
            "subscription": self.subscription,
            "images.kubernetes": self.images.kubernetes,
            **{f"storage.{key}": value for key, value in self.storage.model_dump().items()},
        }
        return [key for key, value in named.items() if isinstance(value, str) and "example" in value]


def load_cluster(name: str) -> ClusterSpec:
    """A file, or the name of a cluster that ships with Offbook."""
    path = Path(name)
    if not path.suffix and len(path.parts) == 1 and not path.exists():
        path = CLUSTERS / f"{name}.toml"
        if not path.exists():
            shipped = ", ".join(sorted(file.stem for file in CLUSTERS.glob("*.toml")))
            raise ValueError(
                f"there is no file {name!r} and no cluster of that name ships with Offbook; shipped: {shipped}"
            )
    return load_settings(path, [], ClusterSpec)
