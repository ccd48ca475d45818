"""`python -m tests.exactness --seconds 300 [--seed N]`: see run.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from exactness.run import main

sys.exit(main())
