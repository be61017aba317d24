"""Which family file holds which models, so that a family is imported when one of its models is asked for."""

# family file -> the names in its TABLE, in the same order
INDEX: dict[str, tuple[str, ...]] = {
    "alexnet": ("alexnet", "caffenet", "alexnet_cs231n", "alexnet_owt"),
    "allcnn": (
        *("model_a", "strided_cnn_a", "convpool_cnn_a", "all_cnn_a"),
        *("model_b", "strided_cnn_b", "convpool_cnn_b", "all_cnn_b"),
        *("model_c", "strided_cnn_c", "convpool_cnn_c", "all_cnn_c", "all_cnn_b_imagenet"),
    ),
    "bn_inception": ("bn_inception",),
    "caffe_zoo": ("cifar10_quick", "cifar10_full"),
    "darts": ("darts_imagenet",),
    "densenet": (
        *("densenet40_k12_cifar10", "densenet100_k12_cifar10", "densenet100_k24_cifar10"),
        *("densenet_bc100_k12_cifar10", "densenet_bc250_k24_cifar10", "densenet_bc190_k40_cifar10"),
        *("densenet121", "densenet161", "densenet169", "densenet201", "densenet264", "densenet264_k48"),
    ),
    "dla": (
        *("dla34", "dla46_c", "dla46x_c", "dla60", "dla60x", "dla60x_c"),
        *("dla102", "dla102x", "dla102x2", "dla169"),
    ),
    "efficientnet": tuple(f"efficientnet_b{number}" for number in range(9)),
    "effnet": ("effnet_cifar10", "effnet_baseline_cifar10"),
    "elu_net": (
        *("elu11_cifar100", "elu18_cifar100"),
        *("elu_resnet20_cifar10", "elu_resnet32_cifar10", "elu_resnet44_cifar10", "elu_resnet56_cifar10"),
        "elu_resnet110_cifar10",
    ),
    "enas": ("enas_macro_cifar10", "enas_micro_cifar10"),
    "fractal_of_fractalnet": ("fractal_of_fractalnet", "fof_tsn", "sbn_fdp", "tsn_fdp"),
    "fractalnet": (
        *("fractalnet20_cifar10", "fractalnet_c1_d5_cifar100", "fractalnet_c2_d10_cifar100"),
        *("fractalnet_c3_d20_cifar100", "fractalnet_c4_d40_cifar100", "fractalnet_c5_d80_cifar100"),
        *("fractalnet_c6_d160_cifar100", "fractalnet40_c4_cifar10", "fractalnet40_c4_avgpool_cifar10"),
        "fractalnet34_imagenet",
    ),
    "googlenet": ("googlenet", "googlenet_aux", "googlenet_bn_tv", "googlenet_bn_tv_aux", "googlenet_bn_5x5"),
    "highway": (
        *("highway_fc10_mnist", "plain_fc10_mnist", "highway_fc20_mnist", "plain_fc20_mnist"),
        *("highway_fc50_mnist", "plain_fc50_mnist", "highway_fc100_mnist", "plain_fc100_mnist"),
        "highway_conv_cifar10",
    ),
    "inception_resnet": ("inception_resnet_v1", "inception_resnet_v2"),
    "inception_v3": ("inception_v3", "inception_v3_aux"),
    "inception_v4": ("inception_v4",),
    "lenet": ("lenet5_1998", "lenet5", "lenet_caffe"),
    "mnasnet": ("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    "mobilenet_v1": (
        *(f"mobilenet_v1_{a}_{side}" for a in ("1.0", "0.75", "0.5", "0.25") for side in (224, 192, 160, 128)),
        *("conv_mobilenet", "shallow_mobilenet"),
    ),
    "mobilenet_v2": (
        *("mobilenet_v2_1.4_224", "mobilenet_v2_1.3_224"),
        *(f"mobilenet_v2_{a}_{side}" for a in ("1.0", "0.75", "0.5", "0.35") for side in (224, 192, 160, 128, 96)),
    ),
    "mobilenet_v3": (
        *(f"mobilenet_v3_large_1.0_{side}" for side in (256, 224, 192, 160, 128, 96)),
        *("mobilenet_v3_large_0.75_224", "mobilenet_v3_large_minimal"),
        *(f"mobilenet_v3_small_1.0_{side}" for side in (256, 224, 192, 160, 128, 96)),
        *("mobilenet_v3_small_0.75_224", "mobilenet_v3_small_minimal"),
    ),
    "multiresnet": (
        *("multiresnet200_k5_cifar10", "multiresnet398_k5_cifar10"),
        *("multiresnet26_k2_w10_cifar10", "multiresnet26_k4_w10_cifar10"),
    ),
    "nas_v1": ("nas_v1_cifar10",),
    "nasnet": ("nasnet_a_mobile", "nasnet_a_large"),
    "nin": ("nin_cifar10", "nin_cifar100", "nin_imagenet"),
    "pnasnet": ("pnasnet5_large",),
    "polynet": ("polynet",),
    "prelunet": ("prelunet_a", "prelunet_b", "prelunet_c"),
    "preresnet": (
        *("preresnet18", "preresnet34", "preresnet50", "preresnet101", "preresnet152", "preresnet200"),
        *("preresnet110_cifar10", "preresnet164_cifar10", "preresnet164_cifar100"),
        *("preresnet1001_cifar10", "preresnet1001_cifar100"),
    ),
    "res2net": (
        *("res2net50_48w_2s", "res2net50_26w_4s", "res2net50_14w_8s", "res2net50_26w_6s", "res2net50_26w_8s"),
        *("res2net101_26w_4s", "res2net50_v1b", "res2net101_v1b", "se_res2net50_26w_4s"),
    ),
    "res2net_dla": ("res2net_dla60", "res2next_dla60"),
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
    "rir": ("rir_cifar10",),
    "ror": ("ror3_56_cifar10", "ror3_110_cifar10", "ror3_164_cifar10", "ror3_wrn58_4_cifar10"),
    "senet": (
        *("seresnet18", "seresnet34", "seresnet50_v1", "seresnet50", "seresnet101_v1", "seresnet101"),
        *("seresnet152_v1", "seresnet152", "seresnet200", "seresnext50_32x4d", "seresnext101_32x4d"),
        *("seresnext101_64x4d", "seresnext152_32x4d", "seresnext152_64x4d", "senet154"),
        *("seresnet20_cifar10", "seresnet56_cifar10", "seresnet110_cifar10", "seresnet164_cifar10"),
    ),
    "senet_hosts": ("se_bn_inception", "se_wrn16_8_cifar10", "se_vgg16_bn"),
    "senet_mobile": ("se_mobilenet_v1", "se_shufflenet_v1_g3"),
    "shufflenet_v1": (
        *(f"shufflenet_v1_g{g}_1.0x" for g in (1, 2, 3, 4, 8)),
        *(f"shufflenet_v1_g{g}_{s}x" for g in (3, 8) for s in ("0.5", "1.5", "2.0")),
    ),
    "shufflenet_v2": tuple(f"shufflenet_v2_{s}x" for s in ("0.5", "1.0", "1.5", "2.0")),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1", "squeezenet1_0_bypass", "squeezenet1_0_complex_bypass"),
    "stn": ("stn_mnist_tutorial", "stn_mnist_addition"),
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
    "xception": ("xception",),
    "xception_aligned": ("xception41", "xception65", "xception71"),
    "zfnet": ("zfnet", "zfnet_512_1024_512"),
}
# short name -> name
ALIASES: dict[str, str] = {
    name.removesuffix("_cifar10"): name
    for family in ("preresnet", "resnet_cifar", "resnext", "senet", "senet_hosts", "stochastic_depth", "wide_resnet")
    for name in INDEX[family]
    if name.endswith("_cifar10")
}
