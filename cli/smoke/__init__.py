"""`smoke`: whether a live system learns from a session, exactly once."""

from cli.smoke.command import smoke

__all__ = ["smoke"]
