"""Stop a command when its parent process ends, even by SIGKILL (on Linux).

Run as `python pdeathsig.py PARENT SIGNAL UID GID COMMAND...`. It is a script, because a `preexec_fn` is
unsafe in a process with threads, and warns from Python 3.12 on. On other systems the command is not stopped.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def tied(
    command: Sequence[str], on_death: signal.Signals, uid: int | None = None, gid: int | None = None
) -> list[str]:
    """Wrap a command so that it gets the signal `on_death` when its parent ends (on Linux).

    `uid` and `gid`: the user who runs the command, if this process is root's. The kernel watches the thread
    that starts the command, not the process: that thread must live as long as the command.
    """
    ids = [str(os.geteuid() if uid is None else uid), str(os.getegid() if gid is None else gid)]
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(on_death)), *ids, *command]


def _main(arguments: list[str]) -> None:
    parent, on_death, uid, gid = map(int, arguments[:4])
    command = arguments[4:]
    if os.geteuid() == 0 and uid != 0:  # first: a change of user resets the death signal
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, on_death)
    if os.getppid() != parent:
        sys.exit("the parent died before the death signal was set")
    os.execvp(command[0], command)  # noqa: S606  # replaces this process on purpose; there is no shell


if __name__ == "__main__":
    _main(sys.argv[1:])
