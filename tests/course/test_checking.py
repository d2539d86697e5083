"""check: what it says to each kind of answer; hint and solution."""

import pytest
import torch

from lmlab.course import check, hint, solution
from lmlab.course.catalogue import exercise
from lmlab.parts.rope import RoPEConfig
from tests.course.answers import absorbed_as_one_key, absorbed_in_the_expanded_way


def right(theta, dim):
    return RoPEConfig(rope_theta=theta).inverse_frequencies(dim)


def not_yet(theta, dim): ...


def to_do(theta, dim):
    raise NotImplementedError


@pytest.mark.parametrize("mine", [None, ..., not_yet, to_do], ids=["None", "dots", "returns nothing", "to do"])
def test_what_was_not_attempted_is_open_and_leaves_no_trace(mine, record_file):
    verdict = check("03.1", mine)
    assert verdict.right is None and "03.1 is open" in str(verdict)
    assert not record_file.exists()


def test_a_right_answer():
    verdict = check("03.1", right)
    assert repr(verdict) == verdict._repr_markdown_()
    assert verdict.right is True and verdict._repr_markdown_().startswith("**03.1: right.** The real one is")


def test_the_shape_is_named():
    assert "The shape is (63,), where (64,) is expected: (dim / 2,), one speed for each pair" in str(
        check("03.1", lambda *a: right(*a)[1:])
    )
    turned = exercise("05.2").solution
    says = str(check("05.2", lambda *a: turned(*a).T))
    assert "The shape is (16, 8), where (8, 16) is expected: the last two dimensions have changed places." in says


def test_a_factor_is_named():
    assert "Your result is always 3 times what it should be" in str(check("03.1", lambda *a: 3 * right(*a)))


def test_a_number_that_no_mistake_gives():
    says = "1 is not right for rank=512, rope_width=64, head_dim=128; 2 is expected. No known mistake gives this."
    assert says in str(check("05.5", lambda *a: 1))


def test_a_factor_is_not_named_where_it_says_nothing():
    truth = exercise("03.5").truth
    for wrong in (lambda *a: 2 * truth(*a) + (truth(*a) == 0), lambda *a: 0):
        assert "times what it should be" not in str(check("03.5", wrong))
    assert "times what it should be" not in str(check("03.1", lambda *a: 0 * right(*a)))


@pytest.mark.parametrize("wrong", [lambda *a: right(*a).round(decimals=4), lambda *a: right(*a) + 1e-5])
def test_the_slow_hands_count_too(wrong):
    assert check("03.1", wrong).right is False


def test_an_unknown_mistake_is_located():
    def bumped(theta, dim):
        return right(theta, dim) + 0.5 * (torch.arange(dim // 2) == 2)

    says = str(check("03.1", bumped))
    assert "63 of 64 values agree for theta=10000, dim=128; the first that does not, at [2], is 1.24989" in says


def test_not_a_number_is_named():
    assert "64 of 64 values are not a number (NaN) for theta=10000, dim=128" in str(
        check("03.1", lambda *a: right(*a) / 0 * 0)
    )


def test_an_exception_is_reported_with_its_line():
    def broken(theta, dim):
        return torch.ones(2) @ torch.ones(3)

    says = str(check("03.1", broken))
    assert "It raises RuntimeError in the line `return torch.ones(2) @ torch.ones(3)`" in says
    assert "It was called with theta=10000, dim=128." in says
    says = str(check("03.2", lambda x, positions, inv_freq: 1 / 0))
    assert "x of shape (3, 14), positions of shape (3,), inv_freq of shape (7,)" in says


def test_a_wrong_number_of_parameters_is_named():
    assert "It must take (theta, dim)." in str(check("03.1", lambda theta: 1))


@pytest.mark.parametrize(
    ("mine", "says"),
    [(lambda *a: "text", "It is a str"), (lambda *a: {}, "It is a dict"), (lambda *a: 1j * right(*a), "complex")],
)
def test_other_things_than_numbers_are_named(mine, says):
    assert says in str(check("03.1", mine))


def test_a_result_in_place_of_the_function():
    assert "Give the function itself: check('03.1', frequencies)." in str(check("03.1", torch.ones(64)))


def test_an_answer_that_changes_what_it_is_given_hurts_nobody():
    def rotates_in_place(x, positions, inv_freq):
        turned = exercise("03.2").solution(x, positions, inv_freq)
        x.zero_()
        positions.zero_()
        return turned

    assert check("03.2", rotates_in_place).right is True
    assert check("03.2", exercise("03.2").solution).right is True


def test_answers_that_need_gradients_pass():
    assert check("03.1", lambda *a: right(*a).requires_grad_()).right is True


def test_hints_come_one_by_one_and_begin_again():
    asked = exercise("05.4")
    seen = [str(hint("05.4")) for _ in range(len(asked.hints) + 1)]
    assert [asked.hints[i % len(asked.hints)] in text for i, text in enumerate(seen)] == [True] * len(seen)
    assert seen[0].startswith("05.4, hint 1 of 3: ") and seen[0] == seen[-1]


def test_the_solution_is_shown_without_its_decorator():
    shown = solution("03.4")._repr_markdown_()
    assert "```python\ndef to_half_split(x):\n" in shown and "@exercise" not in shown
    assert "difficulty 2 of 5, importance 3 of 5" in shown


@pytest.mark.parametrize("call", [lambda: check("9.9", 1), lambda: hint("9.9"), lambda: solution("9.9")])
def test_an_unknown_number_is_refused(call):
    with pytest.raises(ValueError, match="there is no exercise '9.9'"):
        call()


def test_the_expanded_form_is_not_taken_for_the_absorbed_one():
    def flat(q_nope, q_rope, latent, k_rope, w_k, w_v, scale):
        """The keys of all heads by one product, before they are taken apart."""
        keys = (latent @ w_k.flatten(0, 1).T).unflatten(-1, w_k.shape[:2]).transpose(0, 1)  # (H, T, nope)
        scores = (q_nope @ keys.mT + q_rope @ k_rope.T) * scale
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ latent @ w_v.mT

    for expanded in (absorbed_in_the_expanded_way, flat):
        verdict = check("05.3", expanded)
        assert verdict.right is False and "The numbers are right, but the keys of all heads were made" in str(verdict)
    assert check("05.3", absorbed_as_one_key).right is True
