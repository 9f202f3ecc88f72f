"""Features made by an earlier version stay the same features: recipes keep the digests that version 0.1.0 gave them."""

from typing import Any

import pytest

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.dualformer.config import VARIANTS as DUALFORMERS
from longvid.encoders.mobile_former.build import VARIANTS as MOBILE_FORMERS
from longvid.encoders.xvit.build import VARIANTS as XVITS
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.plan import make_recipe
from longvid.plain import as_json
from longvid.stores import Recipe

WRITTEN_BY_0_1_0 = {
    "sampling/defaults": "d143dac8c66f477ae5d8ca2b18b948f2b1f57cffde329f1a85c63ebd227cc565",
    "sampling/dense": "60624199d8ab25812f31cba27f491ada7203a51113588f0dbab5f9bc3ad0f8d6",
    "sampling/segments": "c943fea3d5338fea7bf1dd7fea4be913ba16290c1bf59c75351bec8a1a08fe82",
    "sampling/fraction": "e1cee7429f4c683750eb6c3b3176b75b577962ded59683af78b8767ef77dd396",
    "preprocessing/defaults": "d143dac8c66f477ae5d8ca2b18b948f2b1f57cffde329f1a85c63ebd227cc565",
    "preprocessing/squash": "d4fb8a36d0358211fe21149b67c3bc116e30219fd9cfa200833757de9d6e625a",
    "preprocessing/imagenet": "273547d5ab6da5e66cf1686e1bf959f30e5853735d76ad0b0b84416881fe45cf",
    "preprocessing/zero": "246a3d5251db7347f96e079dbb8ba5392287e295436b99c8e615a8906df5f5d5",
    "encoder/xvit-b16-8f": "1c65ab15a41a3d6b2116d483ee2a09d6d4d95db600e400e4b6b9cb4487d67957",
    "encoder/xvit-b16-16f": "1c65ab15a41a3d6b2116d483ee2a09d6d4d95db600e400e4b6b9cb4487d67957",
    "encoder/xvit-ssv2-b16-8f": "368a7d4d78ecc81e1e8e6a76bec9395f48efcdd5549800fcb5e6d2877707afaa",
    "encoder/xvit-ssv2-b16-16f": "44fc9ac7a1f9ccf1ec2cef28d2db088ce8a2ce8d68fdcc526029f1cfa027edc1",
    "encoder/xvit-b16-8f-summary": "603d32d445077891e8b355c7c1cba5a7e5935e12915404ff04fd7f6789114f5a",
    "encoder/dualformer-tiny": "34f4e395109d7750d21870eecae7a22ad03ef857672f81dd805cfafccfcdf3e7",
    "encoder/dualformer-small": "117aa5a7e004208be86a63d7e507a482b143e72a3961200abb2de7ba50811659",
    "encoder/dualformer-base": "d1e3b6dfcb802fdc56c35ae1514271f563f975da4e17c72de7c4ce9dbd63dac0",
    "encoder/mobile-former-26m": "900153db256903ed65a301124912a90c6cce7a307f528de83b09ea8d0a0723aa",
    "encoder/mobile-former-52m": "9d9209801cd064697b6045ce2c672d95fa4b808510500836f60fbc58fadbf59c",
    "encoder/mobile-former-96m": "4add70857c592bde9e12e8922e7ee86745c481a7d926e48c5e863fcc098ab5a5",
    "encoder/mobile-former-151m": "35b4cc8ef5269e0395323bb7dba62ea5de3e84377b1bda1f3bca88e9774221ae",
    "encoder/mobile-former-214m": "860effbf66dd4c05c1a7351bb24fcf68ddb9cf537f921b68bbd5aa7fc56d4fa5",
    "encoder/mobile-former-294m": "a56c160c6057f5aa56a5f614d9b6c90663e0e9dbd6eb830957fbabfff90df9d4",
    "encoder/mobile-former-508m": "59dfce20ab7bfc7a0b4d9b49f51e7e97e4b4b1ee51a944e6488ecadc17a54646",
    "encoder/video-mobile-former-500m": "9e622bc454866b10b2b176d5ae40e6b93786bdd97abe7046b65b886d0bbf52cd",
    "encoder/video-mobile-former-1g": "2e6bf712d59783ed65191f57206f235fca9b53d1e819bc50b70abdcc1a7b57ee",
    "encoder/video-mobile-former-1g-32f": "9e622bc454866b10b2b176d5ae40e6b93786bdd97abe7046b65b886d0bbf52cd",
    "encoder/video-mobile-former-2g": "4d986937f6e31a22bf92081a95d2ac9f0b4b7acbecb23f30ff3ba183c77c8f3e",
    "encoder/video-mobile-former-4g": "82cdff46bf097e9faf3ddb9a82057f8a0dab9917b09ac34d4edc905acca9bf06",
    "encoder/video-mobile-former-6g": "d954efe53640bf2d29174ad8caa812888a58b1384f1b2a9ca0b74359db1ab811",
    "job/patch-statistics": "f8a3fcbfa8a246a67aea508ccdbcb2c573d9e6c2f2b772db510b3e7baac13869",
}

SAMPLINGS = {
    "defaults": Sampling(),
    "dense": Sampling(4, 2, 1.5, end="shift"),
    "segments": Sampling(frames=16, fps=None, segments=32, span="listed"),
    "fraction": Sampling(frames=8, fps=12.5, stride_seconds=0.04, end="drop"),
}
GEOMETRIES = {
    "defaults": Preprocessing(),
    "squash": Preprocessing(64, 96, resize="squash", squash_side=112, interpolation="area"),
    "imagenet": Preprocessing(
        short_side=256, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "zero": Preprocessing(mean=(0, 0, 0), std=(1, 1, 1)),
}
ENCODERS: dict[str, Any] = {
    **{name: variant.config for name, variant in XVITS.items()},
    **DUALFORMERS,
    **{name: variant.config for name, variant in MOBILE_FORMERS.items()},
}


def digest_of(
    config: Any = None, sampling: Sampling = SAMPLINGS["defaults"], geometry: Preprocessing = GEOMETRIES["defaults"]
) -> str:
    return Recipe(
        encoder="e",
        encoder_config={} if config is None else as_json(config),
        weights_sha256="",
        sampling=sampling.to_dict(),
        preprocessing=as_json(geometry),
        pooling="mean",
        num_tokens=1,
        dim=8,
    ).digest


def digest_now(name: str) -> str:
    kind, _, part = name.partition("/")
    if kind == "sampling":
        return digest_of(sampling=SAMPLINGS[part])
    if kind == "preprocessing":
        return digest_of(geometry=GEOMETRIES[part])
    if kind == "encoder":
        return digest_of(ENCODERS[part])
    job = ExtractionJob(
        part,
        sampling=Sampling(2, 4.0, 1),
        preprocessing={"mean": [0.1, 0.2, 0.3]},
        pooling="mean",
        dtype="float32",
    )
    return make_recipe(job, job.build()).digest


@pytest.mark.parametrize("name", WRITTEN_BY_0_1_0)
def test_a_recipe_keeps_its_digest(name: str) -> None:
    assert digest_now(name) == WRITTEN_BY_0_1_0[name]


NEWER = {"encoder/dualformer-nano", "encoder/video-mobile-former-nano", "encoder/xvit-nano"}
"""Encoders that 0.1.0 did not have."""


def test_every_built_in_encoder_with_settings_is_held_to_its_digest() -> None:
    assert {f"encoder/{name}" for name in ENCODERS} - NEWER <= set(WRITTEN_BY_0_1_0)
