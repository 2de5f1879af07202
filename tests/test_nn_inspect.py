"""Receptive fields against each other and by hand, costs by hand, and a figure that shows what is there."""

import pytest
import torch
from torch import nn

from medlearn.nn import DeepLabV3Plus, UNet, VNet, gradient_support, receptive_field, summary
from medlearn.plots import draw_network


def sizes(support):
    return tuple(last - first + 1 for first, last in support)


class TestReceptiveField:
    def test_by_hand(self):
        assert receptive_field([]) == 1
        assert receptive_field([(3, 1, 1)] * 4) == 9
        assert receptive_field([(3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 2)]) == 30

    @pytest.mark.parametrize(
        "layers",
        [
            [
                nn.Conv2d(1, 2, (3, 5), padding=(1, 2)),
                nn.BatchNorm2d(2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(2, 1, 3),
            ],
            [nn.Conv2d(1, 1, 3, stride=2), nn.Sequential(nn.Conv2d(1, 3, 3, dilation=4), nn.AvgPool2d(3, stride=1))],
            [nn.Conv3d(1, 2, (1, 3, 3), stride=(1, 2, 2)), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(2, 1, 3)],
        ],
    )
    def test_arithmetic_and_gradient_agree(self, layers):
        chain = nn.Sequential(*layers)
        shape = (1, 1, 40, 40) if isinstance(layers[0], nn.Conv2d) else (1, 1, 9, 40, 40)
        assert receptive_field(chain) == sizes(gradient_support(chain, shape))

    def test_a_chain_only(self):
        assert receptive_field(UNet(widths=(2, 4)).encoder[0]) == (5, 5)
        with pytest.raises(ValueError, match=r"got a UNet, .* use gradient_support"):
            receptive_field(UNet(widths=(2, 4)))


class TestGradientSupport:
    def test_the_unet_of_the_paper_sees_188_or_204_pixels(self):
        model = UNet.paper(widths=(1, 1, 1, 1, 1))  # the widths do not matter for this
        seen = {i: sizes(gradient_support(model, (1, 1, 236, 236), (i, 0)))[0] for i in range(16, 33)}
        assert set(seen.values()) == {188, 204}

    def test_nothing_is_hidden_by_pooling_norm_or_dropout_and_the_model_stays(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.9), nn.MaxPool2d(4))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        assert gradient_support(model, (1, 1, 18, 18), (1, 3)) == ((4, 9), (12, 17))
        assert model.training
        assert isinstance(model[4], nn.MaxPool2d)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, before[name], rtol=0, atol=0)

    def test_image_pooling_sees_everything(self):
        model = DeepLabV3Plus(widths=(1, 1, 1, 1), channels=1)
        assert gradient_support(model, (1, 1, 320, 128)) == ((0, 319), (0, 127))

    def test_what_it_cannot_follow(self):
        with pytest.raises(ValueError, match="dilated pooling is not supported; 0 has dilation 2"):
            gradient_support(nn.Sequential(nn.MaxPool2d(3, dilation=2)), (1, 1, 16, 16))

    def test_voxels_that_do_not_exist(self):
        with pytest.raises(ValueError, match=r"the output, which is \(16, 16\); got \(16, 0\)"):
            gradient_support(UNet(widths=(1, 1)), (1, 1, 16, 16), (16, 0))


