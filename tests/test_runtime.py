"""Devices, seeds, and the import itself."""

import numpy as np
import pytest
import torch

import lama_ref
from lama_ref import runtime


def test_cpu_agrees_with_itself():
    assert runtime.fft_error("cpu") == 0


def test_a_device_that_is_wrong_or_fails_is_found(monkeypatch):
    from lama_ref import ffc

    honest = ffc.inverse_real_fft
    calls = []

    def wrong_on_the_second_run(z, size, norm="ortho"):
        calls.append(size)
        return honest(z, size, norm) * (1 if len(calls) <= 4 else 1.01)

    monkeypatch.setattr(ffc, "inverse_real_fft", wrong_on_the_second_run)
    assert runtime.fft_error("cpu") > runtime.FFT_TOLERANCE
    monkeypatch.undo()
    assert runtime.fft_error("meta") == float("inf")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_cuda_agrees():
    assert runtime.fft_error("cuda") < runtime.FFT_TOLERANCE


def test_device():
    assert lama_ref.device("auto").type in ("cpu", "cuda", "mps")
    assert lama_ref.device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="'potato'"):
        lama_ref.device("potato")


def test_auto_refuses_an_mps_with_a_wrong_fft(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(runtime, "fft_error", lambda name: 0.3)
    assert runtime.device("auto").type == "cpu"
    monkeypatch.setattr(runtime, "fft_error", lambda name: 1e-6)
    assert runtime.device("auto").type == "mps"


def test_setup_seeds_everything(capsys):
    runtime.setup(3)
    first = torch.rand(2).tolist(), np.random.rand(2).tolist()
    runtime.setup(3)
    assert first == (torch.rand(2).tolist(), np.random.rand(2).tolist())
    assert "seed 3" in capsys.readouterr().out


def test_every_public_name_resolves():
    for name in dir(lama_ref):
        assert getattr(lama_ref, name) is not None
    contracts = "build_generator build_discriminator Inpainter LaMaLoss official masks checks"
    assert {*contracts.split(), "scenes", "plots", "device", "__version__"} <= {*dir(lama_ref)}
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lama_ref.no_such_name
