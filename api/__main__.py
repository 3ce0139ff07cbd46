"""The web process: `python -m api`."""

import os

from gevent import monkey

# Before anything takes a lock or a socket. Threads that all want the interpreter cost a web process more than
# its work does; greenlets hand over only where they wait.
monkey.patch_all()

from api.server import main  # noqa: E402  # patched first

if __name__ == "__main__":
    # Everything is answered; to leave as usual would wait for greenlets that a frozen Postgres may hold.
    os._exit(main())
