"""Modules beside the tests, such as `alfworld_games`, are found by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package
