"""The web process: `python -m api`."""

import os

from gevent import monkey

# Before anything takes a lock or a socket. Threads that compete for the interpreter cost a web process more
# than its work does; greenlets switch only where they wait (docs/performance.md).
monkey.patch_all()

from api.server import main  # noqa: E402  # patched first

if __name__ == "__main__":
    # Every request is answered; a normal exit would wait for greenlets that a frozen Postgres may hold.
    os._exit(main())
