"""Settings of the engine: where work runs that is cut into tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curation_pipeline.settings import Address, Settings


class TaskRequest(Settings):
    """What each task of a step gets on a Ray cluster; this machine's processes share what there is."""

    cpus: float = Field(default=1.0, ge=0, description="CPUs of a task")
    gpus: float = Field(default=0.0, ge=0, description="GPUs of a task, or a part of one")
    memory_gb: float | None = Field(default=None, gt=0, description="memory of a task in 10^9 bytes")
    actors: int | None = Field(
        default=None, ge=1, description="processes that stay and keep the step's model loaded; plain tasks if absent"
    )


class EngineSettings(Settings):
    """Where work runs that is cut into tasks: on the cores of this machine, or on a Ray cluster."""

    kind: Literal["local", "ray"] = Field(default="local", description="processes of this machine, or a Ray cluster")
    workers: int = Field(default=2, ge=1, description="processes of this machine")
    address: Address | None = Field(
        default=None,
        description="of the Ray cluster; $RAY_ADDRESS if absent, or else one that is started on this machine",
    )
    retries: int = Field(default=3, ge=0, description="times that a task is begun again when its node is lost")
    requests: dict[str, TaskRequest] = Field(default={}, description="what tasks of a step get on Ray, by its name")

    def request(self, step: str) -> TaskRequest:
        """What a task of this step gets."""
        return self.requests.get(step, TaskRequest())


ONE_PROCESS = EngineSettings(workers=1)
"""Everything in the process that calls."""
