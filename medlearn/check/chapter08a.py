"""Checks of chapter 8a: standardized features, one step of gradient descent, the chain rule through a hidden layer."""

from collections.abc import Callable

import numpy as np

from ._core import Exercise, Wrong


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def _standardize(train, new):
    return (new - train.mean(axis=0)) / train.std(axis=0)


def _with_all(train, new):
    return _standardize(np.concatenate([train, new]), new)


_TRAIN = np.array([[0.2, 12.0, -3.0], [0.5, 20.0, 1.0], [0.9, 11.0, 4.0], [1.8, 17.0, -1.0]])

STANDARDIZE = Exercise(
    number="8a.1",
    right=_standardize,
    probes=(
        (_TRAIN, np.array([[1.1, 30.0, 2.0], [0.4, 25.0, 5.0]])),
        (10 * _TRAIN[:, ::-1] + 7, np.array([[12.0, 9.0, 100.0], [4.0, 31.0, 80.0], [1.0, -6.0, 75.0]])),
    ),
    praise="The training set's mean and standard deviation, feature by feature: a new patient changes neither.",
    wrong={
        "statistics_of_the_new_patient": Wrong(
            lambda train, new: _standardize(new, new),
            "You took mean and standard deviation from the new patient. Whatever makes this patient differ from the "
            "others, all brighter for instance, is gone then, and the network learned with other numbers.",
        ),
        "statistics_of_all": Wrong(
            _with_all,
            "You took the statistics over both tables. The new patient leaked into the preparation, and tomorrow's "
            "patient would change the numbers that the network was trained with.",
        ),
        "mean_only": Wrong(
            lambda train, new: new - train.mean(axis=0),
            "You subtracted the mean. The features still have their different sizes: divide by the standard deviation.",
        ),
        "deviation_only": Wrong(
            lambda train, new: new / train.std(axis=0),
            "You divided by the standard deviation. The training mean must be subtracted first.",
        ),
        "variance": Wrong(
            lambda train, new: (new - train.mean(axis=0)) / train.var(axis=0),
            "You divided by the variance. It has the square of the feature's unit: take its root.",
        ),
        "deviation_of_the_sample": Wrong(
            lambda train, new: (new - train.mean(axis=0)) / train.std(axis=0, ddof=1),
            "You divided by n − 1 inside the standard deviation. With thousands of voxels that is no matter, but here "
            "take NumPy's default, which divides by n.",
        ),
        "one_mean_for_all_features": Wrong(
            lambda train, new: (new - train.mean()) / train.std(),
            "You took one mean and one standard deviation for the whole table. Each feature needs its own: `axis=0`.",
        ),
        "voxel_by_voxel": Wrong(
            lambda train, new: (new - new.mean(axis=1, keepdims=True)) / new.std(axis=1, keepdims=True),
            "You standardized each voxel over its own features, `axis=1`. That mixes gray values with centimeters.",
        ),
        "range": Wrong(
            lambda train, new: (new - train.min(axis=0)) / np.ptp(train, axis=0),
            "You scaled by smallest and largest value. A single outlier rules that scale; here use mean and standard "
            "deviation.",
        ),
        "subtracted_after_division": Wrong(
            lambda train, new: new / train.std(axis=0) - train.mean(axis=0),
            "You divided first and subtracted the mean afterwards. The mean has the unit of the feature: subtract it "
            "before you divide. Brackets?",
        ),
        "train_returned": Wrong(
            lambda train, new: _standardize(train, train), "You standardized the training table. Return the new one."
        ),
    },
)


def _step(weights, bias, rows, truth, rate):
    error = _sigmoid(rows @ weights + bias) - truth
    return np.append(weights - rate * rows.T @ error / len(rows), bias - rate * error.mean())


def _descend(slope_of_logit):
    """The same step with another slope of the loss with respect to the logit of each voxel."""

    def step(weights, bias, rows, truth, rate):
        error = slope_of_logit(rows @ weights + bias, truth)
        return np.append(weights - rate * rows.T @ error / len(rows), bias - rate * error.mean())

    return step


def _joined(step_of_weights, step_of_bias):
    return np.append(step_of_weights[:-1], step_of_bias[-1])


