"""Names for `gymnasium.make`. Light: Gymnasium loads it while it is itself being imported."""

ALFWORLD_ID = "offbook/ALFWorld-v0"


def register_envs() -> None:
    """Make `gymnasium.make("offbook/ALFWorld-v0", games=...)` work; the package's entry point calls it."""
    from gymnasium.envs.registration import register, registry

    if ALFWORLD_ID not in registry:
        register(id=ALFWORLD_ID, entry_point="envs.gym:AlfworldGymEnv")
