"""The patch discriminator: sizes, features, what a patch sees."""

import pytest
import torch

import lama_ref
from lama_ref.discriminator import build_discriminator


def test_published_size():
    with torch.device("meta"):
        d = lama_ref.build_discriminator()
    assert sum(p.numel() for p in d.parameters()) == 6_962_369
    assert len(d.state_dict()) == 32


@pytest.mark.parametrize(("side", "patches"), [(64, 7), (256, 19), (512, 35)])
def test_map_of_scores(side, patches):
    with torch.device("meta"):
        logits, features = build_discriminator()(torch.empty(2, 3, side, side))
    assert logits.shape == (2, 1, patches, patches)
    assert [f.shape[1] for f in features] == [64, 128, 256, 512, 512]
    assert features[0].shape[-1] == side // 2 + 1


def test_a_patch_sees_its_surroundings_alone():
    torch.manual_seed(0)
    d = build_discriminator(4).eval()
    x = torch.rand(1, 3, 256, 256, requires_grad=True)
    d(x)[0][0, 0, 9, 9].backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
    # closed form of the receptive field: four 4x4 convolutions of stride 2, two of stride 1
    field, stride = 1, 1
    for s in (2, 2, 2, 2, 1, 1):
        field, stride = field + 3 * stride, stride * s
    assert rows[-1] - rows[0] + 1 == field == 142


def test_gradient_reaches_everything():
    d = build_discriminator(4, 2)
    d(torch.rand(2, 3, 32, 32))[0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in d.named_parameters()
               if not n.endswith("0.bias") or n.startswith(("model0", "model3")))  # fmt: skip


def test_bad_input():
    with pytest.raises(ValueError, match=r"\(1, 4, 32, 32\)"):
        build_discriminator(4)(torch.zeros(1, 4, 32, 32))
    with pytest.raises(ValueError, match="0"):
        build_discriminator(0)
