"""What makes a Mobile-Former a video net: each choice the paper would have made for us, shown to matter."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from longvid.encoders.mobile_former import MobileFormer, MobileFormerConfig, for_video, inflate
from longvid.errors import EncoderError, WeightsError

Scramble = Callable[..., MobileFormer]


@pytest.fixture
def clip() -> Tensor:
    return torch.randn(1, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def still() -> Tensor:
    return torch.randn(2, 3, 1, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
@pytest.mark.parametrize("time_strides", [(), (1, 2), (2, 2)], ids=str)
def test_a_still_video_gives_the_logits_of_the_image_net(
    frames: int, time_strides: tuple[int, ...], tiny: MobileFormerConfig, scrambled: Scramble, still: Tensor
) -> None:
    image = scrambled(tiny).double()
    video = inflate(image, for_video(tiny, num_classes=10, time_strides=time_strides)).double().eval()
    with torch.no_grad():
        expected = image.classify(still.double())
        actual = video.classify(still.double().expand(-1, -1, frames, -1, -1))
    torch.testing.assert_close(actual, expected)


def test_spreading_the_kernel_over_the_taps_does_not_keep_the_image_nets_logits(
    tiny: MobileFormerConfig, scrambled: Scramble, still: Tensor
) -> None:
    image = scrambled(tiny)
    video = inflate(image, for_video(tiny, num_classes=10)).eval()
    with torch.no_grad():
        for kernel in video.temporal_taps():
            kernel.fill_(1 / 3)
        apart = video.classify(still.expand(-1, -1, 8, -1, -1)) - image.classify(still)
    assert apart.abs().max() > 0.01


def test_without_taps_the_net_is_blind_to_the_order_of_frames(
    tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    image = scrambled(tiny).double()
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    with torch.no_grad():
        scores = image.classify(clip.double())
        torch.testing.assert_close(image.classify(clip.double()[:, :, order]), scores)
        tokens = image(clip.double()).tokens
        torch.testing.assert_close(image(clip.double()[:, :, order]).tokens, tokens[:, order])


@pytest.mark.parametrize("order", [range(7, -1, -1), (1, 0, 2, 3, 4, 5, 6, 7)], ids=["reversed", "two swapped"])
def test_with_taps_the_net_sees_the_order_of_frames(
    order: range, tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    video = scrambled(for_video(tiny, num_classes=10))
    with torch.no_grad():
        apart = video.classify(clip[:, :, list(order)]) - video.classify(clip)
    assert apart.abs().max() > 1e-3


def test_a_net_from_scratch_is_not_blind_to_order_and_an_inflated_one_is(
    tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    def apart(net: MobileFormer) -> float:
        with torch.no_grad():
            before, after = (
                net.double().eval()(frames.double()).tokens.mean((1, 2)) for frames in (clip, clip.flip(2))
            )
        return float((before - after).abs().max())

    config = for_video(tiny, num_classes=10)
    torch.manual_seed(0)
    assert apart(MobileFormer(config)) > 1e-5
    assert apart(inflate(scrambled(tiny), config)) < 1e-9


def test_every_global_token_sees_every_frame_of_the_clip(
    tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    """Even in the image net, whose maps of one frame know nothing of another's except through the tokens."""
    image = scrambled(tiny)
    clip = clip.requires_grad_()
    tokens = image(clip).global_tokens
    assert tokens is not None
    for slot in range(tokens.shape[1]):
        (gradient,) = torch.autograd.grad(tokens[0, slot].square().sum(), clip, retain_graph=True)
        assert (gradient.abs().amax(dim=(0, 1, 3, 4)) > 0).all(), f"token {slot}"


def test_tokens_of_one_clip_know_nothing_of_another(
    tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    video = scrambled(for_video(tiny))
    clips = torch.cat([clip, clip.flip(3)]).requires_grad_()
    tokens = video(clips).global_tokens
    assert tokens is not None
    (gradient,) = torch.autograd.grad(tokens[0].square().sum(), clips)
    assert gradient[0].abs().max() > 0
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_what_one_frame_shows_reaches_the_map_of_every_other_through_the_tokens(
    tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    video = scrambled(for_video(tiny)).double()
    changed = clip.double().clone()
    changed[:, :, 0] += 1
    with torch.no_grad():
        apart = (video(changed).tokens - video(clip.double()).tokens).abs().amax(dim=(0, 2, 3))
        for module in video.modules():
            if hasattr(module, "value") and hasattr(module, "key"):  # Write, silenced
                module.value.weight.zero_()
                module.value.bias.zero_()
        with_relu = (video(changed).tokens - video(clip.double()).tokens).abs().amax(dim=(0, 2, 3))
    assert (apart > 1e-6).all()
    assert (with_relu > 1e-9).all(), "the dynamic ReLU is set by the whole clip as well"


@pytest.mark.parametrize(("strides", "times"), [((), 7), ((1, 2), 4), ((2, 2), 2)], ids=str)
def test_stride_in_time_shortens_the_map_and_the_default_keeps_every_frame(
    strides: tuple[int, ...], times: int, tiny: MobileFormerConfig, scrambled: Scramble, clip: Tensor
) -> None:
    video = scrambled(for_video(tiny, time_strides=strides))
    with torch.no_grad():
        assert video(clip[:, :, :7]).tokens.shape == (1, times, 16, 120)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 33, 47), (5, 8, 8), (2, 1, 1)], ids=str)
def test_clips_of_any_length_and_size_are_taken(
    shape: tuple[int, int, int], tiny: MobileFormerConfig, scrambled: Scramble
) -> None:
    video = scrambled(for_video(tiny))
    with torch.no_grad():
        output = video(torch.randn(1, 3, *shape))
    rows, columns = (-(-side // 8) for side in shape[1:])
    assert output.tokens.shape == (1, shape[0], rows * columns, 120)
    assert all(torch.isfinite(part).all() for part in output if part is not None)


def test_a_gradient_reaches_every_weight(tiny: MobileFormerConfig, scrambled: Scramble) -> None:
    """In evaluation mode, where batch norm is folded into the kernels, as in training."""
    video = scrambled(for_video(tiny, num_classes=10))
    clips = torch.randn(4, 3, 4, 32, 32, generator=torch.Generator().manual_seed(3))
    for mode in (video.eval(), video.train()):
        mode.zero_grad()
        mode.classify(clips).square().sum().backward()
        still = [name for name, p in mode.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        assert not still, still


def test_images_are_not_taken_for_clips(tiny: MobileFormerConfig) -> None:
    with pytest.raises(EncoderError, match="an image is a clip of one frame"):
        MobileFormer(tiny)._run(torch.zeros(2, 3, 32, 32))


def test_inflation_into_other_widths_is_refused_with_the_shapes(tiny: MobileFormerConfig, scrambled: Scramble) -> None:
    wider = for_video(replace(tiny, fused_dim=30), num_classes=10)
    with pytest.raises(WeightsError, match=r"head\.fuse\.weight"):
        inflate(scrambled(tiny), wider)


def test_inflation_to_other_classes_starts_the_class_layer_afresh(
    tiny: MobileFormerConfig, scrambled: Scramble
) -> None:
    image = scrambled(tiny)
    video = inflate(image, for_video(tiny, num_classes=7))
    assert video.classifier.weight.shape == (7, 24)
    assert torch.equal(video.head.fuse.weight, image.head.fuse.weight)
