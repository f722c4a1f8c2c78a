"""The networks: built by method name, saved with their settings, called with one signature."""

from egi.models.checkpoint import load, load_structure, read, save
from egi.models.registry import CLASSES, build, parameter_counts

__all__ = ["CLASSES", "build", "load", "load_structure", "parameter_counts", "read", "save"]
