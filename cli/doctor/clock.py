"""Whether this machine and a store agree about the time."""

from cli.doctor.finding import Finding, fail, ok, warn
from shared.plan import TOLERANCE

# Beyond it, log lines of several hosts no longer tell what came first.
NOTICEABLE_S = 2.0
# Beyond it, a viewer whose clock is right is taken for one whose clock is fast: its times are changed.
HARMFUL_S = TOLERANCE.total_seconds()
MEND = "keep the time by NTP on both hosts (`timedatectl set-ntp true`)"


def clock(store: str, theirs: float, before: float, after: float) -> Finding:
    """Compare a store's time with ours before and after it was asked; all in seconds since 1970."""
    ahead = max(theirs - after, 0) + min(theirs - before, 0)
    said = f"{abs(ahead):.1f} s {'behind' if ahead > 0 else 'ahead of'} {store}'s"
    if abs(ahead) >= HARMFUL_S:
        return fail(f"{store} clock", f"this machine's clock is {said}", MEND)
    if abs(ahead) >= NOTICEABLE_S:
        return warn(f"{store} clock", f"this machine's clock is {said}", MEND)
    return ok(f"{store} clock", "agrees with this machine's")
