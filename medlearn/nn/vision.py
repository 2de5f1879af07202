"""One small network for the four vision tasks: the same backbone, and a head that answers the question of the task."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_choice
from .blocks import ConvNormAct, check_images, crop_end, pad_to_multiple
from .boxes import decode_boxes
from .unet import UNet

TASKS = ("classification", "localization", "detection", "segmentation")
FOLD = 2  # the backbone sees squares of this side as one pixel with as many more channels
STRIDE = 4  # pixels from cell to cell of the grid
ANCHOR = 8.0  # side in pixels of the square about each cell, from which its box is measured


class VisionNet(nn.Module):
    """A U-Net as backbone, and one head.

    Segmentation asks every pixel. The other three tasks ask every cell of a grid that is coarser by `STRIDE`: is there
    an object, and where is its box? They differ in what they make of the answers.

    Four neighboring pixels enter the backbone as four channels of one, and nothing is lost: the same network on four
    times as many pixels with a quarter of the channels would take twice as long.

    Parameters
    ----------
    task : {"classification", "localization", "detection", "segmentation"}
    in_channels : int
    widths : sequence of int
        Channels per level of the backbone.
    norm : {"batch", "instance", "group"} or None

    Attributes
    ----------
    config : dict
        ``kind`` and all keywords; `medlearn.nn.build` makes the same network from it.
    """

    def __init__(
        self, *, task: str, in_channels: int = 1, widths: Sequence[int] = (16, 32, 64), norm: str | None = "batch"
    ):
        super().__init__()
        check_choice("task", task, TASKS)
        self.task = task
        self.config = {
            "kind": "vision",
            "task": task,
            "in_channels": in_channels,
            "widths": list(widths),
            "norm": norm,
        }
        n = widths[0]
        self.backbone = UNet(in_channels=in_channels * FOLD**2, out_channels=n, widths=widths, norm=norm)
        if task == "segmentation":
            self.head = nn.Conv2d(n, FOLD**2, 1)
            nn.init.constant_(self.head.bias, -3.0)  # objects are rare: most pixels belong to none
        else:
            answers = 1 if task == "classification" else 5
            self.head = nn.Sequential(
                ConvNormAct(2, n, 2 * n, norm, stride=STRIDE // FOLD), nn.Conv2d(2 * n, answers, 1)
            )
            nn.init.zeros_(self.head[-1].bias)
            with torch.no_grad():
                self.head[-1].bias[0] = -5.0

    def forward(self, images: Tensor) -> Tensor:
        """Answers of the head for images (B, in_channels, H, W).

        Returns
        -------
        Tensor
            Segmentation: logits (B, 1, H, W). Else (B, C, ⌈H / 4⌉, ⌈W / 4⌉): channel 0 is the logit that the cell holds
            an object; localization and detection have four more, the offsets of its box (see `grid_boxes`).
        """
        check_images(images, 2, self.config["in_channels"])
        folded = F.pixel_unshuffle(pad_to_multiple(images, (STRIDE, STRIDE)), FOLD)  # (B, 4 · C, H / 2, W / 2)
        output = self.head(self.backbone(folded))
        if self.task != "segmentation":
            return output
        return crop_end(F.pixel_shuffle(output, FOLD), images.shape[2:])


def grid_boxes(grid: Tensor) -> Tensor:
    """Boxes that the cells of a grid propose: (B, 5, h, w) → (B, h · w, 4), in pixels."""
    anchors = grid_anchors(grid.shape[2:], grid.device)
    offsets = grid[:, 1:].float().flatten(2).transpose(1, 2)  # (B, h · w, 4)
    boxes = decode_boxes(offsets.reshape(-1, 4), anchors.repeat(len(grid), 1))
    return boxes.reshape(len(grid), -1, 4)


def grid_anchors(size: Sequence[int], device: torch.device | None = None) -> Tensor:
    """A square of side `ANCHOR` about the middle of each cell of a grid (h, w), row by row: (h · w, 4)."""
    y, x = (STRIDE * (torch.arange(n, device=device) + 0.5) for n in size)
    center = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    return torch.cat([center - ANCHOR / 2, center + ANCHOR / 2], 1)
