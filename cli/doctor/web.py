"""Whether a viewer would be let in."""

import httpx

from cli.doctor.finding import Finding, fail, ok, warn
from shared.config import Settings

ASK_SECONDS = 5.0
OPEN = "set STUDY_INGEST_ENABLED=1 for the web processes and restart them, if uploads are to come in"


def look_at_web(settings: Settings, url: str) -> Finding:
    """Ask the web process; where none answers, say what the settings would have it do."""
    try:
        # Past a proxy of the environment: the process itself is asked.
        answer = httpx.get(f"{url}/readyz", timeout=ASK_SECONDS, trust_env=False)
    except httpx.InvalidURL:
        return fail("web", "API_URL is no URL", "set it to the web process' address: http://host:port")
    except httpx.TransportError:
        door = "open" if settings.study_ingest_enabled else "closed"
        said = f"none answers at {url}; its door would be {door}"
        return fail("web", said, "start the Procfile's `web`, or set API_URL to where it is")
    if answer.is_success:
        return ok("web", "open: it accepts uploads")
    if "ingest-closed" in answer.text:
        return warn("web", "STUDY_INGEST_ENABLED is unset there: uploads are answered 503", OPEN)
    return fail("web", f"not ready: {answer.status_code}", "mend the stores; then look at its log")
