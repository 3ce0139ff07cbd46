"""All settings except Flower's own: read from the environment and checked once, when a process starts."""

import re
from base64 import b64decode
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from limits import parse_many
from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis import Redis
from redis.exceptions import RedisError

from shared.errors import ConfigurationError
from shared.zones import TimeZone

PREFIX = "whsec_"

KEY_BYTES = range(24, 65)


def signing_key(secret: str) -> bytes:
    """Decode a webhook secret; raise ValueError if it is malformed, without quoting it."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        raise ValueError(f"each key must be {PREFIX} and then 24 to 64 bytes in base64; commas separate keys")
    return key


# An origin in lower case and without the usual port of its scheme, as browsers send it.
ORIGIN = re.compile(
    r"(?!http:.*:80$|https:.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[1-9][0-9]*)?", re.ASCII
)
BROKERS = ("redis", "rediss", "redis+socket", "sentinel", "sentinels", "amqp", "amqps")


class Sentinel(NamedTuple):
    """How to reach a Redis behind Sentinel; `username` and `password` are for Redis itself."""

    hosts: list[tuple[str, int]]
    db: int
    username: str
    password: str
    master_name: str
    sentinel_password: str
    tls: bool


def sentinel(url: str) -> Sentinel | None:
    """Read `sentinel://user:password@a:26379,b:26379/0?master_name=NAME`; return None for any other scheme.

    With TLS the scheme is `sentinels://`. Raise ValueError or KeyError if the URL is malformed.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in {"sentinel", "sentinels"}:
        return None
    address, _, query = rest.partition("?")
    address, _, db = address.partition("/")
    account, _, hosts = address.rpartition("@")
    username, _, password = map(unquote, account.partition(":"))
    options = dict(parse_qsl(query, strict_parsing=True))
    name, sentinel_password = options.pop("master_name"), options.pop("sentinel_password", "")
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    if options or not all(part.hostname and part.port != 0 for part in parts):
        raise ValueError("a host, a port or an option is wrong")
    for part in parts:
        check_host(str(part.hostname))
    reached = [(str(part.hostname), part.port or 26379) for part in parts]
    return Sentinel(reached, int(db or 0), username, password, name, sentinel_password, scheme == "sentinels")


def _sentinel_url(url: str) -> str:
    try:
        sentinel(url)
    except (ValueError, KeyError):
        raise ValueError(
            "must be sentinel://host:26379,host:26379/0?master_name=NAME, or sentinels:// for TLS"
        ) from None
    return url


def check_host(name: str) -> None:
    """Raise ValueError for a host name of a wrong form, such as one with two dots in a row."""
    if not name.startswith(("/", "@")):  # such a name is a directory of sockets
        name.encode("idna")  # the standard library does this later, and no client expects its error


def postgres_url(url: str) -> str:
    """Return a URL of Postgres in the form that libpq reads; raise ValueError for a malformed one.

    The URL may have several hosts. An empty URL stays empty.
    """
    # Imported only here: Flower loads this module, but uses no database (shared/failures.py).
    from psycopg import ProgrammingError, conninfo, pq  # noqa: PLC0415

    scheme, _, rest = url.partition("://")
    if url and scheme not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise ValueError("must be a Postgres URL: postgresql://user@host/name")
    names = [name for name, _ in parse_qsl(rest.partition("?")[2])]
    if len(set(names)) < len(names):  # libpq would use the last one silently
        raise ValueError("has a parameter twice; several hosts are written host=a,b&port=1,2")
    known = {each.keyword.decode() for each in pq.Conninfo.get_defaults()}
    if unknown := set(names) - known - {"ssl"}:  # `ssl=true`, as in JDBC's URLs, means `sslmode=require`
        raise ValueError(f"libpq does not know the parameter {', '.join(sorted(unknown))}")
    try:
        parts = conninfo.conninfo_to_dict(f"postgresql://{rest}")
        ports = str(parts.get("port", "")).split(",")
        for host in str(parts.get("host", "")).split(","):
            check_host(host)
    except (ProgrammingError, ValueError):
        ports = ["unreadable"]
    if not all(0 < int(port) < 2**16 if port.isdecimal() else not port for port in ports):
        raise ValueError(
            "must be a URL that libpq can read: postgresql://user@host:5432/name?sslmode=require"
        )
    return f"postgresql://{rest}" if url else ""


