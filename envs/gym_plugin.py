"""The name for `gymnasium.make`. Light: the environment itself is imported when it is made."""

ALFWORLD_ID = "offbook/ALFWorld-v0"


def register_envs() -> None:
    """Make `gymnasium.make("offbook/ALFWorld-v0", games=...)` work."""
    from gymnasium.envs.registration import register, registry

    if ALFWORLD_ID not in registry:
        register(id=ALFWORLD_ID, entry_point="envs.gym:AlfworldGymEnv")
