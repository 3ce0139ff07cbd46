"""The web process: `python -m api`."""

import os

from gevent import monkey

# Patch before anything makes a lock or a socket. Threads that compete for the interpreter's lock cost a web
# process more CPU than its work; greenlets switch only where they wait (docs/performance.md).
monkey.patch_all()

from api.server import main  # noqa: E402  # patched first

if __name__ == "__main__":
    # Every request is answered by now; a normal exit would wait for greenlets that a frozen Postgres may
    # block.
    os._exit(main())
