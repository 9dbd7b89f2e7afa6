"""The command line. The only room that prints, and the one place where errors become exit codes."""

from edgeconv.cli.main import main

__all__ = ["main"]
