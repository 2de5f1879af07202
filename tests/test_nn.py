"""Every network keeps one contract; what is special about each, and the losses."""

import json
from functools import partial

import pytest
import torch

from medlearn.nn import DeepLabV3Plus, UNet, VNet, build, dice_ce_loss, dice_loss
from medlearn.nn.blocks import ResidualBlock, SeparableConvNormAct
from medlearn.nn.losses import cross_entropy_loss

NETWORKS = {
    "unet": partial(UNet, widths=(4, 8, 16)),
    "unet-instance": partial(UNet, widths=(8, 16), norm="instance", dropout=0.5),
    "unet-group": partial(UNet, widths=(8, 16), norm="group"),
    "unet-deep": partial(UNet, widths=(4, 8, 8), residual=True, up="transposed", deep_supervision=True),
    "unet-plain": partial(UNet, widths=(4, 8), norm=None, strides=(3,), kernels=(3, 5)),
    "vnet": partial(VNet, widths=(4, 8, 8)),
    "vnet-plain": partial(VNet, widths=(4, 8), norm=None),
    "deeplab": partial(DeepLabV3Plus, widths=(4, 4, 8, 8), channels=8, rates=(1, 2, 3), dropout=0.1),
    "deeplab-separable": partial(
        DeepLabV3Plus, widths=(4, 4, 8, 8), channels=8, rates=(1, 2), output_stride=8, separable=True
    ),
}


def every_network(function):
    return pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)(function)


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("ndim", "size"), [(2, (16, 32)), (2, (17, 31)), (3, (8, 16, 8)), (3, (5, 9, 17))])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 4)])
class TestEveryNetwork:
    def make(self, network, ndim, in_channels, out_channels):
        torch.manual_seed(0)
        return network(ndim=ndim, in_channels=in_channels, out_channels=out_channels)

    def test_logits_have_the_size_of_the_image_and_every_weight_learns(
        self, network, ndim, size, in_channels, out_channels
    ):
        model = self.make(network, ndim, in_channels, out_channels)
        images, target = torch.randn(2, in_channels, *size), torch.randint(0, max(out_channels, 2), (2, *size))
        logits = model(images)
        assert logits.shape == (2, out_channels, *size)
        loss = dice_ce_loss(logits, target)
        if model.config.get("deep_supervision"):
            loss = loss + sum(scale.square().mean() for scale in model.forward_scales(images)[1:])
        loss.backward()
        for name, weight in model.named_parameters():
            assert torch.isfinite(weight.grad).all(), name
            assert weight.grad.abs().sum() > 0, name

    def test_evaluation_is_deterministic_and_survives_rebuilding(self, network, ndim, size, in_channels, out_channels):
        model = self.make(network, ndim, in_channels, out_channels).eval()
        images = torch.randn(2, in_channels, *size)
        copy = build(json.loads(json.dumps(model.config))).eval()
        copy.load_state_dict(model.state_dict())
        assert copy.config == model.config
        with torch.no_grad():
            logits = model(images)
            torch.testing.assert_close(model(images), logits, rtol=0, atol=0)
            torch.testing.assert_close(copy(images), logits, rtol=0, atol=0)


@every_network
def test_bf16_agrees_with_fp32(network):
    torch.manual_seed(0)
    model = network().eval()
    images = torch.randn(2, 1, *[32] * model.config["ndim"])
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            half = model(images)
        torch.testing.assert_close(half.float(), model(images), rtol=0.1, atol=0.1)


@every_network
def test_a_gpu_agrees_with_the_cpu(network):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    torch.manual_seed(0)
    model = network().eval()
    images = torch.randn(2, 1, *[32] * model.config["ndim"])
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(model.cuda()(images.cuda()).cpu(), expected, rtol=1e-2, atol=1e-2)  # TF32


