"""Devices that a config names and torch does not find."""

import dataclasses
from pathlib import Path

import pytest
import torch

from grokinterp.config import RunConfig
from grokinterp.training.loop import train


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", "device 'cuda:99' is missing: torch finds .* use device='cpu'"),
        ("meta", "device must be cpu, cuda, cuda:N or mps, got 'meta'"),
        ("gpu", "device must be cpu, cuda, cuda:N or mps, got 'gpu'"),
        ("", "device must be cpu, cuda, cuda:N or mps, got ''"),
    ],
)
def test_a_device_that_is_not_there(tiny: RunConfig, device: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        train(dataclasses.replace(tiny, device=device), tmp_path / "run", progress=False)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_where_there_is_none(tiny: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device 'cuda' is missing: torch finds 0 cuda devices"):
        train(dataclasses.replace(tiny, device="cuda"), tmp_path, progress=False)