def broker_url(url: str) -> str:
    """Check the URL of a broker, or several URLs, and return them unchanged; else raise ValueError."""
    if url.startswith("redis+socket://") and "@" in url:
        # Celery would take the whole URL for a host name, and Flower would show it.
        raise ValueError("redis+socket:// takes no user or password: protect the socket by its file mode")
    if url.startswith("sentinel"):
        return _sentinel_url(url)
    # There may be several URLs, separated by semicolons: Celery tries the next if a broker is away. The
    # scheme of the first URL, as it is written, decides whether all brokers must prove their names: with
    # `redis://a;rediss://b`, or with `REDISS://b`, none of the brokers would have to prove its name.
    urls = url.split(";")
    schemes = {each.partition("://")[0] for each in urls}
    try:
        parts = [urlsplit(each) for each in urls]
        sound = schemes <= {*BROKERS} and all(each.port != 0 for each in parts)
        sound &= all(each.path for each in parts if each.scheme == "redis+socket")
        for each in parts:
            check_host(each.hostname or "")
    except ValueError:
        sound = False
    if sound and len(schemes) > 1:
        raise ValueError("all brokers must have the same scheme, such as rediss://a;rediss://b")
    if not sound:
        raise ValueError(
            "must be a broker's URL, such as redis://host/0, redis+socket:///path or amqp://host"
        )
    return url


def redis_url(url: str) -> str:
    """Check a URL of Redis or Sentinel, or an empty one, and return it unchanged; else raise ValueError."""
    if url.startswith("sentinel"):
        return _sentinel_url(url)
    try:
        if url:
            Redis.from_url(url).connection_pool.make_connection()  # connects to nothing yet
            check_host(urlsplit(url).hostname or "")
    except (ValueError, TypeError, RedisError):  # TypeError: an unknown option
        raise ValueError("must be a URL of Redis, such as redis://host/1 or unix:///path?db=1") from None
    return url


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if url and (not sound or "@" in parts.netloc or url.split() != [url]):
        raise ValueError("must be an http or https URL, without spaces, user name or password")
    return url


SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}", re.ASCII)


def _schema(name: str) -> str:
    if name and not SCHEMA.fullmatch(name):
        raise ValueError(
            "must be a schema's name: 1 to 63 lower-case letters, digits and _, not beginning with pg_ or"
            " a digit"
        )
    return name


Network = IPv4Network | IPv6Network
# Without `//`, after which a browser expects the name of a host, and without characters that need quoting.
URL_PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)


def _url_prefix(path: str) -> str:
    if path.rstrip("/") and not URL_PREFIX.fullmatch(path.rstrip("/")):
        raise ValueError("must be a path such as /study")
    return path.rstrip("/")


def _networks(text: str) -> str:
    for each in _listed(text):
        try:
            ip_network(each)
        except ValueError:
            raise ValueError(
                "must be addresses or networks such as 10.0.0.0/8, separated by commas"
            ) from None
    return text


def _origins(origins: str) -> str:
    for origin in _listed(origins):
        if not ORIGIN.fullmatch(origin):
            raise ValueError("each must be an origin as browsers write it: https://host or https://host:8443")
    return origins


def _rate(rate: str) -> str:
    try:
        (limit,) = parse_many(rate)
        sound = limit.amount > 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("must be a number of requests for a span of time, such as 600/minute")
    return rate