def _bias_after_weights(weights, bias, rows, truth, rate):
    new = _step(weights, bias, rows, truth, rate)[:-1]
    return np.append(new, bias - rate * (_sigmoid(rows @ new + bias) - truth).mean())


def _gradient(weights, bias, rows, truth, rate):
    error = _sigmoid(rows @ weights + bias) - truth
    return np.append(rows.T @ error / len(rows), error.mean())


STEP = Exercise(
    number="8a.2",
    right=_step,
    probes=(
        (
            np.array([0.4, -1.0]),
            0.3,
            np.array([[1.0, 0.5], [-2.0, 1.5], [0.5, -1.0], [1.5, 2.0], [-1.0, -0.5]]),
            np.array([1.0, 0.0, 0.0, 1.0, 1.0]),
            0.8,
        ),
        (
            np.array([-0.2, 0.7, 0.1]),
            -0.6,
            np.array([[2.0, -1.0, 0.5], [0.3, 1.2, -2.0], [-1.1, 0.4, 0.9], [0.6, 0.6, 1.7]]),
            np.array([0.0, 1.0, 1.0, 0.0]),
            0.25,
        ),
    ),
    praise="Error times input, averaged, and a step against it. That is all of logistic regression.",
    wrong={
        "uphill": Wrong(
            lambda w, b, x, t, rate: _step(w, b, x, t, -rate),
            "The step has the wrong sign: the loss rises. The gradient points uphill; subtract it. (Or is your error "
            "t − p in place of p − t?)",
        ),
        "sum_for_mean": Wrong(
            lambda w, b, x, t, rate: _step(w, b, x, t, rate * len(x)),
            "You summed over the voxels. With the sum, twice the voxels make steps of twice the length; take the mean.",
        ),
        "weights_summed": Wrong(
            lambda w, b, x, t, rate: _joined(_step(w, b, x, t, rate * len(x)), _step(w, b, x, t, rate)),
            "The bias is right. In the weights you summed over the voxels: `rows.T @ error` still needs a division by "
            "their number.",
        ),
        "bias_summed": Wrong(
            lambda w, b, x, t, rate: _joined(_step(w, b, x, t, rate), _step(w, b, x, t, rate * len(x))),
            "The weights are right. The bias took the sum of the errors: it needs their mean.",
        ),
        "divided_by_features": Wrong(
            lambda w, b, x, t, rate: _joined(_step(w, b, x, t, rate * len(x) / len(w)), _step(w, b, x, t, rate)),
            "You divided by the number of features. The loss is a mean over voxels: `len(rows)`.",
        ),
        "bias_forgotten_in_step": Wrong(
            lambda w, b, x, t, rate: np.append(_step(w, b, x, t, rate)[:-1], b),
            "The weights are right, and the bias did not move. It has a slope, too: the mean error, as if its input "
            "were always 1.",
        ),
        "bias_forgotten_in_logit": Wrong(
            lambda w, b, x, t, rate: _step(w, 0.0, x, t, rate) + np.append(0 * w, b),
            "The bias is missing in the logit. Before the step the neuron answers σ(rows @ weights + bias).",
        ),
        "sigmoid_forgotten": Wrong(
            _descend(lambda z, t: z - t),
            "You compared the logit itself with the truth. That is linear regression: pass it through the sigmoid.",
        ),
        "thresholded": Wrong(
            _descend(lambda z, t: (z > 0) - t),
            "Your error is 0 or ±1: you rounded the probability. That is the perceptron's rule. Here a voxel with "
            "p = 0.6 still has an error of 0.4.",
        ),
        "slope_of_sigmoid_twice": Wrong(
            _descend(lambda z, t: (_sigmoid(z) - t) * _sigmoid(z) * (1 - _sigmoid(z))),
            "You multiplied by the sigmoid's slope p(1 − p) once too often. It cancels: the cross-entropy has the "
            "slope (p − t) / (p(1 − p)) with respect to p, so p − t remains for the logit.",
        ),
        "squared_error": Wrong(
            _descend(lambda z, t: 2 * (_sigmoid(z) - t) * _sigmoid(z) * (1 - _sigmoid(z))),
            "This is the slope of the squared error (p − t)². A voxel that is surely wrong hardly moves it, because "
            "p(1 − p) is near 0 there. The loss here is the cross-entropy.",
        ),
        "sigmoid_twice": Wrong(
            _descend(lambda z, t: _sigmoid(_sigmoid(z)) - t),
            "The sigmoid was applied twice. Twice bent, a probability never falls below one half.",
        ),
        "truth_ignored": Wrong(
            _descend(lambda z, t: _sigmoid(z)),
            "Your error is p alone. Subtract the truth, or every weight only learns to say no.",
        ),
        "rate_ignored": Wrong(
            lambda w, b, x, t, rate: _step(w, b, x, t, 1.0), "The direction is right. Multiply the slope by `rate`."
        ),
        "gradient_returned": Wrong(
            _gradient, "This is the gradient, and a right one. Return the weights and the bias after the step."
        ),
        "bias_after_weights": Wrong(
            _bias_after_weights,
            "You changed the weights first and computed the errors anew for the bias. All slopes belong to one point: "
            "compute them first, then step.",
        ),
    },
)


