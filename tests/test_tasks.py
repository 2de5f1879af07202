"""The four vision tasks: targets, losses and answers by hand, and the shipped networks on patients they never saw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medlearn import tasks
from medlearn.nn import build
from medlearn.nn.boxes import decode_boxes
from medlearn.nn.vision import ANCHOR, STRIDE, VisionNet, grid_anchors, grid_boxes
from medlearn.tasks import Answer

SIZE = (32, 40)


@pytest.fixture(scope="module")
def unseen():
    """Slices of patients beyond those of the training."""
    return tasks.lung_slices(range(1000, 1008))


def two_objects() -> torch.Tensor:
    """A map (1, y, x) with a square of 8 pixels and a bar of 3 × 12."""
    labels = torch.zeros(1, *SIZE, dtype=torch.uint8)
    labels[0, 4:12, 6:14] = 1
    labels[0, 20:23, 24:36] = 2
    return labels


def grid_that_says(labels: torch.Tensor) -> torch.Tensor:
    """The output (1, 5, h, w) of a network that is right."""
    size = [n // STRIDE for n in SIZE]
    target, offsets = tasks._cell_targets(labels[0], grid_anchors(size))
    logits = torch.where(target == 1, 20.0, -20.0)
    return torch.cat([logits[:, None], offsets], 1).T.reshape(1, 5, *size)


class Says(torch.nn.Module):
    """A network with one output for every image."""

    def __init__(self, output):
        super().__init__()
        self.output = torch.nn.Parameter(output)

    def forward(self, images):
        return self.output


# data


def test_slices_come_in_pairs(unseen):
    present = np.array([case.mask.array.any() for case in unseen])
    assert len(unseen) > 10
    for first, second in zip(unseen[::2], unseen[1::2], strict=True):
        assert first.id.rsplit("-", 1)[0] == second.id.rsplit("-", 1)[0]
        assert first.mask.array.any() != second.mask.array.any()
    assert present.mean() == 0.5


def test_slices_show_no_nodule_that_is_merely_grazed(unseen):
    for case in unseen:
        assert case.image.shape == case.mask.shape == tasks.SHAPE
        assert case.image.array.dtype == np.float32
        assert 0 <= case.image.array.min() <= case.image.array.max() <= 1
        areas = np.bincount(case.mask.array.ravel())[1:] * tasks.PIXEL_MM**2
        assert (areas >= tasks.SMALLEST_MM2).all()


def test_patients_without_nodules_have_no_slices():
    from medlearn.phantom import chest_nodules

    healthy = next(seed for seed in range(20) if not chest_nodules(seed))
    assert tasks.lung_slices([healthy]) == []


# network


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("size", [(32, 40), (30, 37)])
def test_network_answers_every_pixel_or_every_cell(task, size):
    model = VisionNet(task=task, widths=(4, 8)).eval()
    output = model(torch.zeros(2, 1, *size))
    cells = tuple(-(-n // STRIDE) for n in size)
    expected = {"segmentation": (1, *size), "classification": (1, *cells)}.get(task, (5, *cells))
    assert output.shape == (2, *expected)
    again = build(model.config)
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.eval()(images), model(images))


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"task must be one of 'classification', .*; got 'counting'"):
        VisionNet(task="counting")
    with pytest.raises(ValueError, match="task must be one of"):
        tasks.load("counting")


def test_anchors_lie_about_the_middles_of_the_cells():
    anchors = grid_anchors((2, 3))
    assert anchors.shape == (6, 4)
    middle = STRIDE / 2
    assert anchors[0].tolist() == [middle - ANCHOR / 2, middle - ANCHOR / 2, middle + ANCHOR / 2, middle + ANCHOR / 2]
    assert (anchors[1] - anchors[0]).tolist() == [0, STRIDE, 0, STRIDE]  # x is the faster axis
    nothing = torch.zeros(1, 5, 2, 3)
    torch.testing.assert_close(grid_boxes(nothing)[0], anchors)


# targets and losses


def test_cells_in_the_middle_of_an_object_know_its_box():
    labels = two_objects()
    anchors = grid_anchors([n // STRIDE for n in SIZE])
    target, offsets = tasks._cell_targets(labels[0], anchors)
    boxes = decode_boxes(offsets[target == 1], anchors[target == 1])
    assert {tuple(box) for box in boxes.round(decimals=3).tolist()} == {(4, 6, 12, 14), (20, 24, 23, 36)}
    assert set(target.unique().tolist()) == {-1, 0, 1}
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    outside = labels[0, centers[:, 0].long(), centers[:, 1].long()] == 0
    assert (target[outside] >= 0).all()


@pytest.mark.parametrize("task", ["classification", "localization", "detection"])
def test_right_answers_cost_little_and_wrong_ones_much(task):
    labels = two_objects()
    empty = torch.zeros_like(labels)
    says = grid_that_says(labels)
    if task == "localization":  # one box: only the cells of the larger object speak
        says[:, 0, :, 5:] = -20
    if task == "classification":
        says = says[:, :1]
    loss = tasks.OBJECTIVES[task]
    right, wrong = loss(Says(says), labels, labels), loss(Says(says), labels, empty)
    silent = loss(Says(torch.full_like(says, -20.0)), labels, labels)
    assert right < 0.05
    assert wrong > 1
    assert silent > 1


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("with_objects", [True, False])
def test_every_loss_has_a_gradient(task, with_objects):
    labels = two_objects() * with_objects
    torch.manual_seed(0)
    model = VisionNet(task=task, widths=(4, 8))
    loss = tasks.OBJECTIVES[task](model, torch.randn(1, 1, *SIZE), labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert model.head[-1].weight.grad.any() if task != "segmentation" else model.head.weight.grad.any()


# answers and measures


def test_detection_reads_every_object_once():
    answer = tasks._read("detection", grid_that_says(two_objects()), SIZE)
    assert sorted(map(tuple, answer.boxes.round(3).tolist())) == [(4, 6, 12, 14), (20, 24, 23, 36)]
    assert (answer.scores > 0.99).all()


def test_localization_reads_one_box_even_where_nothing_is():
    grid = torch.zeros(1, 5, 8, 10)
    grid[:, 0] = -20
    answer = tasks._read("localization", grid, SIZE)
    assert answer.boxes.shape == (1, 4)
    assert answer.probability < 1e-3


def case_of(labels):
    """A case with this mask."""
    from medlearn.volume import Case, Volume

    mask = Volume(array=np.asarray(labels, np.uint8), spacing=(1.0, 1.0), axes="yx")
    return Case("made", mask.map(lambda a: a.astype(np.float32)), mask)


def test_measures_by_hand():
    labels = two_objects()[0].numpy()
    cases = [case_of(labels), case_of(0 * labels)]
    yes, no = Answer(probability=0.9), Answer(probability=0.1)
    assert tasks.measure("classification", [yes, no], cases) == {"accuracy": 1.0}
    assert tasks.measure("classification", [yes, yes], cases) == {"accuracy": 0.5}

    half = np.array([[4.0, 6, 8, 14]])  # the upper half of the larger object
    placed = [replace(yes, boxes=half), replace(no, boxes=half)]
    assert tasks.measure("localization", placed, cases) == {"accuracy": 1.0, "iou": 0.5}

    found = [
        Answer(boxes=np.array([[20.0, 24, 23, 36], [0, 0, 4, 4]]), scores=np.array([0.9, 0.8])),
        Answer(boxes=np.zeros((0, 4)), scores=np.zeros(0)),
    ]
    assert tasks.measure("detection", found, cases) == {"ap": 0.5}  # one of two, before the false alarm

    outlined = [Answer(mask=labels == 1), Answer(mask=labels == 1)]
    result = tasks.measure("segmentation", outlined, cases)
    assert result == {"dice": pytest.approx(2 * 64 / (64 + 100)), "false_positive": 1.0}


def test_box_masks_hold_as_many_pixels_as_the_box_is_large():
    masks = tasks.box_masks(np.array([[2.0, 3, 5, 10], [0, 0, 1, 1]]), SIZE)
    assert masks.sum(axis=(1, 2)).tolist() == [21, 1]
    np.testing.assert_array_equal(tasks.true_boxes(masks[0].astype(np.uint8)), [[2, 3, 5, 10]])


# training, and what comes with the library


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_training_goes_through_fit(task, tmp_path):
    cases = tasks.lung_slices(range(1000, 1003))
    config = replace(tasks.CONFIG, epochs=1, batch_size=4, validations=1)
    start, _ = tasks.load("segmentation")
    run = tasks.train(task, cases, start=start, config=config, out=tmp_path / "run", progress=False)
    [answer, *_] = tasks.answer(run.model, run.preprocess, [cases[0].image])
    assert (answer.mask is not None) == (task == "segmentation")


@pytest.mark.parametrize(
    ("task", "at_least"),
    [
        ("classification", {"accuracy": 0.9}),
        ("localization", {"accuracy": 0.9, "iou": 0.5}),
        ("detection", {"ap": 0.7}),
        ("segmentation", {"dice": 0.75}),
    ],
)
def test_shipped_networks_reach_their_figures_on_unseen_patients(unseen, task, at_least):
    answers = tasks.answer(*tasks.load(task), [case.image for case in unseen])
    found = tasks.measure(task, answers, unseen)
    assert set(at_least) <= set(found)
    for name, value in at_least.items():
        assert found[name] >= value, found
