"""A random checkpoint, its tokenizer, and rows to train on."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # tests are no package

from tiny_model import tiny_adapter, tiny_model  # noqa: F401
