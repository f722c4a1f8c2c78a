"""Subcommands of `egi`."""