def _forward(x, W, c, v, b, t):
    """Sum before the ReLU of each hidden neuron, its value, and the slope of the loss with respect to the logit."""
    a = W @ x + c
    h = np.maximum(a, 0)
    return a, h, _sigmoid(v @ h + b) - t


def _hidden(x, W, c, v, b, t):
    a, _, error = _forward(x, W, c, v, b, t)
    return np.outer(error * v * (a > 0), x)


def _mask_forgotten(x, W, c, v, b, t):
    return np.outer(_forward(x, W, c, v, b, t)[2] * v, x)


def _multiplied_by_output(x, W, c, v, b, t):
    _, h, error = _forward(x, W, c, v, b, t)
    return np.outer(error * v * h, x)


def _mask_of_weights(x, W, c, v, b, t):
    return np.outer(_forward(x, W, c, v, b, t)[2] * np.maximum(v, 0), x)


def _mask_on_gradient(x, W, c, v, b, t):
    return np.outer(np.maximum(_forward(x, W, c, v, b, t)[2] * v, 0), x)


def _mask_without_bias(x, W, c, v, b, t):
    return np.outer(_forward(x, W, c, v, b, t)[2] * v * (W @ x > 0), x)


def _mask_inverted(x, W, c, v, b, t):
    a, _, error = _forward(x, W, c, v, b, t)
    return np.outer(error * v * (a <= 0), x)


def _output_weights_forgotten(x, W, c, v, b, t):
    a, _, error = _forward(x, W, c, v, b, t)
    return np.outer(error * (a > 0), x)


def _slope_of_sigmoid_twice(x, W, c, v, b, t):
    p = _forward(x, W, c, v, b, t)[2] + t
    return p * (1 - p) * _hidden(x, W, c, v, b, t)


def _squared_error(x, W, c, v, b, t):
    return 2 * _slope_of_sigmoid_twice(x, W, c, v, b, t)


def _linear_forward(x, W, c, v, b, t):
    a = W @ x + c
    return np.outer((_sigmoid(v @ a + b) - t) * v * (a > 0), x)


def _without_relu(x, W, c, v, b, t):
    return np.outer((_sigmoid(v @ (W @ x + c) + b) - t) * v, x)


def _logit_for_probability(x, W, c, v, b, t):
    a, h, _ = _forward(x, W, c, v, b, t)
    return np.outer((v @ h + b - t) * v * (a > 0), x)


def _output_layer(x, W, c, v, b, t):
    _, h, error = _forward(x, W, c, v, b, t)
    return error * h


def _hidden_bias(x, W, c, v, b, t):
    a, _, error = _forward(x, W, c, v, b, t)
    return error * v * (a > 0)


