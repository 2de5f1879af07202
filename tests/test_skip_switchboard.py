"""The skip switchboard in Python: what the gains do to the network, what is sent, and what is refused."""

import numpy as np
import pytest
import torch

from medlearn import phantom
from medlearn.checkpoint import pretrained
from medlearn.inference import predict_slices
from medlearn.metrics import dice
from medlearn.nn import UNet, VNet
from medlearn.volume import Case
from medlearn.widgets import SkipSwitchboard
from medlearn.widgets._switched_unet import SwitchedUNet


@pytest.fixture(scope="module")
def network():
    return pretrained("prostate-phantom")


@pytest.fixture(scope="module")
def case():
    return phantom.prostate(61, shape=(12, 64, 64), spacing=(5.0, 1.25, 1.25))


@pytest.fixture
def board(network, case):
    return SkipSwitchboard(*network, case)


def test_all_gains_at_one_is_the_prediction_of_the_library(network, case, board):
    model, preprocess = network
    expected = predict_slices(model, preprocess.image(case.image), adjacent_slices=preprocess.adjacent_slices)[..., 0]
    truth = preprocess.mask(case.mask) > 0
    index = truth.sum((1, 2)).argmax()
    np.testing.assert_allclose(board._predict({}) / 255, expected[index], atol=0.5 / 255 + 1e-4)
    assert board.dice() == pytest.approx(dice(expected[index] >= 0.5, truth[index]), abs=0.01)


def test_the_first_and_the_last_slice_have_neighbors_too(network, case):
    for index in (0, 11):
        assert SkipSwitchboard(*network, case, index=index).render().dtype == np.uint8


@pytest.mark.parametrize("options", [{}, {"up": "transposed", "norm": "instance"}, {"residual": True}])
def test_a_gain_of_zero_makes_the_skip_irrelevant(options):
    """With skip k cut, whatever the encoder's map k holds must not matter; with gain 1 it must."""
    torch.manual_seed(0)
    model = UNet(widths=(2, 3, 4, 5, 6), **options).eval()
    torch.nn.init.normal_(model.head.weight, std=5)
    image = np.random.default_rng(0).normal(size=(1, 32, 32)).astype(np.float32)
    for k in range(4):
        plain, disturbed = SwitchedUNet(model, image), SwitchedUNet(model, image)

        def disturb(decoder, inputs, width=model.config["widths"][k]):
            x = inputs[0].clone()
            x[:, :width] += 10
            return x

        disturbed._model.decoder[3 - k].register_forward_pre_hook(disturb, prepend=True)  # before the gains
        gains = np.ones((1, 5))
        assert (plain(gains) != disturbed(gains)).any()
        gains[0, k] = 0
        np.testing.assert_array_equal(plain(gains), disturbed(gains))


def test_many_settings_at_once_are_each_on_their_own(network):
    image = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    switched = SwitchedUNet(network[0], image)
    gains = np.random.default_rng(1).random((4, 5))
    alone = np.concatenate([switched(row[None]) for row in gains])
    np.testing.assert_allclose(switched(gains).astype(float), alone, atol=1)


def test_the_network_of_the_user_is_left_alone(network, case):
    model, preprocess = network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(image)
        SkipSwitchboard(model, preprocess, case).bottleneck = 0.0
        torch.testing.assert_close(model(image), expected, rtol=0, atol=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_change_sends_gains_and_probability_together(board):
    board.skip_3 = 0.25
    assert board._shown == [1.0, 1.0, 0.25, 1.0, 1.0]
    assert board._probability == board._predict({}).tobytes()


def test_several_gains_at_once_are_computed_once(board, monkeypatch):
    calls = []
    predict = board._predict
    monkeypatch.setattr(board, "_predict", lambda state: calls.append(state) or predict(state))
    board.set_state({"skip_1": 0.5, "skip_2": 0.5, "bottleneck": 0.5})
    assert len(calls) == 1
    assert board._shown == [0.5, 0.5, 1.0, 1.0, 0.5]


def test_a_question_for_the_kernel_is_answered(board, monkeypatch):
    answers = []
    monkeypatch.setattr(board, "send", answers.append)
    board._handle_custom_msg("is there a kernel?", [])
    assert answers == ["there is a kernel"]


def test_what_does_not_fit_is_refused(network, case):
    model, preprocess = network
    with pytest.raises(TypeError, match="model must be a UNet; got a VNet"):
        SkipSwitchboard(VNet(ndim=2, in_channels=1, out_channels=1), preprocess, case)
    with pytest.raises(ValueError, match=r"a 2-D U-Net of 5 levels .* got 4 levels, ndim=2"):
        SkipSwitchboard(UNet(widths=(2, 3, 4, 5)), preprocess, case)
    with pytest.raises(ValueError, match="got 5 levels, ndim=2, out_channels=2"):
        SkipSwitchboard(UNet(widths=(2, 3, 4, 5, 6), out_channels=2), preprocess, case)
    with pytest.raises(ValueError, match="has no mask"):
        SkipSwitchboard(model, preprocess, Case(id="Case07", image=case.image, mask=None))
    with pytest.raises(ValueError, match="index must be a whole number from 0 to 11; got 12"):
        SkipSwitchboard(model, preprocess, case, index=12)
