"""The real commands of the end-to-end tests."""

from tests.end_to_end.conftest import bench, make_bench, small_data

__all__ = ["bench", "make_bench", "small_data"]
