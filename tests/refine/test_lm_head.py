"""The last layer's log-probabilities and divergence, against what autograd makes of the formula."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow  # TRL's import
N_TOKENS, WIDTH, VOCABULARY = 300, 16, 90  # more tokens than a part has


def given(dtype: Any) -> tuple[Any, Any, Any, Any]:
    """Hidden states, weights, bias and labels; every third label is the first of the likeliest."""
    import torch

    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(N_TOKENS, WIDTH, generator=random).to(dtype)
    weight = torch.randn(VOCABULARY, WIDTH, generator=random).to(dtype)
    weight[VOCABULARY // 2 :] = weight[: VOCABULARY // 2]  # so that there are equals
    bias = torch.randn(VOCABULARY, generator=random).to(dtype)
    bias[VOCABULARY // 2 :] = bias[: VOCABULARY // 2]
    labels = torch.randint(0, VOCABULARY, (N_TOKENS,), generator=random)
    labels[::3] = (hidden @ weight.T + bias).argmax(-1)[::3]
    labels[::6] = (labels[::6] + VOCABULARY // 2) % VOCABULARY  # the other one of two equals
    return hidden, weight, bias, labels


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_log_probs_and_their_gradient(dtype: str, error: float, has_bias: bool) -> None:
    import torch

    from refine.lm_head import OF_TRL, LogProbs

    hidden, weight, bias, labels = given(getattr(torch, dtype))
    bias = bias if has_bias else None
    scale = torch.rand(N_TOKENS, generator=torch.Generator().manual_seed(1))
    asked = ("log_probs", "entropy", "mean_logits", "is_top1")
    found = []
    for function in (LogProbs, OF_TRL):
        states = hidden.clone().requires_grad_()
        outputs = function.apply(states, weight, bias, labels, 1.0, 64, None, 1.0, asked)
        (outputs[0] * scale).sum().backward()
        found.append((*outputs, states.grad))
    states = hidden.double().requires_grad_()
    logits = states @ weight.double().T + (0 if bias is None else bias.double())
    log_probs = logits.log_softmax(-1)[torch.arange(N_TOKENS), labels]
    (log_probs * scale).sum().backward()
    assert states.grad is not None
    for one in found:
        assert (one[0] - log_probs).abs().max() < 5 * error
        assert (one[5] - states.grad).norm() < error * states.grad.norm()
    ours, theirs = found
    for i in (1, 3):
        torch.testing.assert_close(ours[i].float(), theirs[i].float(), atol=error, rtol=error)
    assert ours[2] is None
    assert torch.equal(ours[4], theirs[4])
    assert 0 < int(ours[4].sum()) < N_TOKENS / 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_under_autocast_products_are_in_bf16_and_sums_in_float32(dtype: str) -> None:
    import torch

    from refine.lm_head import OF_TRL, Divergence, LogProbs

    hidden, weight, bias, labels = given(getattr(torch, dtype))
    asked = ("log_probs", "entropy", "mean_logits", "is_top1")
    found = []
    for function in (LogProbs, OF_TRL):
        states = hidden.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = function.apply(states, weight, bias, labels, 1.0, 900, None, 1.0, asked)
        outputs[0].sum().backward()
        assert states.grad is not None
        assert states.grad.dtype == hidden.dtype
        found.append((*outputs, states.grad))
    ours, theirs = found
    assert ours[0].dtype == ours[1].dtype == torch.float32
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-4, rtol=1e-4)
    assert torch.equal(ours[4], theirs[4])
    assert (ours[5] - theirs[5]).float().norm() < 2e-2 * theirs[5].float().norm()
    logits = (hidden @ weight.T).to(torch.bfloat16)
    near = (1.02 * logits).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = Divergence.apply(logits, near)
    torch.testing.assert_close(mixed, Divergence.apply(logits, near))


def test_no_labels_no_gradient_and_a_loss_of_entropy() -> None:
    import torch

    from refine.lm_head import LogProbs

    hidden, weight, _, labels = given(torch.float32)
    options = (1.0, 64, None, 1.0, ("log_probs", "entropy", "is_top1"))
    states = hidden[:0].clone().requires_grad_()
    log_probs, entropy, _, _, is_top1 = LogProbs.apply(states, weight, None, labels[:0], *options)
    assert log_probs.shape == entropy.shape == is_top1.shape == (0,)
    log_probs.sum().backward()
    assert states.grad is not None
    assert states.grad.shape == (0, WIDTH)
    states = hidden.clone().requires_grad_()
    with_gradient = LogProbs.apply(states, weight, None, labels, *options)
    with torch.no_grad():
        without = LogProbs.apply(states, weight, None, labels, *options)
    for i in (0, 1, 4):
        assert torch.equal(with_gradient[i], without[i])
    with pytest.raises(NotImplementedError, match="no gradient here"):
        (with_gradient[0].sum() + with_gradient[1].sum()).backward()


@pytest.mark.parametrize(
    "more", [{"softcap": 5.0}, {"scale": 0.5}, {"temperature": 2.0}, {"learns": True}]
)
def test_what_it_does_not_know_is_left_to_trl(more: dict[str, Any]) -> None:
    import torch

    from refine.lm_head import OF_TRL, LogProbs

    hidden, weight, _, labels = given(torch.float32)
    weight.requires_grad_(more.pop("learns", False))
    options = {"temperature": 1.0, "softcap": None, "scale": 1.0} | more
    arguments = (options["temperature"], 64, options["softcap"], options["scale"], ("log_probs",))
    gradients = []
    for function in (LogProbs, OF_TRL):
        states, weight.grad = hidden.clone().requires_grad_(), None
        function.apply(states, weight, None, labels, *arguments)[0].sum().backward()
        gradients.append((states.grad, weight.grad))
    ours, theirs = gradients
    assert torch.equal(ours[0], theirs[0])
    assert (ours[1] is None) is (not weight.requires_grad)
    assert ours[1] is None or torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_divergence_and_its_gradient(dtype: str, error: float) -> None:
    import torch

    from refine.lm_head import Divergence

    random = torch.Generator().manual_seed(2)
    base, model = (
        torch.randn(N_TOKENS, VOCABULARY, generator=random).to(getattr(torch, dtype))
        for _ in range(2)
    )
    logits = model.clone().requires_grad_()
    nats = Divergence.apply(base, logits)
    (0.3 * nats).backward()
    expected = model.double().requires_grad_()
    of_both = [one.log_softmax(-1) for one in (base.double(), expected)]
    exact = torch.nn.functional.kl_div(of_both[1], of_both[0], log_target=True, reduction="sum")
    (0.3 * exact).backward()
    assert float(nats.detach()) == pytest.approx(float(exact.detach()), rel=error)
    assert logits.grad is not None
    assert expected.grad is not None
    assert (logits.grad - expected.grad).norm() < error * expected.grad.norm()
    with torch.no_grad():
        assert float(Divergence.apply(base, base)) == 0
