"""The settings, read once from the environment and a `.env` file. `docs/settings.md` tells each."""

import re
from datetime import timedelta
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from authlib.common.security import is_secure_transport
from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .agents.fetching import Allowance
from .agents.model import ModelOptions
from .persistence.keyring import Keyring

IMAGE_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?")
HOST = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+")  # as browsers write it: in small letters, no path


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RIVERRUN_",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a secret
    )

    data: Path = Path("data")
    """Folder of the SQLite database and of the projects' files."""
    database_url: str = Field("", repr=False)
    """`postgresql+asyncpg://...` or `sqlite+aiosqlite:///...`; empty: SQLite in the data folder."""
    database_patience: float = Field(30.0, ge=0)
    """Seconds for which runs wait for a database that fails."""
    secret_key: Annotated[list[str], NoDecode] = Field([], repr=False)
    """Keys for what is saved encrypted, with commas between them; the first encrypts. Empty: `secret.key` in the data
    folder, made when it is missing."""

    model_url: str = Field("", validation_alias=AliasChoices("RIVERRUN_MODEL_URL", "OPENAI_BASE_URL"))
    model_key: str = Field("", repr=False, validation_alias=AliasChoices("RIVERRUN_MODEL_KEY", "OPENAI_API_KEY"))
    model: str = ""
    """The model's name as its server calls it; empty: the first that the server offers; `demo`: the built-in one."""
    embedding_model: str = ""
    """Empty: the first that the server offers with `embed` in its name; none is fine too."""
    model_streaming: Literal["auto", "off"] = "auto"
    model_timeout: float = Field(120.0, gt=0)
    """Seconds of silence after which the model's server counts as stalled."""
    model_retries: int = Field(2, ge=0, le=10)
    simulate_words: int = Field(3, ge=1, le=1000)
    """Words a chunk for servers that do not stream."""
    simulate_delay: float = Field(0.1, ge=0, le=10)
    """Seconds between the chunks of prose."""
    simulate_thought_delay: float = Field(0.05, ge=0, le=10)
    """Seconds between the chunks of a model's reasoning."""
    simulate_code_delay: float = Field(0.05, ge=0, le=10)
    """Seconds between the lines of a code block."""

    auth: Literal["local", "accounts"] = "local"
    """Who comes in: whoever reaches the port, which is one person on this machine; or people with accounts."""

    oidc_issuer: str = Field("", max_length=300)
    """Address of an OpenID Connect provider at which people may sign in."""
    oidc_client_id: str = ""
    oidc_client_secret: str = Field("", repr=False)
    """Empty: riverrun is a public client there."""
    oidc_name: str = Field("Single sign-on", max_length=60)
    """What the page calls the provider."""
    oidc_new: Literal["invited", "anyone"] = "invited"
    """Who of those known at the provider gets an account."""

    message_limit: int = Field(100_000, ge=1)
    """Characters of one message."""
    run_limit: int = Field(2000, ge=1)
    """Runs that this process works on at the same time."""
    runs_per_person: int | None = Field(None, ge=0)
    """Runs of one person that this process works on at the same time; 0: any number. None: as `runs_limit` has it."""
    tokens_per_day: int = Field(0, ge=0)
    """Tokens of one person from midnight to midnight (UTC), after which no run begins; 0: any number."""
    run_time_limit: float = Field(3600.0, ge=0)
    """Seconds of work after which a run is ended; 0: it may take as long as it likes."""
    requests_per_minute: int | None = Field(None, ge=0)
    """Of one person; 0: any number. None: as `requests_limit` has it."""
    streams_per_person: int | None = Field(None, ge=0)
    """Streams of one person at the same time; 0: any number. None: as `streams_limit` has it."""
    shutdown_grace: float = Field(10.0, ge=0)
    """Seconds which a shutdown gives to runs before it interrupts them."""
    keep_events_days: int = Field(30, ge=1)
    """Days after which the chunks of an agent's turn are merged into one event."""
    host: str = Field("127.0.0.1", validation_alias="HOST")
    """The address, or its name, at which `riverrun run` listens; it sets this to what its option says."""
    port: int = Field(8000, validation_alias="PORT")
    """Our own port, where no model is looked for; `riverrun run` sets it to the one it listens on."""
    heartbeat: float = Field(15.0, gt=0)
    """Seconds of silence after which a stream carries a heartbeat."""
    tool_commands: bool = False
    """Whether a project's tool servers may be command lines, which whoever reaches the port could then run."""
    hosts: Annotated[list[str], NoDecode] = []
    """Names under which riverrun is reached, with commas between them; `*.example.org` is what is below a name."""
    allowed_origins: Annotated[list[str], NoDecode] = []
    """Further origins (`https://host`) from which a browser may send changes, with commas between them."""
    session_days: int = Field(30, ge=1)
    """Days after which a browser that was not used is signed out."""
    approval_timeout: float = Field(600.0, gt=0)
    """Seconds which a person has to approve a call; then it is declined."""
    api_tokens: Literal["optional", "required"] = "optional"
    """Whether programs need a token."""
    cors_origins: Annotated[list[str], NoDecode] = []
    """Origins of other pages whose scripts may use the interfaces for programs, with commas between them."""
    image_hosts: Annotated[list[str], NoDecode] = []
    """Hosts (`host` or `host:port`) whose images pages load by themselves, with commas between them."""

    trusted_proxies: Annotated[list[str], NoDecode] = []
    """Addresses and networks of proxies, with commas between them: what they say of scheme and client is believed."""
    hsts: int = Field(0, ge=0)
    """Seconds for which browsers that came over TLS are to do so again; 0: nothing is said of that."""

    fetch_allow: Annotated[list[str], NoDecode] = []
    """Hosts (`name`, `name:port`), addresses and networks (`10.0.0.0/8`) at which tool servers may be besides the
    internet, with commas between them. Empty: none, but for the one local person this machine and private networks."""

    @field_validator(
        "hosts",
        "allowed_origins",
        "cors_origins",
        "trusted_proxies",
        "fetch_allow",
        "image_hosts",
        "secret_key",
        mode="before",
    )
    @classmethod
    def in_parts(cls, value: str | list[str]) -> list[str]:
        parts = value.split(",") if isinstance(value, str) else value
        return [part.strip().rstrip("/") for part in parts if part.strip()]

    @field_validator("hosts")
    @classmethod
    def are_names(cls, values: list[str]) -> list[str]:
        names = [value.lower() for value in values]
        for name in names:
            if not HOST.fullmatch(name):
                raise ValueError(f"{name} is no host; one is written chat.example.org or *.example.org, without a port")
        return names

    @field_validator("trusted_proxies")
    @classmethod
    def are_networks(cls, values: list[str]) -> list[str]:
        for value in values:
            ip_network(value)
        return values

    @field_validator("cors_origins")
    @classmethod
    def are_origins(cls, values: list[str]) -> list[str]:
        for value in values:
            if value != "*" and not ORIGIN.fullmatch(value):
                raise ValueError(f"{value} is no origin; one is written https://host or https://host:port")
        return values

    @field_validator("fetch_allow")
    @classmethod
    def can_be_fetched(cls, values: list[str]) -> list[str]:
        Allowance.of(values)
        return values

    @field_validator("image_hosts")
    @classmethod
    def are_hosts(cls, values: list[str]) -> list[str]:
        hosts = [value.lower() for value in values]
        for host in hosts:
            if not IMAGE_HOST.fullmatch(host):
                raise ValueError(f"{host} is no host; one is written images.example.org or images.example.org:8443")
        return hosts

    @field_validator("secret_key")
    @classmethod
    def are_keys(cls, values: list[str]) -> list[str]:
        if values:
            Keyring(values)
        return values

    @field_validator("oidc_issuer")
    @classmethod
    def is_issuer(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (not is_secure_transport(value) or parts.query or parts.fragment or parts.username):
            raise ValueError("an issuer is written https://host/path; http:// is for this machine's own addresses only")
        return value

    @model_validator(mode="after")
    def can_sign_in_at_provider(self) -> Self:
        if self.oidc_issuer and self.auth != "accounts":
            raise ValueError("RIVERRUN_OIDC_ISSUER is for people who sign in, so it needs RIVERRUN_AUTH=accounts")
        if bool(self.oidc_issuer) != bool(self.oidc_client_id):
            raise ValueError(
                "RIVERRUN_OIDC_ISSUER and RIVERRUN_OIDC_CLIENT_ID need each other: "
                "the second is what riverrun is called at the provider"
            )
        return self

    @model_validator(mode="after")
    def is_not_open_to_every_page(self) -> Self:
        if "*" in self.cors_origins and self.api_tokens != "required":
            raise ValueError(
                "RIVERRUN_CORS_ORIGINS=* lets every page in the browser in, "
                "so it needs RIVERRUN_API_TOKENS=required; or name the origins"
            )
        return self

    @field_validator("model_url")
    @classmethod
    def is_address(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("an address begins with http:// or https://")
        return value

    @field_validator("database_url")
    @classmethod
    def is_supported(cls, value: str) -> str:
        if value and not value.startswith(("postgresql+asyncpg://", "sqlite+aiosqlite://")):
            raise ValueError("a database is postgresql+asyncpg://user:password@host/name or sqlite+aiosqlite:///file")
        return value

    @property
    def keep_events(self) -> timedelta:
        return timedelta(days=self.keep_events_days)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data.resolve() / 'riverrun.db'}"

    @property
    def key_file(self) -> Path:
        return self.data / "secret.key"

    @property
    def proxies(self) -> list[str]:
        """As connections over IPv4 come to a socket of both kinds, too."""
        networks = [ip_network(proxy) for proxy in self.trusted_proxies]
        mapped = [
            f"::ffff:{one.network_address}/{96 + one.prefixlen}" for one in networks if isinstance(one, IPv4Network)
        ]
        return [*map(str, networks), *mapped]

    @property
    def requests_limit(self) -> int:
        return self._unless_alone(self.requests_per_minute, 1200)

    @property
    def runs_limit(self) -> int:
        return self._unless_alone(self.runs_per_person, 50)

    @property
    def streams_limit(self) -> int:
        return self._unless_alone(self.streams_per_person, 200)

    def _unless_alone(self, limit: int | None, default: int) -> int:
        """The one local person takes nothing from anybody."""
        if limit is not None:
            return limit
        return 0 if self.auth == "local" else default

    @property
    def body_limit(self) -> int:
        """Bytes of one request, or of one message over a WebSocket: what a message needs however it is escaped."""
        return max(10 * self.message_limit, 1_000_000)

    @property
    def fetching(self) -> Allowance:
        return Allowance.of(self.fetch_allow, private=self.auth == "local" and not self.fetch_allow)

    def model_options(self) -> ModelOptions:
        return ModelOptions(
            url=self.model_url,
            key=self.model_key,
            model=self.model,
            streaming=self.model_streaming,
            stall_timeout=self.model_timeout,
            retries=self.model_retries,
            simulate_words=self.simulate_words,
            simulate_delay=self.simulate_delay,
            simulate_thought_delay=self.simulate_thought_delay,
            simulate_code_delay=self.simulate_code_delay,
            skip_ports=(self.port,),
        )
