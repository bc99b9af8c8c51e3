"""``python -m rsa <stage>``."""

import sys

from rsa.cli import main

sys.exit(main())
