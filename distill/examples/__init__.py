"""Examples for prompts, made by playing train tasks again."""
