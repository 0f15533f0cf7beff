"""Clusters: one description of the machines, and what four launchers want to be told of it. Starts nothing by itself, and imports no Ray but inside a node provider that Ray has loaded."""
