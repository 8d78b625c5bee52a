from __future__ import annotations

from tests.policy.conftest import small

__all__ = ["small"]
