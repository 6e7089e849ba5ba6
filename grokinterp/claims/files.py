"""The data that this package carries: claims, published curves, and what rebuilt runs gave."""

from importlib import resources


def read_data(name: str) -> str:
    """A file of `claims/data` as text."""
    return resources.files("grokinterp.claims").joinpath("data", name).read_text(encoding="utf-8")
