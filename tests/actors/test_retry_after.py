"""The pause that a server asks for, in every form that servers use."""

import pytest

from actors.retry_after import retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
LATER = "Tue, 14 Nov 2023 22:13:50 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
        ({"retry-after": LATER}, 30),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0),
        ({"retry-after": LATER, "date": "Tue, 14 Nov 2023 22:13:45 GMT"}, 5),
        ({"retry-after": LATER, "date": "yesterday"}, 30),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "next week"}, None),
        ({"retry-after": "99999999"}, None),
        ({"retry-after": "Tue, 14 Nov 2093 22:13:50 GMT"}, None),
    ],
)
def test_seconds_milliseconds_and_dates_are_read_and_nonsense_is_not(headers, seconds):
    assert retry_after_s(headers, now=NOW) == seconds