class TestSummary:
    def test_a_small_network_by_hand(self):
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),  # 2·8·10·12 outputs of 27 products
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 2·8·5·6 outputs of 9 products
            nn.ConvTranspose2d(8, 4, 2, stride=2),  # 2·8·5·6 inputs of 16 products
        )
        result = summary(model, (2, 3, 10, 12))
        assert [row.shape[1:] for row in result.rows] == [(8, 10, 12), (8, 10, 12), (8, 5, 6), (8, 5, 6), (4, 10, 12)]
        assert [row.parameters for row in result.rows] == [216, 0, 0, 80, 132]
        assert [row.multiply_adds for row in result.rows] == [51840, 0, 0, 4320, 7680]
        assert [row.memory_bytes for row in result.rows] == [7680, 0, 1920, 1920, 3840]
        assert (result.parameters, result.multiply_adds, result.memory_bytes) == (428, 63840, 15360)

    @pytest.mark.parametrize(
        ("model", "shape"),
        [
            (UNet(widths=(4, 8, 8), residual=True, up="transposed"), (2, 1, 21, 32)),
            (UNet(ndim=3, widths=(4, 8), out_channels=3), (1, 1, 8, 9, 10)),
            (VNet(widths=(4, 8)), (1, 1, 8, 8, 8)),
            (DeepLabV3Plus(widths=(4, 4, 8, 8), channels=8, separable=True), (1, 1, 32, 32)),
        ],
    )
    def test_rows_add_up_at_every_depth(self, model, shape):
        layers = summary(model, shape, depth=None)
        for depth in (1, 2):
            blocks = summary(model, shape, depth=depth)
            assert len(blocks.rows) < len(layers.rows)
            assert blocks.multiply_adds == layers.multiply_adds
            assert blocks.memory_bytes == layers.memory_bytes
            assert sum(row.parameters for row in blocks.rows) == blocks.parameters
            assert blocks.parameters == sum(p.numel() for p in model.parameters())
            assert all(source < i for i, row in enumerate(blocks.rows) for source in row.sources)

    def test_multiply_adds_are_those_that_torch_counts(self):
        from torch.utils.flop_counter import FlopCounterMode

        for model, shape in (
            (UNet(widths=(4, 8, 8), up="transposed"), (2, 1, 16, 24)),
            (VNet(widths=(4, 8)), (1, 1, 8, 8, 8)),
        ):
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(torch.zeros(shape))
            assert 2 * summary(model, shape).multiply_adds == counter.get_total_flops()

    def test_blocks_are_named_and_connected(self):
        rows = summary(UNet(widths=(4, 8)), (1, 1, 16, 16)).rows
        assert [row.name for row in rows] == [
            *("encoder.0", "pools.0", "encoder.1", "reduce.0", "interpolate", "concatenate", "decoder.0", "head")
        ]
        assert [row.sources for row in rows] == [(-1,), (0,), (1,), (2,), (3,), (0, 4), (5,), (6,)]
        assert rows[0].kind == "DoubleConv"

    def test_a_layer_used_twice_has_its_weights_counted_once(self):
        conv = nn.Conv2d(1, 1, 3, padding=1)
        result = summary(nn.Sequential(conv, nn.ReLU(), conv), (1, 1, 4, 4))
        assert [row.parameters for row in result.rows] == [10, 0, 0]
        assert [row.multiply_adds for row in result.rows] == [144, 0, 144]

    def test_it_costs_nothing_for_large_inputs_and_changes_nothing(self):
        model = VNet()
        result = summary(model, (2, 1, 256, 512, 512))
        assert result.memory_bytes > 2**36
        assert model.training
        assert next(model.parameters()).device.type == "cpu"
        assert not any(module._forward_hooks for module in model.modules())

    def test_shown_as_a_table(self):
        result = summary(UNet(widths=(4, 8)), (1, 1, 16, 16))
        lines = str(result).splitlines()
        assert len(lines) == len(result.rows) + 4  # header, totals, two rules
        assert lines[2].split() == ["encoder.0", "DoubleConv", "1×4×16×16", "196", "0.0", "0.0"]
        assert lines[-1].split()[:3] == ["total", "UNet", f"{result.parameters:,}"]
        html = result._repr_html_()
        assert html.count("<tr>") == len(result.rows) + 2
        assert "<td>encoder.0</td>" in html


class TestFigure:
    def test_blocks_and_connections_come_from_the_network(self):
        result = summary(UNet(widths=(4, 8, 16), up="transposed"), (1, 1, 32, 48))
        (axes,) = draw_network(result).axes
        texts = [text.get_text() for text in axes.texts]
        named = [text.split("\n") for text in texts if "\n" in text]
        assert named[0] == ["image", "32×48"]
        assert named[1:] == [[row.name, "×".join(map(str, row.shape[2:]))] for row in result.rows if row.parameters]
        arrows = [patch for patch in axes.patches if hasattr(patch, "get_arrowstyle")]
        assert sum(arrow.get_linestyle() in ("--", "dashed") for arrow in arrows) == 2  # the skips
        assert len(arrows) == len(named) - 1 + 2
        assert f"{result.parameters:,} parameters" in axes.get_title()

    def test_skips_lie_on_their_level(self):
        figure = draw_network(summary(UNet(widths=(4, 8, 16)), (1, 1, 32, 32)))
        levels = {}
        for box in [patch for patch in figure.axes[0].patches if hasattr(patch, "get_height")]:
            levels.setdefault(round(box.get_y() + box.get_height() / 2, 6), []).append(box)
        assert sorted(levels) == [-2, -1, 0]
        assert [len(levels[-k]) for k in range(3)] == [4, 3, 2]  # image, encoder, decoder, head …

    @pytest.mark.parametrize("model", [VNet(widths=(4, 8, 16)), DeepLabV3Plus(widths=(4, 4, 8, 8), channels=8)])
    def test_every_network_can_be_drawn(self, model):
        result = summary(model, (1, 1, *[32] * model.config["ndim"]))
        assert draw_network(result)._repr_png_().startswith(b"\x89PNG")
