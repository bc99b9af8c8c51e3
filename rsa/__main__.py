"""``python -m rsa <stage>``."""

import sys

from rsa.pipeline.cli import main

sys.exit(main())
