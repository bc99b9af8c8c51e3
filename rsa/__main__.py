"""``python -m rsa <stage>``."""

import gc
import sys

gc.set_threshold(20_000, 50, 100)  # stages keep what they make: looking for rubbish so often took 6 % of their time

try:
    from rsa.pipeline.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while modules were loaded
    sys.exit(130)
