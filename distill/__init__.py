"""The composition root: stages, hints, datasets, evaluation, statistics and reports."""
