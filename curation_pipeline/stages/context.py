"""What every stage is handed: the lake, the profile, where downloads are kept, and how to report progress."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from curation_pipeline.config import Profile, cache_folder, load_profile, state_folder
from curation_pipeline.lake.lake import Lake
from curation_pipeline.lake.store import open_store
from curation_pipeline.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a stage.

    Attributes:
        lake: where artefacts are read and written.
        profile: the settings in force.
        cache: folder of downloaded archives.
        progress: told how far long work is.
    """

    lake: Lake
    profile: Profile
    cache: Path
    progress: Progress = silent

    def __reduce__(self) -> tuple[type[Context], tuple[Lake, Profile, Path]]:
        """Another process gets the same without the callback: progress is told where the work was begun."""
        return Context, (self.lake, self.profile, self.cache)

    def with_progress(self, progress: Progress) -> Context:
        """The same surroundings with another progress callback."""
        return replace(self, progress=progress)


def open_context(profile_name: str, state: Path | None = None, cache: Path | None = None) -> Context:
    """The context of a profile and a state folder.

    Raises:
        ConfigError: the profile is missing or wrong.
    """
    profile = load_profile(profile_name)
    state = state or state_folder()
    return Context(open_lake(profile, state), profile, cache or cache_folder())


def open_lake(profile: Profile, state: Path) -> Lake:
    """The lake that a profile names, with its work in the making under the state folder."""
    root = profile.lake.root or str(state / "lake")
    work = state / "work"
    settings = profile.lake
    return Lake(open_store(root, work, settings.endpoint_url, int(settings.cache_max_gb * 1e9)), work)
