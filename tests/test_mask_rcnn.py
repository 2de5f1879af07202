"""Mask R-CNN: its parts by hand, its contract, and one picture learned by heart."""

import pytest
import torch

from medlearn.metrics import average_precision
from medlearn.nn.boxes import BACKGROUND, NEITHER, box_iou
from medlearn.nn.mask_rcnn import Detections, MaskRCNN, _Targets, cut_out, draw, make_anchors, paste_masks

SMALL = {"widths": (4, 8, 8, 16), "channels": 8, "hidden": 16, "n_proposals": 40}
DISKS = [(20, 20, 11), (20, 41, 10), (40, 28, 12), (66, 20, 12), (44, 70, 14), (72, 66, 13), (16, 74, 9), (78, 42, 10)]


def picture():
    """Eight bright disks, most of which touch another one, on a noisy background: (1, 1, 96, 96) and its labels."""
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    labels = torch.zeros(96, 96, dtype=torch.int64)
    for k, (center_y, center_x, radius) in enumerate(DISKS, start=1):
        labels[((y - center_y) ** 2 + (x - center_x) ** 2 < radius**2) & (labels == 0)] = k
    noise = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    return ((labels > 0) + 0.2 * noise)[None, None], labels[None]


def small_model(**keywords):
    torch.manual_seed(0)
    return MaskRCNN(**SMALL, **keywords)


def test_one_picture_is_learned_by_heart():
    images, labels = picture()
    torch.manual_seed(0)
    model = MaskRCNN()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(images, labels).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    found = model.eval().detect(images)[0]
    objects = labels == torch.arange(1, 9)[:, None, None]
    assert average_precision([found.masks], [found.scores], [objects]) >= 0.99
    overlap = (found.masks[:, None] & objects).sum((2, 3)) / (found.masks[:, None] | objects).sum((2, 3))
    assert overlap.max(0).values.mean() > 0.8
    again = model.detect(images)[0]
    assert torch.equal(again.masks, found.masks)
    assert torch.equal(again.boxes, found.boxes)


@pytest.mark.parametrize(("n_classes", "in_channels"), [(1, 1), (3, 2)])
@pytest.mark.parametrize("size", [(64, 64), (50, 71)])
class TestContract:
    def images(self, size, in_channels):
        torch.manual_seed(1)
        labels = torch.zeros(2, *size, dtype=torch.int32)
        labels[0, 5:20, 8:30], labels[0, 20:40, 8:25], labels[1, 30:45, 40:60] = 4, 9, 2
        return torch.randn(2, in_channels, *size), labels

    def classes(self, n_classes):
        return None if n_classes == 1 else [torch.tensor([3, 1]), torch.tensor([2])]

    def test_every_weight_learns(self, size, n_classes, in_channels):
        model = small_model(n_classes=n_classes, in_channels=in_channels)
        images, labels = self.images(size, in_channels)
        losses = model.losses(images, labels, self.classes(n_classes))
        assert set(losses) == {"objectness", "proposal", "class", "box", "mask"}
        sum(losses.values()).backward()
        for name, weight in model.named_parameters():
            assert torch.isfinite(weight.grad).all(), name
            assert weight.grad.abs().sum() > 0, name

    def test_detections_fit_the_image(self, size, n_classes, in_channels):
        model = small_model(n_classes=n_classes, in_channels=in_channels).eval()
        images, _ = self.images(size, in_channels)
        for found in model.detect(images, score_threshold=0.1, max_detections=7):
            n = len(found.boxes)
            assert 0 < n <= 7
            assert found.masks.shape == (n, *size)
            assert found.masks.dtype == torch.bool
            assert found.boxes.min() >= 0
            assert (found.boxes <= torch.tensor([*size, *size])).all()
            assert found.classes.min() >= 1
            assert found.classes.max() <= n_classes
            assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
            for kind in range(1, n_classes + 1):
                same = found.boxes[found.classes == kind]
                assert (box_iou(same, same).triu(1) <= 0.5).all()

    def test_config_rebuilds_it(self, size, n_classes, in_channels):
        model = small_model(n_classes=n_classes, in_channels=in_channels).eval()
        config = dict(model.config)
        assert config.pop("kind") == "mask_rcnn"
        copy = MaskRCNN(**config).eval()
        copy.load_state_dict(model.state_dict())
        images, _ = self.images(size, in_channels)
        for a, b in zip(*(m.detect(images, score_threshold=0.1) for m in (model, copy)), strict=True):
            assert torch.equal(a.boxes, b.boxes)
            assert torch.equal(a.masks, b.masks)

    def test_the_same_seed_gives_the_same_loss(self, size, n_classes, in_channels):
        model = small_model(n_classes=n_classes, in_channels=in_channels)
        images, labels = self.images(size, in_channels)
        losses = []
        for _ in range(2):
            torch.manual_seed(5)
            losses.append(model.loss(images, labels, self.classes(n_classes)))
        assert torch.equal(*losses)

    def test_bf16_agrees_with_fp32(self, size, n_classes, in_channels):
        model = small_model(n_classes=n_classes, in_channels=in_channels)
        images, labels = self.images(size, in_channels)
        torch.manual_seed(5)
        expected = model.loss(images, labels, self.classes(n_classes))
        with torch.autocast("cpu", torch.bfloat16):
            torch.manual_seed(5)
            found = model.loss(images, labels, self.classes(n_classes))
            model.detect(images, score_threshold=0.1)
        found.backward()
        assert found.dtype == torch.float32
        assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
        torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("n_classes", [1, 2])
