"""Percentiles by nearest rank, sizes with units."""

import pytest

from harness.figures import MIB, parse_size, percentile


def test_percentiles_are_values_that_occurred():
    values = [float(i) for i in range(1, 101)]
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100


def test_of_few_values_a_high_percentile_is_the_largest():
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert percentile([7.0], 1) == 7.0


def test_none_have_no_percentile():
    with pytest.raises(ValueError):
        percentile([], 50)


def test_sizes():
    assert parse_size("300MiB") == 300 * MIB
    assert parse_size("1.5 GiB") == 1536 * MIB
    assert parse_size("17") == 17
    with pytest.raises(ValueError, match="300MB"):
        parse_size("300MB")
