"""The command line: the only place that reads configs, environment and clock."""

from pipeline.cli.app import main

__all__ = ["main"]