def test_images_without_objects(n_classes):
    model = small_model(n_classes=n_classes)
    labels = torch.zeros(2, 40, 40, dtype=torch.int64)
    losses = model.losses(torch.randn(2, 1, 40, 40), labels, [[], []])
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["proposal"] == losses["box"] == losses["mask"] == 0
    sum(losses.values()).backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    found = model.eval().detect(torch.randn(1, 1, 40, 40), score_threshold=1.0)[0]
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 40, 40)
    assert found.to_labels().tolist() == labels[0].tolist()


def test_the_numbers_of_the_objects_do_not_matter():
    model, (images, labels) = small_model(), picture()
    losses = []
    for numbers in (labels, 7 * labels + 3 * (labels > 0)):
        torch.manual_seed(5)
        losses.append(model.loss(images, numbers))
    assert torch.equal(*losses)


def test_more_proposals_can_be_looked_into_than_in_training():
    model = small_model(anchor_sizes=((8, 16), (24, 32), (48, 64))).eval()
    images = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    looked_into = []
    model.box_head.register_forward_hook(lambda head, inputs, outputs: looked_into.append(len(inputs[0])))
    for n in (None, 10, 90):
        model.detect(images, score_threshold=0.99, n_proposals=n)
    assert looked_into == [40, 10, 90]


def test_detections_in_one_map():
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], dtype=torch.bool)
    found = Detections(torch.zeros(2, 4), torch.ones(2), torch.tensor([0.9, 0.8]), masks)
    assert found.to_labels().tolist() == [[1, 1, 2, 0]]


def test_anchors_by_hand():
    anchors = make_anchors((1, 2), 8, (4.0, 6.0))
    assert anchors.shape == (2 * 2 * 3, 4)
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert middle.unique(dim=0).tolist() == [[4, 4], [4, 12]]
    assert middle[:6].unique(dim=0).tolist() == [[4, 4]]  # first all of the first cell
    height, width = (anchors[:, 2:] - anchors[:, :2]).T
    torch.testing.assert_close((height * width)[:6], torch.tensor([16.0] * 3 + [36.0] * 3))
    torch.testing.assert_close((height / width)[:3], torch.tensor([0.5, 1.0, 2.0]))


def test_a_draw_takes_objects_first_and_nothing_in_between():
    matched = torch.tensor([BACKGROUND] * 5 + [NEITHER] * 5 + [0, 1, 2])
    torch.manual_seed(0)
    drawn = draw(matched, 6, 2)
    assert sorted((matched[drawn] >= 0).tolist()) == [False] * 4 + [True] * 2
    assert NEITHER not in matched[drawn]
    assert len(set(drawn.tolist())) == 6
    assert sorted(draw(matched, 100, 50).tolist()) == [0, 1, 2, 3, 4, 10, 11, 12]
    assert len(draw(matched[:0], 6, 2)) == 0


def test_boxes_are_cut_from_the_level_of_their_size():
    """Three constant maps, so that what is cut out says where it came from; in the order of the boxes."""
    levels = [torch.full((1, n, n), float(k)) for k, n in enumerate((64, 32, 16))]
    sides = torch.tensor([130.0, 10, 64, 63, 128, 250])
    cut = cut_out(levels, torch.stack([sides * 0, sides * 0, sides, sides], 1), 2)
    assert cut[:, 0, 0, 0].tolist() == [2, 0, 1, 0, 2, 2]


def test_masks_survive_cutting_and_pasting():
    """A mask seen through its box, 28 × 28 points, and stretched back, is the mask but for a pixel's corner."""
    _, labels = picture()
    target = _Targets.of(labels[0])
    inside = target.masks_in(target.boxes, torch.arange(8))
    pasted = paste_masks(8 * inside - 4, target.boxes, (96, 96))
    objects = labels == target.ids[:, None, None]
    overlap = (pasted & objects).sum((1, 2)) / (pasted | objects).sum((1, 2))
    assert overlap.min() > 0.95


def test_a_mask_is_pasted_where_its_box_is():
    logits = torch.full((1, 28, 28), -5.0)
    logits[0, :14] = 5.0  # the upper half
    found = paste_masks(logits, torch.tensor([[2.0, 3.0, 6.0, 5.0]]), (8, 8))
    expected = torch.zeros(1, 8, 8, dtype=torch.bool)
    expected[0, 2:4, 3:5] = True
    assert torch.equal(found, expected)


IMAGES, LABELS = torch.zeros(1, 1, 32, 32), torch.zeros(1, 32, 32, dtype=torch.int64)
ONE = LABELS.clone()
ONE[0, 4:9, 4:9] = 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MaskRCNN(widths=(8, 16)), "widths must name the channels at strides 2, 4, 8 and 16"),
        (lambda: MaskRCNN(anchor_sizes=((8, 16), (32,))), "anchor_sizes must be 3 pairs"),
        (lambda: MaskRCNN(n_classes=0), "n_classes must be a positive number"),
        (lambda: small_model().loss(torch.zeros(1, 2, 32, 32), LABELS), r"\(B, C, H, W\) with C = 1"),
        (lambda: small_model().detect(torch.zeros(32, 32)), r"\(B, C, H, W\)"),
        (lambda: small_model().loss(IMAGES, LABELS[:, :9]), r"\(1, 9, 32\) and \(1, 1, 32, 32\)"),
        (lambda: small_model(n_classes=2).loss(IMAGES, ONE), "classes must be given, since there are 2"),
        (lambda: small_model(n_classes=2).loss(IMAGES, ONE, [[1, 2]]), r"got \[2\] for \[1\] objects"),
        (lambda: small_model(n_classes=2).loss(IMAGES, ONE, [[3]]), "classes must be 1 … 2"),
    ],
)
def test_wrong_arguments_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()
