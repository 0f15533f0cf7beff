"""Seeing how a run goes: the state of its folders, what training tells while it runs, and the dashboard."""
