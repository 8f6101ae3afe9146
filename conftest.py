"""Environment of the tests; notebook kernels inherit it."""

import os
from pathlib import Path

ROOT = str(Path(__file__).parent)

# Kernels start in notebooks/ and must import this checkout, not a lama_ref installed elsewhere.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
