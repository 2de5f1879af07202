"""Networks alone: a training step of our U-Net against MONAI's, and the time to predict one slice.

The networks of one row get the same images, have about equally many parameters and multiply-adds (both are printed),
and are measured in turns. A step is forward, backward and nothing else.

    python benchmarks/nn.py [--rounds 15] [--device auto] [--precision fp32] [--channels-last]
"""

import argparse
import statistics
import time
import warnings

import monai
import torch
from monai.networks.nets import BasicUNet
from monai.networks.nets import UNet as ResidualUNet

from medlearn.inference import autocast, choose_device
from medlearn.nn import UNet, summary

WIDTHS = (16, 32, 64, 128, 256)
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true", help="memory layout of images and weights")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = choose_device(options.device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, MONAI {monai.__version__}")
    layout = "channels last" if options.channels_last else "channels first"
    print(f"{options.precision}, {layout}, medians of {options.rounds} turns")
    for title, shape, networks in training_rows():
        compare(title, shape, networks, step, options, device)
    compare("predict one slice of 256×256", (1, 1, 256, 256), prediction_networks(), predict, options, device)


def training_rows():
    """Title, input shape, networks by name; ours first."""
    monai_2d = {"spatial_dims": 2, "in_channels": 1, "out_channels": 1}
    yield (
        "training step, 16 slices of 128×128",
        (16, 1, 128, 128),
        {
            "UNet": UNet(widths=WIDTHS),
            # 240 instead of 256 channels at the bottom: then it has as many parameters as ours
            "MONAI BasicUNet": BasicUNet(features=(16, 32, 64, 128, 240, 16), **monai_2d),
            "MONAI UNet": ResidualUNet(channels=(36, 72, 136, 260), strides=(2, 2, 2), num_res_units=2, **monai_2d),
        },
    )
    yield (
        "training step, one volume of 32×64×64",
        (1, 1, 32, 64, 64),
        {
            "UNet": UNet(ndim=3, widths=WIDTHS),
            "MONAI BasicUNet": BasicUNet(
                spatial_dims=3, in_channels=1, out_channels=1, features=(16, 32, 64, 128, 240, 16)
            ),
        },
    )


def prediction_networks():
    return {
        "UNet()": UNet(),
        "the paper's, padded": UNet.paper(padding=True),
        "53 million, 8 levels": UNet(widths=(11, 22, 43, 86, 173, 346, 692, 1384)),
    }


def compare(title, shape, networks, work, options, device):
    """Print what each network is and how long it takes, and how much longer than the first."""
    print(f"\n{title}")
    print(f"{'':22} {'parameters':>12} {'10⁹ multiply-adds':>18} {'ms':>9} {'ratio':>6}")
    layout = LAYOUTS[len(shape)] if options.channels_last else torch.contiguous_format
    images = torch.randn(shape, device=device).to(memory_format=layout)
    costs = [summary(model, shape) for model in networks.values()]
    models = [model.to(device, memory_format=layout).train(work is step) for model in networks.values()]
    times = [[] for _ in models]
    for turn in range(options.rounds + 2):
        for model, result in zip(models, times, strict=True):
            seconds = timed(work, model, images, options.precision)
            if turn >= 2:  # the first two warm up
                result.append(1000 * seconds)
    medians = [statistics.median(result) for result in times]
    for name, cost, ms in zip(networks, costs, medians, strict=True):
        print(f"{name:22} {cost.parameters:12,} {cost.multiply_adds / 1e9:18.2f} {ms:9.1f} {ms / medians[0]:6.2f}")


def step(model, images, precision):
    with autocast(images.device, precision):
        loss = model(images).float().square().mean()
    model.zero_grad(set_to_none=True)
    loss.backward()


def predict(model, images, precision):
    with torch.inference_mode(), autocast(images.device, precision):
        model(images)


def timed(work, model, images, precision):
    synchronize = torch.cuda.synchronize if images.is_cuda else lambda: None
    synchronize()
    start = time.perf_counter()
    work(model, images, precision)
    synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
