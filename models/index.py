"""Which family file holds which models, so that a family is imported when one of its models is asked for."""

# family file -> the names in its TABLE, in the same order
INDEX: dict[str, tuple[str, ...]] = {
    "alexnet": ("alexnet", "caffenet", "alexnet_cs231n", "alexnet_owt"),
    "bn_inception": ("bn_inception",),
    "caffe_zoo": ("cifar10_quick", "cifar10_full"),
    "densenet": (
        *("densenet40_k12_cifar10", "densenet100_k12_cifar10", "densenet100_k24_cifar10"),
        *("densenet_bc100_k12_cifar10", "densenet_bc250_k24_cifar10", "densenet_bc190_k40_cifar10"),
        *("densenet121", "densenet161", "densenet169", "densenet201", "densenet264", "densenet264_k48"),
    ),
    "googlenet": ("googlenet", "googlenet_aux", "googlenet_bn_tv", "googlenet_bn_tv_aux", "googlenet_bn_5x5"),
    "inception_resnet": ("inception_resnet_v1", "inception_resnet_v2"),
    "inception_v3": ("inception_v3", "inception_v3_aux"),
    "inception_v4": ("inception_v4",),
    "lenet": ("lenet5_1998", "lenet5", "lenet_caffe"),
    "nin": ("nin_cifar10", "nin_cifar100", "nin_imagenet"),
    "preresnet": (
        *("preresnet18", "preresnet34", "preresnet50", "preresnet101", "preresnet152", "preresnet200"),
        *("preresnet110_cifar10", "preresnet164_cifar10", "preresnet164_cifar100"),
        *("preresnet1001_cifar10", "preresnet1001_cifar100"),
    ),
    "res2net": (
        *("res2net50_48w_2s", "res2net50_26w_4s", "res2net50_14w_8s", "res2net50_26w_6s", "res2net50_26w_8s"),
        *("res2net101_26w_4s", "res2net50_v1b", "res2net101_v1b", "se_res2net50_26w_4s"),
    ),
    "res2next": (
        *("res2next50", "res2next29_6c24w4s_cifar100", "res2next29_8c25w4s_cifar100"),
        "res2next29_6c24w6s_cifar100",
    ),
    "resnet": (
        *("plain18", "resnet18_a", "resnet18", "resnet18_c", "plain34", "resnet34_a", "resnet34", "resnet34_c"),
        *("resnet50_v1", "resnet101_v1", "resnet152_v1", "resnet50", "resnet101", "resnet152", "resnet200"),
        "resnet269",
    ),
    "resnet_cifar": (
        *("plain20_cifar10", "plain32_cifar10", "plain44_cifar10", "plain56_cifar10", "plain110_cifar10"),
        *("resnet20_cifar10", "resnet32_cifar10", "resnet44_cifar10", "resnet56_cifar10", "resnet110_cifar10"),
        *("resnet1202_cifar10", "resnet164_cifar10"),
    ),
    "resnext": (
        *("resnext50_2x40d", "resnext50_4x24d", "resnext50_8x14d", "resnext50_32x4d"),
        *("resnext101_2x40d", "resnext101_4x24d", "resnext101_8x14d", "resnext101_32x4d"),
        *("resnext101_2x64d", "resnext101_64x4d", "resnet101_1x100d", "resnext101_32x8d"),
        *("resnext152_32x4d", "resnext152_64x4d"),
        *("resnext29_8x64d_cifar10", "resnext29_16x64d_cifar10", "resnext29_1x64d_cifar10"),
    ),
    "senet": (
        *("seresnet18", "seresnet34", "seresnet50_v1", "seresnet50", "seresnet101_v1", "seresnet101"),
        *("seresnet152_v1", "seresnet152", "seresnet200", "seresnext50_32x4d", "seresnext101_32x4d"),
        *("seresnext101_64x4d", "seresnext152_32x4d", "seresnext152_64x4d", "senet154"),
        *("seresnet20_cifar10", "seresnet56_cifar10", "seresnet110_cifar10", "seresnet164_cifar10"),
    ),
    "senet_hosts": ("se_bn_inception", "se_wrn16_8_cifar10", "se_vgg16_bn"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1", "squeezenet1_0_bypass", "squeezenet1_0_complex_bypass"),
    "stochastic_depth": ("resnet110_sd_cifar10", "resnet1202_sd_cifar10", "resnet152_sd"),
    "vgg": (
        *("vgg11", "vgg11_lrn", "vgg13", "vgg16_c", "vgg16", "vgg19"),
        *("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
    ),
    "wide_resnet": (
        *("wrn40_1_cifar10", "wrn40_1_cifar100", "wrn40_2_cifar10", "wrn40_2_cifar100"),
        *("wrn40_4_cifar10", "wrn40_4_cifar100", "wrn40_8_cifar10", "wrn40_8_cifar100"),
        *("wrn28_10_cifar10", "wrn28_10_cifar100", "wrn28_12_cifar10", "wrn28_12_cifar100"),
        *("wrn22_8_cifar10", "wrn22_8_cifar100", "wrn22_10_cifar10", "wrn22_10_cifar100"),
        *("wrn16_8_cifar10", "wrn16_8_cifar100", "wrn16_10_cifar10", "wrn16_10_cifar100", "wrn40_10_cifar10"),
        *("wide_resnet50_2", "wide_resnet101_2", "wrn18_1.5_imagenet", "wrn18_2_imagenet", "wrn18_3_imagenet"),
        *("wrn34_1.5_imagenet", "wrn34_2_imagenet"),
    ),
    "zfnet": ("zfnet", "zfnet_512_1024_512"),
}
# short name -> name
ALIASES: dict[str, str] = {
    name.removesuffix("_cifar10"): name
    for family in ("preresnet", "resnet_cifar", "resnext", "senet", "senet_hosts", "stochastic_depth", "wide_resnet")
    for name in INDEX[family]
    if name.endswith("_cifar10")
}
