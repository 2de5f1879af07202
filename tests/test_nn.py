import pytest
import torch

from medlearn.nn import UNet, build, dice_ce_loss, dice_loss
from medlearn.nn.losses import cross_entropy_loss

NETWORKS = [
    lambda **keywords: UNet(widths=(4, 8, 16), **keywords),
    lambda **keywords: UNet(widths=(4, 8), norm="instance", dropout=0.5, **keywords),
    lambda **keywords: UNet(widths=(8, 16), norm="group", **keywords),
]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("ndim", "size"), [(2, (16, 24)), (2, (17, 31)), (3, (8, 16, 8)), (3, (5, 9, 13))])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 4)])
class TestEveryNetwork:
    def make(self, network, ndim, in_channels, out_channels):
        torch.manual_seed(0)
        return network(ndim=ndim, in_channels=in_channels, out_channels=out_channels)

    def test_logits_have_the_size_of_the_image_and_every_weight_learns(
        self, network, ndim, size, in_channels, out_channels
    ):
        model = self.make(network, ndim, in_channels, out_channels)
        logits = model(torch.randn(2, in_channels, *size))
        assert logits.shape == (2, out_channels, *size)
        target = torch.randint(0, max(out_channels, 2), (2, *size))
        dice_ce_loss(logits, target).backward()
        for name, weight in model.named_parameters():
            assert torch.isfinite(weight.grad).all(), name
            assert weight.grad.abs().sum() > 0, name

    def test_evaluation_is_deterministic_and_survives_rebuilding(self, network, ndim, size, in_channels, out_channels):
        model = self.make(network, ndim, in_channels, out_channels).eval()
        images = torch.randn(2, in_channels, *size)
        copy = build(model.config).eval()
        copy.load_state_dict(model.state_dict())
        torch.testing.assert_close(model(images), model(images), rtol=0, atol=0)
        torch.testing.assert_close(copy(images), model(images), rtol=0, atol=0)


def test_bf16_agrees_with_fp32():
    torch.manual_seed(0)
    model = UNet(widths=(4, 8, 16)).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        half = model(images)
    torch.testing.assert_close(half.float(), model(images), rtol=0.1, atol=0.1)


def test_the_bottom_of_the_network_sees_the_whole_image():
    """Each output pixel of four levels depends on pixels far away; without the bottom level it would not."""
    torch.manual_seed(0)
    model = UNet(widths=(8, 8, 8, 8)).eval()
    images = torch.randn(1, 1, 64, 64, requires_grad=True)
    model(images)[0, 0, 32, 32].backward()
    seen = images.grad[0, 0].abs() > 0
    assert seen[32, :].sum() > 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNet(ndim=4), "ndim must be one of 2, 3"),
        (lambda: UNet(widths=(8,)), "at least two levels"),
        (lambda: UNet(norm="layer"), "norm must be"),
        (lambda: UNet()(torch.zeros(1, 2, 16, 16)), r"\(B, C, H, W\) with C = 1; got shape \(1, 2, 16, 16\)"),
        (lambda: UNet(ndim=3)(torch.zeros(1, 1, 16, 16)), r"\(B, C, D, H, W\)"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


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
