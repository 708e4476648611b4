"""Crossings are interpolated between readings, and only upward ones count."""

from harness.sampler import Timeline


def timeline(*values: int) -> Timeline:
    return Timeline([float(i) for i in range(len(values))], {"total": list(values)}, {}, [])


def test_crossing_between_two_readings():
    assert timeline(0, 50, 150).crossings("total", 100) == [1.5]


def test_reaching_the_level_is_crossing_it():
    assert timeline(0, 100).crossings("total", 100) == [1.0]


def test_each_rise_is_a_crossing_and_no_fall_is():
    assert timeline(0, 200, 0, 200).crossings("total", 100) == [0.5, 2.5]


def test_first_below_looks_from_its_moment_on():
    line = timeline(0, 200, 200, 50)
    assert line.first_below("total", 100, after=1) == 3.0
    assert line.first_below("total", 10, after=1) is None
