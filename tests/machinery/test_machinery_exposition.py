"""Histograms and labels in Prometheus' text format."""

from __future__ import annotations

from sublet.machinery.exposition import Histogram, heading, label_text


def test_buckets_are_cumulative_and_end_with_all() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)
    assert list(histogram.lines("x", 'a="b"')) == [
        'x_bucket{a="b",le="0.1"} 2', 'x_bucket{a="b",le="1"} 3', 'x_bucket{a="b",le="+Inf"} 4',
        'x_sum{a="b"} 7.65', 'x_count{a="b"} 4',
    ]  # fmt: skip


def test_histograms_add_up() -> None:
    one, other = Histogram((1.0,)), Histogram((1.0,))
    one.observe(0.5)
    other.observe(2.0)
    both = Histogram.sum([one, other])
    assert (both.counts, both.total, both.maximum) == ([1, 1], 2.5, 2.0)


def test_a_value_can_be_made_smaller_afterwards() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 3.0):
        histogram.observe(value)
    histogram.move(3.0, 1.5)
    assert (histogram.counts, histogram.total) == ([1, 1, 0, 0], 2.0)


def test_what_fell_under_bounds_that_are_left_out_falls_under_the_next() -> None:
    histogram = Histogram((1.0, 2.0, 4.0))
    for value in (0.5, 1.5, 3.0, 9.0):
        histogram.observe(value)
    coarse = histogram.without(2)
    assert (coarse.bounds, coarse.counts, coarse.total) == ((4.0,), [3, 1], 14.0)


def test_values_of_labels_are_escaped() -> None:
    assert label_text([("a", 'x"y\\z\n')]) == 'a="x\\"y\\\\z\\n"'


def test_a_metric_begins_with_its_help_and_type() -> None:
    assert heading("x", "What.", "gauge") == ("# HELP x What.", "# TYPE x gauge")
