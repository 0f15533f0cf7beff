"""Clusters: one description of the machines, and what four launchers want to be told of it. Imports no Ray, starts nothing by itself."""
