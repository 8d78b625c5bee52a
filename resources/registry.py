"""MLflow's model registry: each checkpoint that came into force is a version, and `champion` is the one in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.tracking import MANIFEST_TAG, global_uri

if TYPE_CHECKING:
    from resources.tracking import TrackingResource

CHAMPION = "champion"
"""Alias of the version in force: `models:/NAME@champion`."""


def promote(tracking: TrackingResource, name: str, checkpoint_id: str) -> str:
    """Make a logged checkpoint the champion; doing it again changes nothing.

    Args:
        tracking: where the checkpoint has been logged.
        name: of the registered model, which is made at first use.
        checkpoint_id: manifest of the checkpoint.

    Returns:
        The version's number; empty where no such checkpoint has been logged, as for the base that a chain starts from.
    """
    from mlflow.exceptions import MlflowException

    client = tracking.client()
    experiment = tracking.experiment_id(client)
    models = client.search_logged_models([experiment], f"tags.`{MANIFEST_TAG}` = '{checkpoint_id}'")
    if not models:
        return ""
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description="Checkpoints that the loop has put into force.")
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((one for one in versions if one.tags.get(MANIFEST_TAG) == checkpoint_id), None)
    if version is None:
        model = models[-1]
        with global_uri(tracking.uri):  # the client asks it for the model, whatever its own address is
            version = client.create_model_version(
                name, f"models:/{model.model_id}", model.source_run_id,
                tags={MANIFEST_TAG: checkpoint_id}, model_id=model.model_id,
            )  # fmt: skip
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return str(version.version)
