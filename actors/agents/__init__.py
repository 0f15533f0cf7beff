"""Agents by name."""

from actors.agents.base import Agent
from actors.agents.prompted import load_agent
from actors.config import AgentConfig


def make_agent(config: AgentConfig, env_name: str) -> Agent:
    """The configured agent with its prompt for one environment."""
    return load_agent(config, env_name)
