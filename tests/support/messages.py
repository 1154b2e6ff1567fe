"""Tests of error messages from a table."""

import pytest


def error_test(rows):
    """A test for each row ``(call, type of the error, whole message)``."""

    @pytest.mark.parametrize(("call", "error", "text"), rows, ids=[text[:60] for *_, text in rows])
    def test_errors(call, error, text):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == text

    return test_errors
