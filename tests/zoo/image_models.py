"""timm: families with odd pieces. Any other of its models goes by its name too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision_ops  # noqa: F401 - must come before torchvision, which timm imports
from conditioning import conditioned
from torch import nn

import timm  # isort: skip

Made = tuple[nn.Module, tuple[torch.Tensor, ...]]

#: The piece that each family is here for.
_NAMES = {
    "ghost": "ghostnet_100 ghostnetv2_100",
    "mixed depthwise kernels": "mixnet_s tf_mixnet_s",
    "squeeze-excite": "seresnet50 skresnet18 ecaresnet26t gcresnet33ts tinynet_a lcnet_050 rexnet_100 hardcorenas_a",
    "blur pools": "resnetblur18 resnetaa34d",
    "window and grid attention": "maxvit_pico_rw_256 maxxvit_rmlp_nano_rw_256 coatnet_pico_rw_224 swin_tiny_patch4_window7_224",
    "relative position": "swinv2_cr_tiny_224 beit_base_patch16_224 vit_relpos_small_patch16_224 levit_128s",
    "patch merging": "pvt_v2_b0 twins_pcpvt_small nest_tiny efficientformer_l1 efficientformerv2_s0",
    "overlapping patches": "mobilevitv2_050 mobilevit_xxs poolformer_s12 poolformerv2_s12 visformer_tiny",
    "pixel shuffle and unshuffle": "tresnet_m focalnet_tiny_srf edgenext_xx_small",
    "weight standardization": "nf_regnet_b1 nfnet_l0 resnetv2_50 skresnext50_32x4d",
    "layer scale": "cait_xxs24_224 xcit_nano_12_p16_224 convnext_atto deit3_small_patch16_224 caformer_s18",
    "response norm": "convnextv2_atto",
    "RMS norm": "vit_small_patch16_rope_224 convformer_s18",
    "einsum": "halonet26t lambda_resnet26t botnet26t_256 eca_botnext26ts_256",
    "unfold and fold": "volo_d1_224 tnt_s_patch16_224",
    "token mixing": "mixer_s32_224 resmlp_12_224 gmixer_24_224 gmlp_s16_224 convmixer_768_32 sequencer2d_s",
    "reparametrized": "fastvit_t8 repvit_m1 mobileone_s0 repvgg_a0 repghostnet_050",
    "split convs and paths": "dla34 dla46_c hrnet_w18_small res2net50_26w_4s resnest14d cspresnet50 vovnet39a ese_vovnet19b_dw",
    "fused blocks": "mobilenetv4_conv_small mobilenetv4_hybrid_medium fbnetv3_b efficientvit_b0 efficientvit_m0 "
    "tf_efficientnetv2_b0",
    "plain transformers": "vit_tiny_patch16_224 pit_ti_224 crossvit_tiny_240 davit_tiny gcvit_xxtiny hiera_tiny_224 "
    "eva02_tiny_patch14_224",
    "others": "gernet_s selecsls42b inception_v4 xception41 dpn68 nasnetalarge pnasnet5large starnet_s1 inception_next_atto "
    "rdnet_tiny mambaout_femto shvit_s1 tiny_vit_5m_224 nextvit_small sam2_hiera_tiny test_vit regnetz_005 hgnetv2_b0",
}


def _make(name: str) -> Made:
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False).eval()
    size = module.pretrained_cfg.get("input_size", (3, 224, 224))
    example = (torch.rand(1, *size),)
    return conditioned(module, example), example


FACTORIES: dict[str, Callable[[], Made]] = {
    name: partial(_make, name) for names in _NAMES.values() for name in names.split() if timm.is_model(name)
}


def __getattr__(name: str) -> Any:
    if not name.startswith("_") and timm.is_model(name):
        return partial(_make, name)
    raise AttributeError(name)
