"""The names for `gymnasium.make`. Light: the environment itself is imported when it is made."""

ALFWORLD_ID = "offbook/ALFWorld-v0"
WEBSHOP_ID = "offbook/WebShop-v0"


def register_envs() -> None:
    """Make `gymnasium.make("offbook/ALFWorld-v0", games=...)` work."""
    from gymnasium.envs.registration import register, registry

    for name, entry in ((ALFWORLD_ID, "AlfworldGymEnv"), (WEBSHOP_ID, "WebshopGymEnv")):
        if name not in registry:
            register(id=name, entry_point=f"envs.gym:{entry}")
