"""Text environments behind one contract. Knows nothing of models, agents or hints."""

import sys

# Gymnasium has no entry point for plugins and is too slow to import for nothing: whoever has it gets our name in it.
if "gymnasium.envs.registration" in sys.modules:
    from envs.gym_plugin import register_envs

    register_envs()
