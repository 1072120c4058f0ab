import pytest

from devloop.publish.meter import size


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (3.2e9, "3.2 GB"),
                                             (5e12, "5000.0 GB")])
def test_sizes_are_told_in_units_of_1000(count, text):
    assert size(count) == text
