"""Text environments behind one contract. Knows nothing of models, agents or hints."""
