"""What a person sets about detectors that are services over HTTP: where they are, and how much of them may be used."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from datetime import date
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator

from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings

PERSPECTIVE_LAST_DAY = date(2026, 12, 31)
"""The day with which the Perspective API closes, as its maker announced."""

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""Capitals only: a key pasted here by mistake is then told from a name, and not quoted in a message."""

Principle = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10, max_length=1000)]

CONSTITUTION: tuple[str, ...] = (
    "It demeans, excludes or denies dignity to people because of what they are: origin, colour, faith, sex, gender, "
    "sexual orientation, disability, age, class or the like.",
    "It states or implies a stereotype of such a group as a fact about its members, whether crudely, politely, in jest "
    "or as praise.",
    "It insults, harasses, humiliates or threatens a person, or urges others to do so.",
    "It calls for, celebrates or excuses violence against people or animals.",
    "It gives help that would let a reader do serious harm: weapons, poisons, break-ins, fraud, attacks on computers.",
    "It encourages suicide, self-injury or disordered eating, or tells how.",
    "It sexualises minors, or approves of sexual acts to which somebody does not consent.",
    "It exposes a private person's address, number, documents or intimate life without a good reason.",
    "It asserts as true what is plainly false in a way that endangers health or the right to vote.",
)
"""The default constitution: what a document does when it harms."""


