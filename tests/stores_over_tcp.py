"""Run the embedded stores for other hosts until stdin ends; arguments: a directory and an address."""

import sys
from pathlib import Path

import psycopg
from redis import Redis
from sqlalchemy.engine import make_url

from cli.local import servers
from cli.local.servers import Servers

BROKER_PORT = 6379


def open_to_others(servers: Servers, address: str) -> None:
    """Accept everybody who reaches the address."""
    with (servers.postgres.cluster / "pg_hba.conf").open("a") as rules:
        rules.write("host all all samenet trust\n")
    url = make_url(servers.database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        connection.execute("SELECT pg_reload_conf()")
    with Redis.from_url(servers.redis_url) as redis:
        redis.config_set("protected-mode", "no")
        redis.config_set("bind", address)
        redis.config_set("port", BROKER_PORT)


def main(directory: str, address: str) -> None:
    servers.SETTINGS["listen_addresses"] = address
    with Servers(Path(directory), durable=False) as running:
        open_to_others(running, address)
        sys.stdout.write(f"{running.database_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
