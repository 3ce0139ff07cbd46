"""Whether the settings are right, and what they leave shut."""

from collections.abc import Iterator

from cli.doctor.finding import Finding, fail, ok, warn
from shared.config import Settings
from shared.errors import ConfigurationError


def faults(error: ConfigurationError) -> Iterator[Finding]:
    """Name each setting that is wrong; nothing else can be looked at before they are right."""
    for line in str(error).splitlines():
        name, _, said = line.partition(": ")
        yield fail(name, said, f"set {name} as the README's table of settings says, for every process")


def left_out(settings: Settings) -> Iterator[Finding]:
    """Tell what works and what does not, as the settings are."""
    yield _viewers(settings)
    if settings.study_tokens:
        yield ok("STUDY_API_TOKEN", "set")
    else:
        yield warn("STUDY_API_TOKEN", "unset: the live side is closed", "set it, if DS uses the live side")
    if settings.flower_logins:
        yield ok("FLOWER_BASIC_AUTH", "set")
    else:
        yield warn("FLOWER_BASIC_AUTH", "unset: Flower does not start", "set it to name:password")
    if settings.redis_url:
        yield ok("REDIS_URL", "set")
    else:
        without = "unset: while Postgres is away, uploads are answered 503"
        yield warn("REDIS_URL", without, "set it to a Redis that keeps what it is given")
    followups = "set" if settings.followup_webhook_url else "unset: all follow-ups are skipped"
    yield ok("FOLLOWUP_WEBHOOK_URL", followups)


def _viewers(settings: Settings) -> Finding:
    check = "VIEWER_SYNC_TOKEN"
    if settings.viewer_tokens:
        return ok(check, "set")
    said, mend = "unset: no viewer can send", "set it to a long random text, here and in the viewer"
    return (fail if settings.study_ingest_enabled else warn)(check, said, mend)
