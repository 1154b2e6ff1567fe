"""The networks, with an example of their inputs and what their ports look like."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tests.support.port_nets import (
    audio_codec,
    conformer,
    convnext,
    crnn,
    gtcrn,
    mobilevit,
    shufflenet,
    squeeze_excite,
    super_resolution,
    swin,
    transformer,
    unet,
    vae,
    video,
    wavenet,
)


@dataclass(frozen=True)
class Net:
    """One network.

    Attributes:
      make: makes the torch module.
      example: the shapes of its inputs, as `port` takes them; a dtype in front of integers.
      transpositions: how many transpositions of its maps cannot be avoided.
      other: a second size of the inputs, if it takes one.
      needs: the layers of `jaxgroups.nnx` that it needs.
    """

    name: str
    make: Callable[[], Any]
    example: tuple[Any, ...]
    transpositions: int = 0
    other: tuple[Any, ...] | None = None
    needs: tuple[str, ...] = ()


NETS = [
    Net("convnext", convnext.ConvNeXt, (1, 3, 32, 48), 0, (2, 3, 48, 24)),
    Net("unet", unet.UNet, (1, 3, 21, 30), 0, (2, 3, 26, 23)),
    Net("unet_bilinear", lambda: unet.UNet(bilinear=True), (1, 3, 21, 30), 0, (2, 3, 26, 23)),
    Net("vae_encoder", vae.Encoder, (1, 3, 12, 16), 0),
    Net("vae_decoder", vae.Decoder, (1, 6), 1, (3, 6)),
    Net("vae_view_decoder", vae.ViewDecoder, (1, 6), 1, (3, 6)),
    Net("audio_codec", audio_codec.codec, (1, 1, 64), 0, (2, 1, 88)),
    Net("audio_codec_old", audio_codec.old_codec, (1, 1, 64), 0, (2, 1, 88)),
    Net("wavenet", wavenet.WaveNet, (1, 6, 20), 0, (2, 6, 31)),
    Net("wavenet_gated", wavenet.GatedWaveNet, ((1, 8, 20), (1, 1, 20)), 0, ((2, 8, 9), (2, 1, 9))),
    Net("conformer", conformer.Conformer, (1, 14, 12), 0, (2, 9, 12)),
    Net("attention_pool", transformer.AttentionPool, (1, 7, 12), 0, (2, 5, 12)),
    Net("text_classifier", transformer.TextClassifier, (torch.arange(14).reshape(2, 7),)),
    Net("crnn", crnn.CRNN, (1, 1, 16, 20), 1, (2, 1, 16, 28), ("LSTM",)),
    Net("crnn_columns", crnn.ConvClassifier, (1, 1, 16, 20), 1, (2, 1, 16, 28)),
    Net("video", video.VideoResNet, (1, 3, 6, 16, 20), 0, (2, 3, 4, 20, 12)),
    Net("squeeze_excite", squeeze_excite.MobileNetSE, (1, 3, 20, 24), 0, (2, 3, 16, 28)),
    Net("gtcrn", gtcrn.GTCRN, (1, 17, 6, 2), 12, (2, 17, 9, 2), ("GRU",)),
    Net("gtcrn_convolutions", gtcrn.without_recurrence, (1, 17, 6, 2), 10, (2, 17, 9, 2)),
    Net("mobilevit", mobilevit.MobileViTBlock, (1, 6, 8, 12), 2, (2, 6, 10, 6)),
    Net("mobilevit_folding", mobilevit.FoldingBlock, (1, 6, 8, 12), 7, (2, 6, 10, 6)),
    Net("shufflenet", shufflenet.one_shuffle, (1, 3, 32, 40), 1, (2, 3, 40, 24)),
    Net("shufflenet_stages", shufflenet.stages, (1, 3, 32, 40), 3, (2, 3, 40, 24)),
    Net("edsr", super_resolution.EDSR, (1, 3, 7, 9), 0, (2, 3, 10, 6)),
    Net("space_to_depth", super_resolution.SpaceDepthNet, (1, 3, 8, 12), 2, (2, 3, 10, 6)),
    Net("swin", swin.Swin, (1, 3, 16, 24), 6, (2, 3, 16, 24)),
]
