"""show_source shows what runs."""

import inspect

import pytest
import torch

from lmlab.course import show_source
from lmlab.measure.residual import lens
from lmlab.parts.mla import MLAConfig, MultiHeadLatentAttention
from lmlab.parts.rope import RoPE, plain_inverse_frequencies


def test_a_function_a_method_and_a_class():
    note = show_source(plain_inverse_frequencies, MultiHeadLatentAttention.absorbed, RoPE)
    text = note._repr_markdown_()
    assert inspect.getsource(plain_inverse_frequencies).rstrip() in text
    assert "```python\ndef absorbed(self," in text and "class RoPE(nn.Module):" in text
    first = inspect.getsourcelines(RoPE)[1]
    assert f"`lmlab/parts/rope.py, lines {first} to" in text
    assert repr(note) == text


def test_decorated_classes_keep_their_decorator():
    assert "@dataclass(frozen=True, kw_only=True)" in str(show_source(MLAConfig))


def test_a_function_under_a_decorator_is_found_in_its_own_file():
    first = inspect.getsourcelines(lens)[1]
    assert str(show_source(lens)).startswith(f"`lmlab/measure/residual.py, lines {first} to")


@pytest.mark.parametrize("thing", [3, torch.ones(2), len, "text"])
def test_what_has_no_source_is_refused(thing):
    with pytest.raises(ValueError, match="has no Python source to show: give a function"):
        show_source(thing)