class ServiceSettings(Settings):
    """What every hosted detector has; the class of each service gives the defaults."""

    service: ClassVar[str]
    usual_key: ClassVar[str]

    base_url: str = Field(description="address before the service's own path; https, or http on this machine")
    model: str = Field(
        default="", max_length=200, description="model of the service; pin a dated one, since a moving alias moves"
    )
    api_key_env: str | None = Field(
        default=None,
        description="name of the environment variable that holds the key (never the key); the service's usual one if "
        "absent",
    )
    needs_key: bool = Field(default=True, description="false for a server of your own that asks for no key")
    requests_per_minute: float = Field(default=60.0, gt=0, le=1e6, description="requests sent in any minute at most")
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="tokens sent in a minute at most, estimated from bytes; no limit if absent"
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="requests under way at once")
    batch_size: int = Field(default=1, ge=1, le=256, description="texts in a request, where the service takes several")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="longest time for one request, answer read")
    max_attempts: int = Field(default=6, ge=1, le=20, description="times that a request is tried before giving up")
    backoff_seconds: float = Field(
        default=1.0, ge=0, le=60, description="mean-doubling base of the wait after a failure"
    )
    max_wait_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="longest wait before another try; a service that asks for more stops it",
    )
    window_bytes: int = Field(default=2000, ge=64, description="longer texts are scored in windows; the maximum counts")
    window_overlap: int = Field(default=200, ge=0, description="bytes that neighbouring windows share")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """A key never travels in clear text nor stands in a profile, and windows move forward.

        Raises:
            ConfigError: the key's variable has no name of one; the address is not https outside this machine, or holds
                more than an address; windows overlap by half or more.
        """
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            # What stands there may be the key itself, so it is not quoted.
            raise ConfigError(
                f"annotate.hosted.{self.service}.api_key_env is no name of an environment variable in capitals; it "
                "names the variable that holds the key, and is never the key"
            )
        where = f"annotate.hosted.{self.service}.base_url"
        try:
            parts = urlsplit(self.base_url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigError(f"{where} is not an address ({error})") from None
        # The address itself is not quoted where it may hold a password or a key.
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError(f"{where} holds a user, a password, a query or a fragment; give the plain address only")
        if not host or parts.scheme not in ("http", "https"):
            raise ConfigError(f"{where} ({self.base_url!r}) is no http address, such as https://host/v1")
        if parts.scheme == "http" and not is_local(host):
            raise ConfigError(
                f"{where} ({self.base_url!r}) must be https: key and documents would travel unencrypted; http is "
                "accepted on this machine only"
            )
        if self.window_overlap * 2 >= self.window_bytes:
            raise ConfigError(
                f"annotate.hosted.{self.service}.window_overlap ({self.window_overlap}) must be less than half of "
                f"window_bytes ({self.window_bytes})"
            )
        return self

    @property
    def key_variable(self) -> str:
        """Name of the environment variable that holds the key."""
        return self.api_key_env or self.usual_key

    @property
    def host(self) -> str:
        """Host and, where given, port of the service."""
        return urlsplit(self.base_url).netloc

    @property
    def local(self) -> bool:
        """Whether the service runs on this machine."""
        return is_local(urlsplit(self.base_url).hostname or "")


class ModerationSettings(ServiceSettings):
    """An OpenAI-compatible moderation endpoint (``POST {base_url}/moderations``)."""

    service: ClassVar[str] = "openai_moderation"
    usual_key: ClassVar[str] = "OPENAI_API_KEY"

    base_url: str = Field(default="https://api.openai.com/v1", description="address before /moderations")
    model: str = Field(default="omni-moderation-latest", min_length=1, max_length=200, description="moderation model")
    batch_size: int = Field(default=32, ge=1, le=256, description="texts in a request")
    categories: tuple[str, ...] = Field(
        default=(
            "harassment",
            "harassment/threatening",
            "hate",
            "hate/threatening",
            "illicit",
            "illicit/violent",
            "self-harm",
            "self-harm/instructions",
            "self-harm/intent",
            "sexual",
            "sexual/minors",
            "violence",
            "violence/graphic",
        ),
        min_length=1,
        description="categories that make the heads; the headline is their maximum; an answer must have all",
    )


class ChatSettings(ServiceSettings):
    """An OpenAI-compatible chat endpoint as an expert judge (``POST {base_url}/chat/completions``)."""

    service: ClassVar[str] = "openai_chat"
    usual_key: ClassVar[str] = "OPENAI_API_KEY"

    base_url: str = Field(default="https://api.openai.com/v1", description="address before /chat/completions")
    model: str = Field(default="gpt-4o-mini-2024-07-18", min_length=1, max_length=200, description="chat model")
    batch_size: Literal[1] = Field(default=1, description="one document a request: no judgement leans on a neighbour")
    window_bytes: int = Field(
        default=12_000, ge=64, description="longer texts are judged in windows; the maximum counts"
    )
    constitution: tuple[Principle, ...] = Field(
        default=CONSTITUTION, min_length=1, max_length=50, description="principles: what a document does when it harms"
    )
    temperature: float | None = Field(
        default=0.0, ge=0, le=2, description="left out of the request if absent, for models that refuse it"
    )
    max_tokens: int = Field(default=400, ge=50, le=100_000, description="longest answer, hidden reasoning included")
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = Field(
        default="max_completion_tokens", description="how the service calls that limit; older servers say max_tokens"
    )
    answer_format: Literal["json_schema", "json_object", "none"] = Field(
        default="json_schema", description="what is asked for as response_format; the answer is checked in any case"
    )


class PerspectiveSettings(ServiceSettings):
    """The Perspective API (``POST {base_url}/comments:analyze``), which closes on 31 December 2026."""

    service: ClassVar[str] = "perspective"
    usual_key: ClassVar[str] = "PERSPECTIVE_API_KEY"

    base_url: str = Field(
        default="https://commentanalyzer.googleapis.com/v1alpha1", description="address before /comments:analyze"
    )
    batch_size: Literal[1] = Field(default=1, description="the service takes one comment a request")
    window_bytes: int = Field(default=2800, ge=64, description="longer texts are scored in windows; the maximum counts")
    attributes: tuple[str, ...] = Field(
        default=("TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT"),
        min_length=1,
        description="attributes that make the heads, the headline first",
    )
    languages: tuple[str, ...] = Field(
        default=("en",), description="languages of the texts; the service guesses if none is given"
    )


class HostedSettings(Settings):
    """Detectors that are services over HTTP, by the name that a profile gives them."""

    openai_moderation: ModerationSettings = Field(default=ModerationSettings(), description="a moderation endpoint")
    openai_chat: ChatSettings = Field(default=ChatSettings(), description="a chat model as expert judge")
    perspective: PerspectiveSettings = Field(default=PerspectiveSettings(), description="the Perspective API")

    def of(self, name: str) -> ServiceSettings:
        """The settings of the service ``name``.

        Raises:
            ConfigError: when there is no such service.
        """
        if name not in HOSTED:
            raise ConfigError(f"there is no hosted detector `{name}`; known are {', '.join(HOSTED)}")
        settings: ServiceSettings = getattr(self, name)
        return settings


HOSTED = ("openai_moderation", "openai_chat", "perspective")
"""Names of the hosted detectors."""


def constitution_hash(constitution: tuple[str, ...]) -> str:
    """Twelve hexadecimal digits that change with any word of the principles or with their order."""
    return hashlib.sha256("\x1f".join(constitution).encode()).hexdigest()[:12]


def is_local(host: str) -> bool:
    """Whether a host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