HIDDEN = Exercise(
    number="8a.3",
    right=_hidden,
    probes=(
        (
            np.array([1.0, -2.0]),
            np.array([[0.5, -0.3], [-0.8, 0.4], [0.2, 0.6], [0.1, 0.2]]),
            np.array([0.1, 0.2, -0.1, 0.5]),
            np.array([0.7, -1.2, 0.9, -0.4]),
            0.3,
            1,
        ),
        (
            np.array([0.5, 1.5, -1.0]),
            np.array([[0.4, 0.3, 0.2], [-0.6, 0.1, 0.9]]),
            np.array([0.2, 1.6]),
            np.array([-0.8, 1.1]),
            -0.2,
            0,
        ),
    ),
    praise="From right to left: p − t, times v, times 0 or 1, times x. Backpropagation is no more than that.",
    wrong={
        "relu_mask_forgotten": Wrong(
            _mask_forgotten,
            "You walked back through the ReLU as if it were not there. A hidden neuron whose sum was negative gave 0 "
            "and would give 0 after a nudge, too: its weights have no slope.",
        ),
        "multiplied_by_output": Wrong(
            _multiplied_by_output,
            "You multiplied by the ReLU's value h. Its slope is 1 where the sum was positive, and 0 elsewhere.",
        ),
        "mask_of_output_weights": Wrong(
            _mask_of_weights,
            "You switched off the hidden neurons whose output weight is negative. The ReLU looks at the sums "
            "a = Wx + c on the way forward, not at v.",
        ),
        "relu_of_the_gradient": Wrong(
            _mask_on_gradient,
            "You applied the ReLU to the slope itself. On the way back negative slopes pass; what counts is whether "
            "the neuron's sum was positive on the way forward.",
        ),
        "mask_without_bias": Wrong(
            _mask_without_bias,
            "Your mask asks whether Wx is positive. The ReLU saw Wx + c: neuron 4 of the first probe is on only thanks "
            "to its bias.",
        ),
        "mask_inverted": Wrong(_mask_inverted, "You kept the slopes of the neurons that were off: the mask is a > 0."),
        "output_weights_forgotten": Wrong(
            _output_weights_forgotten,
            "The output weights v are missing. A hidden neuron is as guilty as its answer counts: multiply by v.",
        ),
        "transposed": Wrong(
            lambda *probe: _hidden(*probe).T,
            "The right numbers, but (features, hidden). A slope has the shape of what it belongs to, here of W.",
        ),
        "sign": Wrong(
            lambda *probe: -_hidden(*probe),
            "The wrong sign everywhere: the slope of the loss with respect to z is p − t, not t − p.",
        ),
        "slope_of_sigmoid_twice": Wrong(
            _slope_of_sigmoid_twice,
            "A factor p(1 − p) too much. p − t already is the slope with respect to z: the sigmoid's slope is in it.",
        ),
        "squared_error": Wrong(
            _squared_error, "This is the slope of the squared error (p − t)². The loss here is the cross-entropy."
        ),
        "relu_forgotten_forward": Wrong(
            _linear_forward,
            "Your way back is right, your way forward is not: p must be computed from h = max(0, a).",
        ),
        "no_relu_at_all": Wrong(
            _without_relu,
            "There is no ReLU in your network, neither on the way forward nor back. Without a bend, two layers are "
            "one: v · (Wx + c) is a single weighted sum.",
        ),
        "sigmoid_forgotten": Wrong(
            _logit_for_probability, "You compared the logit z with the truth. The slope is p − t with p = σ(z)."
        ),
        "output_layer": Wrong(
            _output_layer, "These are the slopes of the output weights v. The question is one layer further back: W."
        ),
        "hidden_bias": Wrong(
            _hidden_bias,
            "These are the slopes of the hidden sums, and so of the bias c. For W each is multiplied by the inputs: "
            "np.outer(..., x).",
        ),
    },
)


def standardize(function: Callable) -> None:
    """Check exercise 8a.1: ``function(train, new)`` standardizes the features of a new patient."""
    STANDARDIZE.check(function)


def gradient_step(function: Callable) -> None:
    """Check exercise 8a.2: ``function(weights, bias, rows, truth, rate)`` returns the weights and bias after it."""
    STEP.check(function)


def hidden_gradient(function: Callable) -> None:
    """Check exercise 8a.3: ``function(x, W, c, v, b, t)`` gives the slopes of the loss with respect to W."""
    HIDDEN.check(function)
