"""Several hosts on one machine: network namespaces on one switch, each with a cable that can be pulled."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

NETWORK = "10.77.0"


def why_not() -> str:
    """Return why such hosts cannot be made here; an empty text if they can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "`ip` is not installed (Debian's package: iproute2)"
    probe = f"study-{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made: {error.stderr}"
    ip("netns", "del", probe)
    return ""


def ip(*arguments: str) -> None:
    command = ["/usr/bin/env", "ip", *arguments]  # `env` finds `ip` on PATH
    subprocess.run(command, check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Host:
    """One host: its namespace, its address, and where its cable ends in the switch."""

    namespace: str
    address: str
    switch: str
    port: str

    def command(self, command: str) -> str:
        """Return the command that runs a command on this host."""
        return f"ip netns exec {self.namespace} {command}"

    def cut_off(self) -> None:
        """Pull the cable: what the host sends is lost, and it gets no error."""
        ip("-n", self.switch, "link", "set", self.port, "down")

    def connect(self) -> None:
        ip("-n", self.switch, "link", "set", self.port, "up")


@contextmanager
def hosts(number: int) -> Iterator[list[Host]]:
    """Make `number` hosts, and connect them by a switch, which is one more namespace."""
    prefix = f"study-{os.getpid()}"
    switch = f"{prefix}-switch"
    made = [Host(f"{prefix}-{n}", f"{NETWORK}.{n}", switch, f"port{n}") for n in range(1, number + 1)]
    with ExitStack() as cleanup:
        for namespace in [switch, *(host.namespace for host in made)]:
            ip("netns", "add", namespace)
            cleanup.callback(ip, "netns", "del", namespace)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        for host in made:
            _plug_in(host)
        yield made


def _plug_in(host: Host) -> None:
    ends = ["name", host.port, "netns", host.switch, "type", "veth"]
    ip("link", "add", *ends, "peer", "name", "eth0", "netns", host.namespace)
    ip("-n", host.switch, "link", "set", host.port, "master", "bridge")
    ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", host.namespace, "link", "set", device, "up")
    host.connect()
