"""A span of time, as an operator types it."""

import re
from datetime import timedelta

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_FORM = re.compile(r"(\d{1,6})([smhd])")  # more digits than any upload is old


# A century: counted back from now, it is still in the calendar.
LONGEST = timedelta(days=36_525)


class Duration(click.ParamType[timedelta]):
    """Read `90s`, `10m`, `6h` or `2d`."""

    name = "duration"

    def convert(
        self, value: str | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Turn what was typed into a span."""
        if isinstance(value, timedelta):
            return value
        if not (read := _FORM.fullmatch(value)):
            self.fail(f"{value!r} is no span of time such as 90s, 10m, 6h or 2d", param, ctx)
        span = timedelta(**{_UNITS[read[2]]: int(read[1])})
        if span > LONGEST:
            self.fail(f"{value!r} is longer than {LONGEST.days}d", param, ctx)
        return span
