"""Agents, model access and rollouts: turns tasks into trajectories. Knows nothing of where hints come from."""