PostgresUrl = Annotated[str, AfterValidator(postgres_url)]
BrokerUrl = Annotated[str, AfterValidator(broker_url)]
RedisUrl = Annotated[str, AfterValidator(redis_url)]
SchemaName = Annotated[str, AfterValidator(_schema)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
UrlPrefix = Annotated[str, AfterValidator(_url_prefix)]
Networks = Annotated[str, AfterValidator(_networks)]
Origins = Annotated[str, AfterValidator(_origins)]
Rate = Annotated[str, AfterValidator(_rate)]
# The limits keep each time within what Postgres (milliseconds in 31 bits) and Python's waits can express.
Seconds = Annotated[float, Field(ge=0.001, le=2_000_000, allow_inf_nan=False)]
# The shortest allowed length of each secret. From one IP address a stranger can try some thousand passwords a
# day, but any number of tokens.
SHORTEST_SECRETS = {
    "viewer_sync_token": 16,
    "study_api_token": 16,
    "catalog_token": 16,
    "metrics_token": 16,
    "ops_password": 12,
}
S = TypeVar("S", bound="AdvancedSettings")


class AdvancedSettings(BaseSettings):
    """Settings that hardly any operator changes: docs/operations.md lists them as advanced."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    max_tries: int = Field(5, ge=2, description="limit of tries of one upload; then it is `dead`")
    queue_limit: int = Field(
        200, ge=2, description="limit of messages in the broker; other uploads wait in Postgres"
    )
    web_requests: int = Field(32, ge=1, description="requests that a web process serves at once")
    viewer_rate: Rate = Field(
        "600/minute", description="limit of requests of one learner, in each web process"
    )
    lock_timeout: Seconds = Field(10.0, description="longest wait for a row lock, in seconds")
    idle_timeout: Seconds = Field(30.0, description="longest idle time inside a transaction, in seconds")
    task_time_limit: Seconds = Field(60.0, description="seconds after which a stuck worker is killed")
    store_deadline: Seconds = Field(
        1.0,
        description="seconds that a request waits for Postgres; then 503, unless an upload can be spooled",
    )
    store_pause: Seconds = Field(
        4.0,
        description="after no answer, seconds until the spool (or, by `/ops`, Postgres) is asked again",
    )
    first_try_after: Seconds = Field(
        30.0, description="seconds after which the sweeper enqueues a new upload that still waits"
    )
    enqueue_again_after: Seconds = Field(
        60.0, description="seconds after which the sweeper enqueues a waiting upload again"
    )
    enqueue_pause: Seconds = Field(3.0, description="seconds without enqueuing after the broker failed")
    sweep_every: Seconds = Field(5.0, description="seconds between two sweeps")
    session_idle: Seconds = Field(
        86_400.0, description="seconds without an answer after which a live session is abandoned"
    )
    retry_base: Seconds = Field(
        10.0, description="longest wait before a second try, in seconds; doubles with every try"
    )
    retry_cap: Seconds = Field(600.0, description="longest wait between two tries of an upload, in seconds")
    webhook_timeout: Seconds = Field(10.0, description="longest delivery of a webhook, in seconds")
    webhook_retry_cap: Seconds = Field(7200.0, description="as `RETRY_CAP`, for webhooks")
    webhook_max_tries: int = Field(
        20, ge=1, description="largest number of deliveries of one webhook; then it is `dead`"
    )
    visibility_timeout: Seconds = Field(
        120.0, validate_default=True, description="seconds before Redis delivers an unfinished message again"
    )
    viewer_page: bool = Field(default=False, description="serve the sample quiz page at `/viewer/`")
    migrate_database_url: PostgresUrl = Field(
        "", description="Postgres itself, for `migrate`, where `DATABASE_URL` is a pooler"
    )
    pooler_prepares: bool = Field(
        default=False, description="use prepared statements through a pooler, too: it must support them"
    )

    @field_validator("visibility_timeout")
    @classmethod
    def _outlast_tasks(cls, seconds: float, info: ValidationInfo) -> float:
        if seconds <= info.data.get("task_time_limit", 0.0):
            raise ValueError(
                "must be longer than TASK_TIME_LIMIT: otherwise Redis repeats a message while its uploads are"
                " replayed"
            )
        return seconds


class StoreSettings(AdvancedSettings):
    """Settings of every process that uses Postgres; a field's upper-case name is its environment variable."""

    database_url: PostgresUrl = Field(description="Postgres, e.g. `postgresql://user@host/name`")
    database_schema: SchemaName = Field(
        "", description="schema of our tables; unset: `public`, or the `search_path` in the URL"
    )
    study_time_zone: TimeZone = Field(
        "UTC",
        description="IANA time zone of learners who have none; the database keeps the first one that is set",
    )


class BrokerSettings(AdvancedSettings):
    """Settings to reach the broker; Flower needs only these and its own FLOWER_* variables."""

    broker_url: BrokerUrl = Field(
        description="Celery's broker: `redis://`, `redis+socket://`, `sentinel://` or `amqp://`"
    )


class Settings(BrokerSettings, StoreSettings):
    """The whole configuration of web, worker and sweeper."""

    redis_url: RedisUrl = Field(
        "", description="Redis in redis-py's form, or `sentinel://`, for the spool; unset: no spool"
    )
    study_ingest_enabled: bool = Field(default=False, description="accept uploads; unset: answer 503")
    viewer_sync_token: SecretStr = Field(
        SecretStr(""),
        description="tokens of trusted senders, 16 characters or more each, separated by commas",
    )
    viewer_origins: Origins = Field(
        "", description="origins of viewers in browsers, `https://…`, separated by commas; unset: none"
    )
    viewer_token_keys: str = Field(
        "", description="file of keys (JWKS) that verify learners' tokens; unset: no such token is accepted"
    )
    viewer_token_audience: str = Field(
        "", validate_default=True, description="`aud` of learners' tokens; required with VIEWER_TOKEN_KEYS"
    )
    viewer_token_issuer: str = Field("", description="`iss` of learners' tokens; unset: any")
    study_api_token: SecretStr = Field(
        SecretStr(""), description="tokens for the live side under `/study`, separated by commas"
    )
    catalog_token: SecretStr = Field(
        SecretStr(""), description="tokens for `/catalog`, separated by commas; unset: no `/catalog`"
    )
    ops_password: SecretStr = Field(
        SecretStr(""), description="password of `/ops`, 12 characters or more; unset: no `/ops`"
    )
    host: str = Field("127.0.0.1", description="address that the web process binds")
    port: int = Field(8000, ge=0, le=65535, description="port that the web process binds")
    url_prefix: UrlPrefix = Field("", description="path under which a proxy serves this, e.g. `/study`")
    trusted_proxies: Networks = Field(
        "",
        description="proxies, separated by commas, whose `X-Forwarded-For`, `-Proto` and `-Prefix` are used",
    )
    upload_retention_days: int | None = Field(
        None,
        ge=1,
        le=36_525,
        description="days after which the sweeper deletes the payload of an ingested upload; unset: never",
    )
    webhook_url: HttpUrl = Field("", description="http(s) receiver of webhooks; unset: all are skipped")
    webhook_progress: bool = Field(
        default=False, description="also send `progress.changed`, for readers of `/study/changes`"
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""), validate_default=True, description="keys to sign with, `whsec_…`, separated by commas"
    )
    prometheus_multiproc_dir: str = Field(
        "", description="directory that the processes of a host share for metrics; unset: no metrics"
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="tokens for `/metrics`, separated by commas; unset: no `/metrics`"
    )

    @field_validator("viewer_token_audience")
    @classmethod
    def _require_audience(cls, audience: str, info: ValidationInfo) -> str:
        if not audience and info.data.get("viewer_token_keys"):
            raise ValueError("must be set while VIEWER_TOKEN_KEYS is set")
        return audience

    @field_validator("webhook_secrets")
    @classmethod
    def _check_webhook_secrets(cls, secrets: SecretStr, info: ValidationInfo) -> SecretStr:
        if not [signing_key(secret) for secret in _tokens(secrets)] and info.data.get("webhook_url"):
            raise ValueError("must be set while WEBHOOK_URL is set")
        return secrets

    @field_validator(*SHORTEST_SECRETS)
    @classmethod
    def _check_secrets(cls, secret: SecretStr, info: ValidationInfo) -> SecretStr:
        def secrets(name: str, setting: SecretStr) -> tuple[str, ...]:
            whole = setting.get_secret_value()
            return _tokens(setting) if name != "ops_password" else (whole,) if whole else ()

        name = str(info.field_name)
        ours, shortest = secrets(name, secret), SHORTEST_SECRETS[name]
        if any(len(each) < shortest for each in ours):
            where = "" if name == "ops_password" else " in each token; commas separate tokens"
            raise ValueError(f"must have {shortest} characters or more{where}")
        # A sender's token must not give the rights of the front end or of operators.
        others = [other for other in SHORTEST_SECRETS if other in info.data]
        known = [each for other in others for each in secrets(other, info.data[other])]
        if len({*known, *ours}) < len(known) + len(ours):
            raise ValueError("must not contain a token twice, nor a token or password of another setting")
        return secret

    @cached_property
    def viewer_tokens(self) -> tuple[str, ...]:
        """List the accepted tokens of trusted senders; there may be several, so that they can be rotated."""
        return _tokens(self.viewer_sync_token)

    @cached_property
    def origins(self) -> frozenset[str]:
        """List the origins whose scripts may send uploads and read their status."""
        return frozenset(_listed(self.viewer_origins))

    @cached_property
    def study_tokens(self) -> tuple[str, ...]:
        """List the accepted tokens of the live side."""
        return _tokens(self.study_api_token)

    @cached_property
    def catalog_tokens(self) -> tuple[str, ...]:
        """List the accepted tokens for `/catalog`."""
        return _tokens(self.catalog_token)

    @cached_property
    def metrics_tokens(self) -> tuple[str, ...]:
        """List the accepted tokens of Prometheus."""
        return _tokens(self.metrics_token)

    @cached_property
    def proxy_networks(self) -> tuple[Network, ...]:
        """List the networks of the proxies that are trusted."""
        return tuple(ip_network(each) for each in _listed(self.trusted_proxies))

    @cached_property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """List the keys that webhooks are signed with; there may be several, so that they can be rotated."""
        return tuple(signing_key(secret) for secret in _tokens(self.webhook_secrets))


def _tokens(secret: SecretStr) -> tuple[str, ...]:
    return _listed(secret.get_secret_value())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(each for part in text.split(",") if (each := part.strip()))


def flower_logins(text: str) -> list[str]:
    """Split FLOWER_BASIC_AUTH at commas; raise ConfigurationError if it is empty or a login is malformed.

    Flower itself reads this setting, so it is not a field of the settings here.
    """
    found = [*_listed(text)]
    if not found:
        raise ConfigurationError(
            "FLOWER_BASIC_AUTH: must be set to name:password; without a login anybody could use Flower"
        )
    for login in found:
        name, _, password = login.partition(":")
        if not (name and password and login.isascii()):
            raise ConfigurationError("FLOWER_BASIC_AUTH: each login must be name:password, in ASCII")
    return found


def load_settings(kind: type[S]) -> S:
    """Read the settings; raise ConfigurationError with one line per mistake; no line quotes a secret."""
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for mistake in error.errors(include_input=False):
            is_missing = mistake["type"] == "missing"
            detail = "must be set" if is_missing else mistake["msg"].removeprefix("Value error, ")
            lines.append(f"{str(mistake['loc'][0]).upper()}: {detail}")
        raise ConfigurationError("\n".join(lines)) from None
