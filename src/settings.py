"""The settings, read once from the environment and a `.env` file. `docs/settings.md` tells each."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from .agents.fetching import Allowance
from .agents.model import ModelOptions

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+")  # as browsers write it: in small letters, no path


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="RIVERRUN_", env_file=".env", extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    data: Path = Path("data")
    """Folder of the SQLite database and of the projects' files."""
    database_url: str = ""
    """`postgresql+asyncpg://...` or `sqlite+aiosqlite:///...`; empty: SQLite in the data folder."""
    database_patience: float = Field(30.0, ge=0)
    """Seconds for which runs wait for a database that fails."""

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

    message_limit: int = Field(100_000, ge=1)
    """Characters of one message."""
    run_limit: int = Field(2000, ge=1)
    """Runs that this process works on at the same time."""
    shutdown_grace: float = Field(10.0, ge=0)
    """Seconds which a shutdown gives to runs before it interrupts them."""
    keep_events_days: int = Field(30, ge=1)
    """Days after which the chunks of an agent's turn are merged into one event."""
    port: int = Field(8000, validation_alias="PORT")
    """Our own port, where no model is looked for; `riverrun run` sets it to the one it listens on."""
    heartbeat: float = Field(15.0, gt=0)
    """Seconds of silence after which a stream carries a heartbeat."""
    tool_commands: bool = False
    """Whether a project's tool servers may be command lines, which whoever reaches the port could then run."""
    allowed_origins: Annotated[list[str], NoDecode] = []
    """Further origins (`https://host`) from which a browser may send changes, with commas between them."""
    api_tokens: Literal["optional", "required"] = "optional"
    """Whether programs need a token."""
    cors_origins: Annotated[list[str], NoDecode] = []
    """Origins of other pages whose scripts may use the interfaces for programs, with commas between them."""

    fetch_allow: Annotated[list[str], NoDecode] = []
    """Hosts (`name`, `name:port`), addresses and networks (`10.0.0.0/8`) at which tool servers may be besides the
    internet, with commas between them. Empty: this machine and private networks, for the one person who is here."""

    @field_validator("allowed_origins", "cors_origins", "fetch_allow", mode="before")
    @classmethod
    def in_parts(cls, value: str | list[str]) -> list[str]:
        parts = value.split(",") if isinstance(value, str) else value
        return [part.strip().rstrip("/") for part in parts if part.strip()]

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
    def body_limit(self) -> int:
        """Bytes of one request, or of one message over a WebSocket: what a message needs however it is escaped."""
        return max(10 * self.message_limit, 1_000_000)

    @property
    def fetching(self) -> Allowance:
        return Allowance.of(self.fetch_allow, private=not self.fetch_allow)

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
