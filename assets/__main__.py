"""What `curate` starts; see `assets.runner`.

Worker processes load the module that a process was started with, but not one of this name: so they do without Dagster.
"""

import sys

if __name__ == "__main__":
    from assets.runner import main

    sys.exit(main())
