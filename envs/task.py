"""What an agent is asked to do. Knows nothing of how an environment plays it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One goal of one environment.

    `id` names the thing itself (ALFWorld: the game's path in the release, WebShop: the goal's content hash),
    never a position in a listing, so that it means the same on every machine.
    """

    env: str
    """Registry name of the environment, such as "alfworld"."""
    split: str
    """"train", "dev" or "test"; each environment maps its own names onto these in one table."""
    id: str
    kind: str
    """ALFWorld task type (`pick_heat_then_place_in_recep`, ...), WebShop product category."""
    goal: str
    """The goal as the agent reads it, such as "put a hot apple in fridge."."""

    @property
    def key(self) -> str:
        """`env/id`: unique across environments."""
        return f"{self.env}/{self.id}"
