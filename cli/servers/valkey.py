"""The embedded Valkey, which speaks Redis."""

import signal
import socket
from pathlib import Path

from cli.servers.account import Account
from cli.servers.orphan import stop_orphan
from cli.servers.process import ServerProcess

PING_SECONDS = 1.0


class Valkey(ServerProcess):
    """Run one Valkey that keeps its items under `home`."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, home: Path, account: Account, program: Path, sockets: Path, *, durable: bool) -> None:
        super().__init__(home, account)
        self.program, self.durable = program, durable
        self.store = home / "valkey"
        self.pid_file = self.store / "valkey.pid"
        self.socket = sockets / "valkey.sock"

    @property
    def broker_url(self) -> str:
        """Say where Celery's queues are, in kombu's form."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def redis_url(self) -> str:
        """Say where the spool is, in redis-py's form: not in the broker's database, which may be purged."""
        return f"unix://{self.socket}?db=1"

    def start(self) -> None:
        """Start the server."""
        self.account.own_directory(self.store)
        stop_orphan(self.pid_file, str(self.socket), self.stop_signal)
        super().start()

    def command(self) -> list[str]:
        """Say how the server is started: no port, nothing evicted, every write in the append-only file."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.store),
            "pidfile": str(self.pid_file),
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [
            str(self.program),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        """Ping it; while it loads its file it does not pong."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PING_SECONDS)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False
