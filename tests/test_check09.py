"""Chapter 9's exercises: answers of the library or worked by hand. `test_check.py` proves that all mistakes differ."""

import pytest
import torch

from medlearn.check import chapter09
from medlearn.nn import UNet


@pytest.fixture(scope="module")
def paper():
    return UNet.paper(widths=(1, 1, 1, 1, 1))


def test_sizes_are_those_of_the_library(paper):
    for n in range(4, 800):
        try:
            expected = paper.output_size((n, n))[0]
        except ValueError:
            with pytest.raises(ValueError, match="does not fit"):
                chapter09.OUTPUT.right(n)
        else:
            assert chapter09.OUTPUT.right(n) == expected


@pytest.mark.parametrize("n", chapter09.OUTPUT.refused)
def test_sizes_that_must_be_refused(paper, n):
    with pytest.raises(ValueError, match="do not fit"):
        paper.output_size((n, n))


def test_whoever_refuses_nothing_is_told():
    assert "for 570 you returned 372, and 570 does not fit" in chapter09.OUTPUT.verdict(chapter09._walk)


def test_whoever_stops_otherwise_is_told():
    def stops(n):
        assert n in (572, 188, 700)
        return chapter09._walk(n)

    assert "a ValueError was expected. Line" in chapter09.OUTPUT.verdict(stops)


@pytest.mark.parametrize("widths", [probe[0] for probe in chapter09.PARAMETERS.probes])
def test_parameters_are_those_of_the_library(widths):
    with torch.device("meta"):
        network = UNet.paper(widths=widths)
    assert chapter09.PARAMETERS.right(widths) == sum(p.numel() for p in network.parameters())


def test_figures_of_the_paper():
    widths = (64, 128, 256, 512, 1024)
    assert chapter09.PARAMETERS.right(widths) == 31_030_658
    assert chapter09.PARAMETERS.wrong["keras_variant"].compute(widths) == 31_031_685
    assert chapter09.OUTPUT.right(572) == 388


def test_decoder_step_worked_by_hand():
    x = torch.tensor([[[[1.0, 2.0]]]])
    skip = torch.arange(24.0).reshape(1, 1, 4, 6)
    expected = torch.tensor([[[[7.0, 8, 9, 10], [13, 14, 15, 16]], [[1, 1, 2, 2], [1, 1, 2, 2]]]])
    torch.testing.assert_close(chapter09.DECODER.right(x, skip), expected)
