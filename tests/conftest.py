"""The processes that run the tests get what the command gives itself: allocators tuned for what DuckDB does."""

import os

from abr.__main__ import TUNABLES

os.environ.update(TUNABLES | os.environ)
