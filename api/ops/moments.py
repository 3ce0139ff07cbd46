"""Times as the page shows them: UTC, as logs have them."""

from datetime import datetime, timedelta

from markupsafe import Markup

from api.ops.door import blueprint

NONE = "-"


@blueprint.app_template_filter()
def second(at: datetime | None) -> str:
    """Show a moment to the second."""
    return _shown(at, "%Y-%m-%d %H:%M:%S")


@blueprint.app_template_filter()
def minute(at: datetime | None) -> str:
    """Show a moment to the minute."""
    return _shown(at, "%Y-%m-%d %H:%M")


def _shown(at: datetime | None, form: str) -> str:
    if at is None:
        return NONE
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime(form))


@blueprint.app_template_filter()
def age(span: timedelta | None) -> str:
    """Show how long something has lasted, in its two largest units."""
    if span is None:
        return NONE
    left, parts = max(0, int(span.total_seconds())), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"
