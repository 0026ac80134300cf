"""Observations in buckets."""

from __future__ import annotations

import pytest

from tallystick.histogram import BOUNDS_S, Histogram


def test_each_observation_counts_in_its_bucket_and_in_all_larger_ones() -> None:
    histogram = Histogram()
    for took_s in (0.0, 0.0005, 0.0006, 29.0, 31.0):
        histogram.observe(took_s)
    buckets = dict(histogram.buckets())
    assert (buckets["0.0005"], buckets["0.001"], buckets["10.0"], buckets["30.0"], buckets["+Inf"]) == (2, 3, 3, 4, 5)
    assert histogram.sum_s == pytest.approx(60.0011)
    assert len(buckets) == len(BOUNDS_S) + 1


def test_two_added_are_as_if_one_had_seen_everything() -> None:
    one, other, both = Histogram(), Histogram(), Histogram()
    for histogram, took_s in ((one, 0.25), (other, 0.5), (other, 64.0)):
        histogram.observe(took_s)
        both.observe(took_s)
    assert one + other == both
    assert one + Histogram() == one
    assert one != other
