"""``python -m rsa <stage>``."""

import sys

try:
    from rsa.pipeline.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while modules were loaded
    sys.exit(130)
