"""What several test files share."""

import pytest

pytest.register_assert_rewrite("check_suite", "golden_weights")
