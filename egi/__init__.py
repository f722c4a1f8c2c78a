"""Molecular dynamics trajectories from a generative model: EGInterpolator, end to end."""

__version__ = "0.1.0"