@every_network
def test_one_case_is_learned_by_heart(network):
    """A bright disk under noise; 100 steps, without dropout."""
    torch.manual_seed(0)
    model = network(ndim=2, **({"dropout": 0.0} if "dropout" in network.keywords else {}))
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    target = ((y - 13) ** 2 + (x - 18) ** 2 < 60).long()[None]
    images = target[:, None] + 0.25 * torch.randn(1, 1, 32, 32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        dice_ce_loss(model(images), target).backward()
        optimizer.step()
    pred = model(images)[:, 0] > 0
    assert 2 * (pred & (target == 1)).sum() / (pred.sum() + target.sum()) > 0.95


def test_the_unet_compiles_as_one_graph():
    """Captured without breaks and differentiated ahead of time; generating code as well would take half a minute."""
    torch.manual_seed(0)
    model = UNet(widths=(4, 8, 16))
    images = torch.randn(2, 1, 30, 32)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    logits = compiled(images)
    logits.mean().backward()
    torch.testing.assert_close(logits, model(images), rtol=1e-4, atol=1e-4)


def test_the_bottom_of_the_network_sees_the_whole_image():
    """Each output pixel of four levels depends on pixels far away; without the bottom level it would not."""
    torch.manual_seed(0)
    model = UNet(widths=(8, 8, 8, 8)).eval()
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    model(images)[0, 0, 32, 32].backward()
    seen = images.grad[0, 0].abs() > 0
    assert seen[32, :].sum() > 40


class TestPaper:
    def test_the_unet_has_as_many_parameters_as_the_figure(self):
        with torch.device("meta"):  # shapes only
            model = UNet.paper()
            assert sum(p.numel() for p in model.parameters()) == 31_030_658
            assert model(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)

    @pytest.mark.parametrize(("size", "result"), [(188, 4), (204, 20), (572, 388), (700, 516)])
    def test_sizes_that_fit(self, size, result):
        model = UNet.paper(widths=(1, 1, 1, 1, 1))
        assert model.output_size((size, 572)) == (result, 388)
        assert model(torch.zeros(1, 1, size, 572)).shape[2:] == (result, 388)

    @pytest.mark.parametrize(("size", "message"), [(570, "570 voxels along W .* use 556 or 572"), (60, "use 188")])
    def test_the_nearest_sizes_are_named_for_others(self, size, message):
        with pytest.raises(ValueError, match=message):
            UNet.paper(widths=(1, 1, 1, 1, 1))(torch.zeros(1, 1, 572, size))

    def test_skips_are_cropped_around_the_center(self):
        """Only the skip carries the image here: what comes out is its middle."""
        model = UNet(widths=(1, 1), norm=None, padding=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            for conv in (
                model.encoder[0][0][0],
                model.encoder[0][1][0],
                model.decoder[0][0][0],
                model.decoder[0][1][0],
            ):
                conv.weight[0, 0, 1, 1] = 1
            model.head.weight.fill_(1)
            image = torch.rand(1, 1, 20, 24)
            torch.testing.assert_close(model(image), image[:, :, 8:-8, 8:-8])

    def test_the_vnet_has_the_channels_of_the_figure(self):
        with torch.device("meta"):
            model = VNet.paper()
            assert model(torch.empty(1, 1, 64, 128, 128)).shape == (1, 2, 64, 128, 128)
        convolutions = [
            [conv.out_channels for conv in convs(stage.residual)] for stage in (*model.encoder, *model.decoder)
        ]
        left = [[16], [32] * 2, [64] * 3, [128] * 3, [256] * 3]
        right = [[256] * 3, [128] * 3, [64] * 2, [32]]
        assert convolutions == left + right
        assert {conv.kernel_size for conv in convs(model.encoder)} == {(5, 5, 5)}


def convs(module):
    return [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv3d)]


def test_thick_slices_keep_their_number_where_the_strides_say_so():
    model = UNet(ndim=3, widths=(4, 4, 8, 8), strides=((1, 2, 2), (1, 2, 2), 2), kernels=((1, 3, 3), (1, 3, 3), 3, 3))
    shapes = []
    for level in model.encoder:
        level.register_forward_hook(lambda module, images, result: shapes.append(tuple(result.shape[2:])))
    assert model(torch.zeros(1, 1, 6, 32, 40)).shape == (1, 1, 6, 32, 40)
    assert shapes == [(6, 32, 40), (6, 16, 20), (6, 8, 10), (3, 4, 5)]
    slices = torch.randn(2, 1, 5, 31, 40)  # padded to 6 slices of 32×40
    assert model(slices).shape == slices.shape


def test_scales_of_deep_supervision():
    torch.manual_seed(0)
    model = UNet(widths=(4, 4, 8, 8), out_channels=3, deep_supervision=True).eval()
    images = torch.randn(2, 1, 21, 32)
    scales = model.forward_scales(images)
    assert [tuple(scale.shape) for scale in scales] == [(2, 3, 21, 32), (2, 3, 11, 16), (2, 3, 6, 8)]
    torch.testing.assert_close(scales[0], model(images), rtol=0, atol=0)
    (only,) = UNet(widths=(4, 8)).forward_scales(images)
    assert only.shape == (2, 1, 21, 32)


def test_a_residual_block_without_residual_is_the_identity():
    block = ResidualBlock(2, 3, 3, "batch").eval()
    torch.nn.init.zeros_(block.residual[1][0].weight)
    x = torch.rand(1, 3, 8, 8)  # positive, so that the last ReLU lets it through
    torch.testing.assert_close(block(x), x)


def test_a_separable_convolution_has_the_weights_of_both_steps():
    block = SeparableConvNormAct(2, 16, 32, None, dilation=2)
    assert sum(p.numel() for p in block.parameters()) == (9 + 1) * 16 + (16 + 1) * 32
    assert block(torch.zeros(1, 16, 9, 9)).shape == (1, 32, 9, 9)


@pytest.mark.parametrize(("stride", "size"), [(16, 4), (8, 8)])
def test_output_stride_of_the_deeplab(stride, size):
    model = DeepLabV3Plus(widths=(4, 4, 8, 8), channels=8, output_stride=stride)
    sizes = []
    model.aspp.register_forward_hook(lambda module, images, result: sizes.append(tuple(result.shape[2:])))
    model(torch.zeros(1, 1, 64, 64))
    assert sizes == [(size, size)]
    assert model.config["rates"] == ([6, 12, 18] if stride == 16 else [12, 24, 36])


def test_a_config_from_before_the_later_keywords_still_builds():
    config = {"kind": "unet", "ndim": 2, "in_channels": 1, "out_channels": 1, "widths": [4, 8], "norm": "batch"}
    names = list(build(config | {"dropout": 0.0}).state_dict())
    assert {"encoder.0.0.0.weight", "encoder.1.1.1.running_var", "reduce.0.bias", "decoder.0.1.0.weight"} < set(names)
    assert len(names) == 3 * 2 * 6 + 2 + 2  # blocks of two convolutions with batch norm; reduce and head with bias


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNet(ndim=4), "ndim must be one of 2, 3"),
        (lambda: VNet(ndim=1), "ndim must be one of 2, 3"),
        (lambda: UNet(widths=(8,)), "at least two levels"),
        (lambda: VNet(widths=(8, 16), convolutions=(1, 2, 3)), r"got \(8, 16\) and \(1, 2, 3\)"),
        (lambda: DeepLabV3Plus(widths=(8, 16)), "four stages"),
        (lambda: DeepLabV3Plus(output_stride=4), "output_stride must be one of 16, 8; got 4"),
        (lambda: UNet(norm="layer"), "norm must be"),
        (lambda: UNet(up="nearest"), "up must be one of 'linear', 'transposed'"),
        (lambda: UNet(kernels=4), "kernels must be odd"),
        (lambda: UNet(widths=(4, 8, 8), strides=(2, (1, 2, 2))), r"2 entries, each a positive number or 2 .*\(H, W\)"),
        (lambda: UNet(widths=(4, 8), strides=(2, 2)), "1 entries"),
        (lambda: UNet(padding=False, residual=True), "need padding=True"),
        (lambda: UNet()(torch.zeros(1, 2, 16, 16)), r"\(B, C, H, W\) with C = 1 .* got shape \(1, 2, 16, 16\)"),
        (lambda: UNet(ndim=3)(torch.zeros(1, 1, 16, 16)), r"\(B, C, D, H, W\)"),
        (lambda: VNet()(torch.zeros(1, 1, 0, 16, 16)), "no empty axis"),
        (lambda: UNet()(torch.zeros(1, 1, 9, 16)), "images of 16×16 shrink to a single voxel .* batch normalization"),
        (lambda: VNet(norm="instance")(torch.zeros(2, 1, 4, 4, 4)), "instance normalization has nothing"),
        (lambda: DeepLabV3Plus()(torch.zeros(1, 1, 16, 16)), "larger than 16×16"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@every_network
def test_a_single_voxel_can_be_predicted(network):
    model = network().eval()
    shape = (1, 1, *[1] * model.config["ndim"])
    if model.config["norm"] == "instance":  # has no memory of the training set to use instead
        with pytest.raises(ValueError, match="larger than 2×2, fewer levels or norm='group'"):
            model(torch.ones(shape))
    else:
        assert model(torch.ones(shape)).shape == shape


# Two images: 200 pixels with 190 found, 8 pixels with 2 found; the probe of the course's exercise on the Dice loss.
TARGET = torch.zeros(2, 400, dtype=torch.uint8)
TARGET[0, :200] = TARGET[1, :8] = 1
LOGITS = torch.full((2, 1, 400), -3.0)
LOGITS[0, 0, :190] = LOGITS[1, 0, :2] = 3


def soft_dice(p, g):
    return 2 * (p * g).sum() / (p.sum() + g.sum())


def test_dice_loss_per_image_and_per_batch_by_definition():
    p, g = LOGITS[:, 0].sigmoid(), TARGET.float()
    per_image = 1 - (soft_dice(p[0], g[0]) + soft_dice(p[1], g[1])) / 2
    torch.testing.assert_close(dice_loss(LOGITS, TARGET, batch=False), per_image)
    torch.testing.assert_close(dice_loss(LOGITS, TARGET), 1 - soft_dice(p, g))
    assert abs(per_image.item() - 0.460) < 5e-4
    assert abs(dice_loss(LOGITS, TARGET).item() - 0.125) < 5e-4


def test_several_labels_leave_the_background_out():
    target = torch.tensor([[0, 0, 1, 2]])
    logits = 40 * torch.nn.functional.one_hot(torch.tensor([[0, 1, 1, 2]]), 3).movedim(-1, 1).float()
    # label 1: found 2 of which 1 is right, dice 2/3; label 2: dice 1
    assert abs(dice_loss(logits, target).item() - (1 - (2 / 3 + 1) / 2)) < 1e-5


def test_empty_masks():
    empty, nothing = torch.zeros(1, 4, 4), torch.full((1, 1, 4, 4), -40.0)
    assert dice_loss(nothing, empty).item() < 1e-6
    assert dice_loss(-nothing, empty).item() > 0.999


def test_cross_entropy_by_hand():
    logits, target = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[1, 0]])
    expected = (torch.log(torch.tensor(2.0)) + torch.log1p(torch.exp(torch.tensor(2.0)))) / 2
    torch.testing.assert_close(cross_entropy_loss(logits, target), expected)
    two = torch.cat([torch.zeros_like(logits), logits], 1)  # softmax over (0, x) is sigmoid(x)
    torch.testing.assert_close(cross_entropy_loss(two, target), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_the_loss(channels):
    torch.manual_seed(0)
    logits = torch.randn(2, channels, 3, 3, requires_grad=True)
    target = torch.randint(0, max(2, channels), (2, 3, 3))
    loss = dice_ce_loss(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    step = 1e-2 * torch.randn_like(logits)
    with torch.no_grad():
        change = (dice_ce_loss(logits + step, target) - dice_ce_loss(logits - step, target)) / 2
    torch.testing.assert_close((gradient * step).sum(), change, rtol=1e-2, atol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\) and \(1, 5, 4\)"):
        dice_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 5, 4))
