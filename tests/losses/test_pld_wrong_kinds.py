"""PLD given what is no tensor, or a tensor of no such kind: what to pass instead."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from entrokit.losses.pld import (
    PLDLoss,
    TeacherHead,
    TopKTeacher,
    dist_loss,
    dkd_loss,
    kd_loss,
    linear_pld_loss,
    pld_loss,
    teacher_optimal_permutation,
    topk_pld_loss,
)

from .ranked import S, T, Y

HEAD = nn.Linear(3, 4)
HIDDEN, WEIGHT = torch.zeros(2, 3), HEAD.weight.detach()
TOP = TopKTeacher.of(T, 2, Y)


@dataclasses.dataclass
class Output:
    """As transformers' ModelOutput is to who reads it."""

    logits: torch.Tensor


@dataclasses.dataclass
class BaseOutput:
    last_hidden_state: torch.Tensor


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Output(S), "expected a tensor, got Output; pass its logits, as outputs.logits"),
        (BaseOutput(S), "expected a tensor, got BaseOutput; the model has no head"),
        (S.numpy(), "expected a tensor, got ndarray; torch.as_tensor makes one of it"),
        (S.tolist(), "expected a tensor, got list; torch.as_tensor"),
        (HEAD, "expected a tensor, got Linear; pass what it returns"),
        (None, "expected a tensor, got NoneType$"),
        (TOP, "expected a tensor, got TopKTeacher; topk_pld_loss takes it"),
        (TeacherHead(HIDDEN, WEIGHT), "expected a tensor, got TeacherHead; linear_pld_loss takes it"),
        (S.to_sparse(), "expected a dense tensor, got layout torch.sparse_coo"),
        (S.to(torch.complex64), "expected floating point logits, got torch.complex64"),
    ],
)
def test_logits(position, given, message):
    name = ("student_logits", "teacher_logits")[position]
    logits = [S, T]
    logits[position] = given
    for loss in (pld_loss, PLDLoss()):
        with pytest.raises(TypeError, match=f"^{name}: {message}"):
            loss(*logits, Y)
    for loss in (kd_loss, dist_loss, dkd_loss):
        with pytest.raises(TypeError, match=f"^{loss.__name__}: {name}: {message}"):
            loss(*logits, Y)
    with pytest.raises(TypeError, match=f"^teacher_logits: {message}"):
        teacher_optimal_permutation(given, Y)
    with pytest.raises(TypeError, match=f"^teacher_logits: {message}"):
        TopKTeacher.of(given, 2, Y)
    with pytest.raises(TypeError, match=f"^student_logits: {message}"):
        topk_pld_loss(given, TOP, Y)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([1, 3], "expected a tensor, got list; torch.as_tensor"),
        (np.array([1, 3]), "expected a tensor, got ndarray; torch.as_tensor"),
        (Y > 1, "expected integer labels, got torch.bool; a mask is no label"),
        (Y.double(), r"expected integer labels, got torch.float64; .* hard ones are target.long\(\)"),
        (Y.to(torch.complex64), "expected integer labels, got torch.complex64"),
    ],
)
def test_labels(target, message):
    calls = [
        lambda: pld_loss(S, T, target),
        lambda: topk_pld_loss(S, TOP, target),
        lambda: linear_pld_loss(HIDDEN, WEIGHT, TOP, target),
        lambda: TopKTeacher.of(T, 2, target),
        lambda: teacher_optimal_permutation(T, target),
        *(lambda f=f: f(S, T, target) for f in (kd_loss, dist_loss, dkd_loss)),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"target: {message}"):
            call()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": HEAD}, "^weight: expected a tensor, got Linear; pass its weight, as lm_head.weight"),
        ({"bias": HEAD}, "^bias: expected a tensor, got Linear; pass its bias, as lm_head.bias"),
        ({"hidden": Output(S)}, "^hidden: expected a tensor, got Output; pass the last_hidden_state of the model"),
        ({"hidden": BaseOutput(S)}, "^hidden: expected a tensor, got BaseOutput; pass the last_hidden_state"),
        ({"bias": torch.zeros(4, dtype=torch.long)}, "^bias: expected floating point numbers, got torch.int64"),
        ({"teacher": HEAD}, r"got Linear; TeacherHead\(hidden, lm_head.weight\) is one"),
        (
            {"teacher": T},
            r"got Tensor; TeacherHead\(.*, and TopKTeacher.of\(logits, k, labels\) makes the other of log",
        ),
        ({"teacher": TeacherHead(HIDDEN, HEAD)}, "^teacher.weight: expected a tensor, got Linear; pass its weight"),
        ({"teacher": TeacherHead(Output(S), WEIGHT)}, "^teacher.hidden: expected a tensor, got Output; pass the last_"),
        ({"teacher": TeacherHead(HIDDEN, WEIGHT, HEAD)}, "^teacher.bias: expected a tensor, got Linear; pass its bias"),
    ],
)
def test_heads(changed, message):
    given = {"hidden": HIDDEN, "weight": WEIGHT, "teacher": TeacherHead(HIDDEN, WEIGHT), "target": Y} | changed
    with pytest.raises(TypeError, match=message):
        linear_pld_loss(**given)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (T, r"^teacher: expected a TopKTeacher, got Tensor; TopKTeacher.of\(logits, k, labels\) makes one of logits"),
        (TopKTeacher([[-1.0]] * 2, TOP.index), "^log_probs: expected a tensor, got list; torch.as_tensor"),
        (TopKTeacher(TOP.log_probs, TOP.index.numpy()), "^index: expected a tensor, got ndarray; torch.as_tensor"),
        (TopKTeacher(TOP.log_probs, TOP.index, [-1.0]), "^target_log_probs: expected a tensor, got list"),
        (TopKTeacher(TOP.log_probs, TOP.index > 0), "^index: expected integer classes, got torch.bool"),
    ],
)
def test_top_ks(teacher, message):
    with pytest.raises(TypeError, match=message):
        topk_pld_loss(S, teacher, Y)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 0.0, 0.0, 0.0], "^weights: expected a tensor, got list; torch.as_tensor"),
        (np.ones(4), "^weights: expected a tensor, got ndarray; torch.as_tensor"),
        (torch.ones(4, dtype=torch.complex64), "^weights: expected real numbers, got torch.complex64"),
    ],
)
def test_weights(weights, message):
    for call in (lambda: pld_loss(S, T, Y, weights=weights), lambda: PLDLoss(weights=weights)):
        with pytest.raises(TypeError, match=message):
            call()


