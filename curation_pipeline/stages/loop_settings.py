"""Where the stages find what a profile says of refinement, audit, divergence and curriculum."""

from __future__ import annotations

from curation_pipeline.config import Profile
from curation_pipeline.reward.curriculum_settings import CurriculumStage
from curation_pipeline.reward.refinement_settings import AuditSettings, DivergenceSettings, RefinementSettings


def refinement_settings(profile: Profile) -> RefinementSettings:
    """``[reward.refinement]``."""
    return profile.reward.refinement


def audit_settings(profile: Profile) -> AuditSettings:
    """``[reward.audit]``."""
    return profile.reward.audit


def divergence_settings(profile: Profile) -> DivergenceSettings:
    """``[reward.divergence]``."""
    return profile.reward.divergence


def curriculum_stages(profile: Profile) -> tuple[CurriculumStage, ...]:
    """``[[curriculum]]``."""
    return profile.curriculum
