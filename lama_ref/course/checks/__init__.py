"""Checks of the exercises: give one your function, it says passed or what differs.

Each check prints "not attempted" for a stub that does nothing but raise ``NotImplementedError``,
prints "passed" for a right answer, and raises ``AssertionError`` for any other: one sentence that
names the input and the difference, and the student's line. Solution notebooks end
with :func:`require_all`.
"""

from ...spectral.contract import spectral_contract
from .ablations import *  # noqa: F403
from .adversarial import *  # noqa: F403
from .building import *  # noqa: F403
from .core import attempted, require_all
from .designing import *  # noqa: F403
from .fourier import *  # noqa: F403
from .hiding import *  # noqa: F403
from .judging import *  # noqa: F403
from .learning import *  # noqa: F403
from .looking import *  # noqa: F403
from .resolution import *  # noqa: F403
from .start import *  # noqa: F403

__all__ = ["attempted", "require_all", "spectral_contract"]
