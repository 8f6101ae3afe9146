"""Environment of the tests; notebook kernels inherit it."""

import os
import tempfile
from pathlib import Path

ROOT = str(Path(__file__).parent)

# Kernels start in notebooks/ and must import this checkout, not a lama_ref installed elsewhere.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))

# Threads that wait should sleep: beside another program on a core, spinning ones made a notebook of
# 19 seconds take 236. Read when torch is loaded, so it must be set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Tests never meet what a user happens to have fetched.
os.environ["LAMA_REF_CACHE"] = os.path.join(tempfile.gettempdir(), "lama_ref_tests_no_cache")
