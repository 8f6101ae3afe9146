"""Published weights that this project does not ship: what they are, where, and on what terms.

What is written here of licences and terms is what their authors or data sets say, no advice.
Nobody's checksum is invented: where none is published, the first download's is kept and later
ones are compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

_MIT = "http://sceneparsing.csail.mit.edu/model/"
_MIRROR = (
    "https://huggingface.co/camenduru/big-lama/resolve/3295322035a0fa9ce42b3d65e1221b7b46a3c8ef/"
)
_TORCHVISION = "https://download.pytorch.org/models/"
_LAMA = (
    "none stated by the authors",
    "The authors' code is under Apache-2.0; no statement goes with the weights. Asked about them, "
    "an author answered in 2023 that the repository says Apache 2.0 (advimman/lama, issue 230). "
    "Requests of 2026 to write it down (issues 365 to 368) are without an answer that we know of. "
    "Tags of mirrors are those of whoever put the files there.",
)
_IMAGENET = (
    "none stated by the authors",
    "torchvision says that its weights may have licences or terms of their own, derived from the "
    "data they were trained on.",
)
_PLACES = "The terms of Places allow non-commercial research and education."
_ADE20K = "ADE20K. Its terms allow non-commercial research and education."
_OBJECTS = "ImageNet (ILSVRC 2012). Its terms allow non-commercial research and education."
_SEGMENTATION = (
    "none stated by the authors",
    "The authors' code (CSAILVision/semantic-segmentation-pytorch) is open source; no statement "
    "goes with the weights.",
)
_UNKNOWN = (
    "Checksum not published; the file's SHA-256 is recorded at the first download, and later "
    "files are compared with it."
)


@dataclass(frozen=True)
class Entry:
    """What is known of published weights.

    Attributes:
        kind: "generator" (for ``Inpainter``), "features" (for the perceptual loss), "metric".
        file: name in the cache folder; ``others``: further names of the same network.
        url: where it is loaded from, as ``member`` of a zip archive if there is one.
        licence: in short, and what is known of it.
        data: what trained it, and the terms of that.
        known: SHA-256 and bytes of ``file``, empty if unknown; ``archive``: of the archive.
        about: megabytes to load, estimated from the network, where the size is not known.
    """

    kind: Literal["generator", "features", "metric"]
    what: str
    file: str
    url: str
    licence: tuple[str, str]
    data: str
    known: Mapping[str, int]
    checksum_from: str = _UNKNOWN
    parameters: int | None = None
    about: int | None = None
    member: str = ""
    archive: Mapping[str, int] | None = None
    others: tuple[str, ...] = ()
    mirror: str = ""

    def size(self) -> str:
        """What has to be loaded, for people."""
        exact = list((self.archive or self.known).values())
        return f"{exact[0] / 1e6:.0f} MB" if exact else f"~{self.about} MB" if self.about else "?"


ENTRIES: dict[str, Entry] = {
    "big-lama": Entry(
        "generator",
        "Big LaMa, the authors' best model: LaMa-Fourier with 18 blocks",
        "big-lama.ckpt",
        "https://huggingface.co/smartywu/big-lama/resolve/05cb2be7f8dbe6ca7c6e78f4fc827a4b2baaa4a9/big-lama.zip",
        _LAMA,
        f"4.5 million images of 157 categories of Places365-Challenge. {_PLACES}",
        {"fccb7adffd53ec0974ee5503c3731c2c2f1e7e07856fd9228cdcc0b46fd5d423": 410_046_389},
        "Of the archive that the authors' README names, and of the checkpoint in it: as the "
        "Hugging Face hub lists them. The authors publish none.",
        parameters=50_975_875,
        member="big-lama/models/best.ckpt",
        archive={"f1b358ca24093b93a106183b98a3dea6e8ed09f3b43ea7251eb2c81e7b4575f6": 381_428_720},
        others=("big-lama.pt",),
        mirror="https://huggingface.co/lllyasviel/Annotators/resolve/e4b5a667872ddf7cae85eac2a0c67d97bc534c64/lama.ckpt",
    ),
    "big-lama-torchscript": Entry(
        "generator",
        "Big LaMa as a TorchScript archive, as IOPaint and simple-lama-inpainting give it out",
        "big-lama.pt",
        "https://github.com/Sanster/models/releases/download/add_big_lama/big-lama.pt",
        _LAMA,
        f"As big-lama. {_PLACES}",
        {
            "344c77bbcb158f17dd143070d1e789f38a66c04202311ae3a258ef66667a9ea9": 205_669_692,
            "7ba7aa7ac37a4d41fdbbeba3a2af7ead18058552997e3a3cd1a3b2210c9e6b4c": 205_803_670,
        },
        "Of either project's file, as recorded by their users; IOPaint itself publishes an MD5.",
        parameters=50_975_875,
    ),
    "big-lama-with-discriminator": Entry(
        "generator",
        "Big LaMa with its discriminator, to fine-tune from",
        "big-lama-with-discriminator.ckpt",
        f"{_MIRROR}big-lama-with-discr/models/best.ckpt",
        _LAMA,
        f"As big-lama. {_PLACES}",
        {},
        parameters=50_975_875,
    ),
    "lama-fourier": Entry(
        "generator",
        "LaMa-Fourier, the base model of the paper (Table 1)",
        "lama-fourier.ckpt",
        f"{_MIRROR}lama-places/lama-fourier/models/best.ckpt",
        _LAMA,
        f"Places365-Standard. {_PLACES}",
        {"b2456284b604786a88a38549432ddf2e73a5911f9868ea692b5122e89a5f1f54": 313_967_681},
        "Recorded by one user, who found this mirror's file equal to the authors'; the authors "
        "publish none.",
        parameters=27_048_835,
    ),
    **{
        f"lama-{kind}": Entry(
            "generator",
            f"LaMa-{kind.title()}: the same with {convolutions} convolutions (Table 2)",
            f"lama-{kind}.ckpt",
            f"{_MIRROR}lama-places/lama-{kind}/models/best.ckpt",
            _LAMA,
            f"Places365-Standard. {_PLACES}",
            {},
            parameters=parameters,
            about=388,
        )
        for kind, convolutions, parameters in (
            ("regular", "ordinary", 45_617_731),
            ("dilated", "dilated", 45_645_379),
        )
    },
    "ade20k-resnet50-dilated": Entry(
        "features",
        "Encoder of the published perceptual loss: dilated ResNet50 for scene segmentation",
        "ade20k-resnet50dilated-encoder_epoch_20.pth",
        f"{_MIT}pytorch/ade20k-resnet50dilated-ppm_deepsup/encoder_epoch_20.pth",
        _SEGMENTATION,
        _ADE20K,
        {},
        parameters=23_631_808,
        about=95,
        others=("encoder_epoch_20.pth",),
    ),
    "imagenet-resnet50": Entry(
        "features",
        "The same network trained to classify: for the comparison in the paper's Table 3",
        "resnet50-imagenet.pth",
        f"{_MIT}pretrained_resnet/resnet50-imagenet.pth",
        _SEGMENTATION,
        _OBJECTS,
        {},
        parameters=23_631_808,
        about=103,
    ),
    "lpips-alex": Entry(
        "metric",
        "AlexNet for LPIPS; the linear layers on top come with the package lpips (BSD-2-Clause)",
        "alexnet-owt-7be5be79.pth",
        f"{_TORCHVISION}alexnet-owt-7be5be79.pth",
        _IMAGENET,
        _OBJECTS,
        {"7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02": 244_408_911},
        "First digits in the name that torchvision gives the file, all as recorded by its users.",
        parameters=61_100_840,
    ),
    "lpips-vgg": Entry(
        "metric",
        "VGG16 for LPIPS, the variant that the paper reports; linear layers as above",
        "vgg16-397923af.pth",
        f"{_TORCHVISION}vgg16-397923af.pth",
        _IMAGENET,
        _OBJECTS,
        {"397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0": 553_433_881},
        "First digits in the name that torchvision gives the file, all as recorded by its users.",
        parameters=138_357_544,
    ),
    "inception": Entry(
        "metric",
        "Inception of 2015 for FID, converted from TensorFlow",
        "weights-inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        ("Apache-2.0, says torch-fidelity", "Its source names the licence of tensorflow/models."),
        _OBJECTS,
        {"6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": 95_628_359},
        "First digits in the name of the file, all as recorded by its users.",
        others=("pt_inception-2015-12-05-6726825d.pth",),
        mirror="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
    ),
}
