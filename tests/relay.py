"""Forward TCP connections to a unix socket; arguments: address and port to listen at, path of the socket."""

import socket
import sys
import threading
from contextlib import suppress


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def main(address: str, port: str, path: str) -> None:
    with socket.create_server((address, int(port))) as server:
        while True:
            client, _ = server.accept()
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(path)
            for ends in ((client, upstream), (upstream, client)):
                threading.Thread(target=pass_on, args=ends, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
