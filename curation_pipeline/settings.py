"""The base of every settings model that a person writes in a profile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, create_model


class Settings(BaseModel):
    """Frozen, and a key that does not exist is an error rather than a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def combined(name: str, base: type[Settings], parts: Iterable[type[Settings]]) -> Any:
    """A model with the fields of ``base`` and of all its subclasses in ``parts``."""
    own = {base, *parts}
    last = [part for part in own if not any(other is not part and issubclass(other, part) for other in own)]
    return create_model(name, __base__=tuple(sorted(last, key=lambda part: part.__qualname__)))


def _without_credentials(address: str) -> str:
    # Settings are written into manifests and logs. The address is not quoted: it holds a secret.
    if "@" in urlsplit(address).netloc:
        raise ValueError("the address holds a user or a password; give it without, and credentials by the environment")
    return address


Address = Annotated[str, AfterValidator(_without_credentials)]
"""A URL, or a path, without user and password."""
