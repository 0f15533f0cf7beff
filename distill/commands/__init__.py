"""One module a verb; each has `add_to(verbs, common)`, and imports what it works with inside its functions."""

EXIT_OK = 0
EXIT_NEGATIVE = 1
"""The command did its work and the answer is no: a mismatch, a failed check."""
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

VERBS = (
    "run",
    "ablate",
    "plan",
    "power",
    "status",
    "report",
    "track",
    "export",
    "attribute",
    "replay",
    "failures",
    "internalise",
    "hints",
    "examples",
    "config",
    "data",
    "panel",
    "cluster",
    "play",
    "doctor",
)
"""In the order of `offbook --help`."""
