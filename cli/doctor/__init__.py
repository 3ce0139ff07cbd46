"""`doctor`: what is wrong with an installation, and what mends it."""

from cli.doctor.command import doctor

__all__ = ["doctor"]
