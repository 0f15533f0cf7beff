"""Rows in, LoRA adapters out. Knows nothing of environments, agents or hints."""