def test_weights_of_a_module_are_refused_where_they_are_given():
    with pytest.raises(ValueError, match=r"weights: must be finite and >= 0, got nan at \[1\]"):
        PLDLoss(weights=torch.tensor([1.0, torch.nan]))


def test_weights_may_be_integers():
    first = torch.tensor([1, 0, 0, 0])
    assert torch.equal(pld_loss(S, T, Y, weights=first), pld_loss(S, T, Y, weights=first.double()))


def test_options():
    temperature = torch.tensor(2.0)
    for call in (lambda: pld_loss(S, T, Y, temperature), lambda: PLDLoss(temperature)):
        with pytest.raises(TypeError, match="temperature: expected a number, got Tensor; it has no gradient here"):
            call()
    with pytest.raises(TypeError, match="ignore_index: expected an integer, got str"):
        pld_loss(S, T, Y, ignore_index="-100")
    numpys = {"temperature": np.float32(2.0), "ignore_index": np.int64(3)}
    assert torch.equal(pld_loss(S, T, Y, **numpys), pld_loss(S, T, Y, 2.0, ignore_index=3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pld_loss(S.to("meta"), T.to("meta"), Y.to("meta")), "student_logits: is on meta, where there are no"),
        (lambda: pld_loss(S, T, Y.to("meta")), "target: is on meta, and the student on cpu; move it there"),
        (lambda: topk_pld_loss(S, TOP, Y.to("meta")), "target: is on meta"),
        (lambda: TopKTeacher.of(T.to("meta"), 2, Y), "teacher_logits: is on meta, where there are no numbers"),
        (lambda: linear_pld_loss(HIDDEN.to("meta"), WEIGHT, TOP, Y), "hidden: is on meta, where"),
        (lambda: linear_pld_loss(HIDDEN, WEIGHT.to("meta"), TOP, Y), "weight: is on meta, and the student on cpu"),
        (
            lambda: linear_pld_loss(HIDDEN, WEIGHT, TeacherHead(HIDDEN, WEIGHT.to("meta")), Y),
            "teacher.weight: is on meta, and the student on cpu",
        ),
        (
            lambda: topk_pld_loss(S, TopKTeacher(TOP.log_probs, TOP.index.to("meta")), Y),
            "index: is on meta, and the student on cpu",
        ),
        (lambda: pld_loss(S, T, Y, weights=torch.ones(4, device="meta")), "weights: is on meta, where"),
        (lambda: kd_loss(S, T, Y.to("meta")), "kd_loss: target: is on meta, and the student on cpu"),
    ],
    ids=range(10),
)
def test_devices(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_what_transformers_returns():
    outputs = pytest.importorskip("transformers.modeling_outputs")
    with pytest.raises(TypeError, match="got CausalLMOutput; pass its logits, as outputs.logits"):
        pld_loss(outputs.CausalLMOutput(logits=S), T, Y)
    with pytest.raises(TypeError, match="got BaseModelOutput; pass the last_hidden_state"):
        linear_pld_loss(outputs.BaseModelOutput(last_hidden_state=HIDDEN), WEIGHT, TOP, Y)
