"""One function per stage of the loop: from manifests to a manifest, with no orchestrator in sight."""
