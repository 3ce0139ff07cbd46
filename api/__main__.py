"""The web process: `python -m api`."""

import gc
import os

from gevent import monkey

# What is loaded at the start stays in memory: garbage collection took a fifth of the time of the start.
# `main` turns the collector on again.
gc.disable()

# Patch before anything takes a lock or a socket. Threads would compete for the interpreter, which costs more
# CPU time than the work itself; greenlets switch only where they wait (docs/performance.md).
monkey.patch_all()

from api.server import main  # noqa: E402  # patched first

if __name__ == "__main__":
    # No request is served any more; a normal exit would wait for greenlets that a frozen Postgres may block.
    os._exit(main())
