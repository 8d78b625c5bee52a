"""Detectors by name."""

from __future__ import annotations

from pathlib import Path

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.head_settings import HEADS
from curation_pipeline.annotate.hosted_settings import HOSTED
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.lake.lake import file_sha256

PACKAGED = ("alt_profanity", "tox_block")
"""Detectors that are converted from a package archive into ``models_dir / name``."""
OWN_WEIGHTS = ("detoxify", "classifier")
"""Detectors whose weights the profile points to."""


def load_detector(name: str, settings: AnnotateSettings, models_dir: Path, cache: Path | None = None) -> Detector:
    """The detector ``name``, ready to score.

    Args:
        name: of a detector; a cascade is put together from two of them by its stage.
        settings: the profile's annotation settings.
        models_dir: folder with a converted or fitted detector in a subfolder of its name each.
        cache: folder of package archives, for a head with a packaged encoder.

    Raises:
        MissingModelError: when its model is not there, with what to do.
        ConfigError: when there is no such detector.
    """
    if name in HOSTED:
        from curation_pipeline.annotate.detectors import hosted

        return hosted.load_hosted(name, settings.hosted)
    if name == "detoxify":
        from curation_pipeline.annotate.detectors import detoxify

        paths = settings.detoxify
        if paths.variant is not None and cache is not None:
            from curation_pipeline.annotate.detectors.detoxify_download import fetch_published

            return detoxify.load(*fetch_published(paths.variant, cache), paths.device, paths.batch_size)
        if paths.checkpoint is None or paths.huggingface_config_path is None:
            raise MissingModelError(
                "detoxify is asked for, but neither annotate.detoxify.variant nor .checkpoint and "
                ".huggingface_config_path are set; name a variant to download, give both paths, or use alt_profanity"
            )
        return detoxify.load(paths.checkpoint, paths.huggingface_config_path, paths.device, paths.batch_size)
    if name == "classifier":
        from curation_pipeline.annotate.detectors import classifier

        return classifier.load(settings.classifier)
    directory = models_dir / name
    if name in HEADS:
        from curation_pipeline.annotate.detectors.head import load_head
        from curation_pipeline.annotate.encoder import load_encoder

        encoder = settings.heads.encoder
        return load_head(directory, None if encoder is None or cache is None else load_encoder(settings.heads, cache))
    if name not in PACKAGED:
        known = (*PACKAGED, *OWN_WEIGHTS, *HEADS, *HOSTED)
        raise ConfigError(f"there is no detector `{name}`; known are {', '.join(known)}")
    if not directory.is_dir():
        raise MissingModelError(
            f"the detector {name} is not in {models_dir}; convert it from its package's archive with "
            f"convert_detector('{name}', archive, models_dir)"
        )
    if name == "alt_profanity":
        from curation_pipeline.annotate.detectors import linear

        return linear.load(directory)
    from curation_pipeline.annotate.detectors import bilstm

    return bilstm.load(directory, rescale=settings.judge_rescale)


def own_weights(name: str, settings: AnnotateSettings) -> str:
    """What identifies the weights that the profile gives for a detector: other weights are another annotation.

    Raises:
        MissingModelError: when Detoxify's checkpoint is not there.
        ConfigError: when the detector's weights come from a package.
    """
    if name == "classifier":
        from curation_pipeline.annotate.detectors import classifier

        return classifier.fingerprint(settings.classifier)
    if name != "detoxify":
        raise ConfigError(f"`{name}` comes from a package archive; it has no weights of the profile's")
    if settings.detoxify.variant is not None:
        from curation_pipeline.annotate.detectors.detoxify_download import published

        return f"published {published(settings.detoxify.variant)}"
    checkpoint = settings.detoxify.checkpoint
    if checkpoint is None or not checkpoint.is_file():
        raise MissingModelError(f"detoxify is asked for, but annotate.detoxify.checkpoint ({checkpoint}) is no file")
    return file_sha256(checkpoint)


def convert_detector(name: str, archive: Path, models_dir: Path) -> Path:
    """Convert the packaged detector ``name`` from its archive into ``models_dir``; returns its folder.

    Raises:
        ConfigError: when there is no such packaged detector.
        IntegrityError: when the archive holds something other than what was reviewed.
    """
    out_dir = models_dir / name
    if name == "alt_profanity":
        from curation_pipeline.annotate.detectors import linear

        linear.convert(archive, out_dir)
    elif name == "tox_block":
        from curation_pipeline.annotate.detectors import bilstm

        bilstm.convert(archive, out_dir)
    else:
        raise ConfigError(f"`{name}` does not come from a package archive; those that do: {', '.join(PACKAGED)}")
    return out_dir
