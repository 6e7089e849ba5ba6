"""The command line, built from the config dataclasses."""

from grokinterp.cli.app import main as main


__all__ = ["main"]
