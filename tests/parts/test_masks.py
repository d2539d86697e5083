"""Masks by their definition, pair by pair, and the timeline of a padded batch."""

import pytest
import torch

from lmlab.parts.masks import Timeline, attention_mask, timeline_of
from lmlab.parts.rope import RoPEConfig


@pytest.mark.parametrize("window", [None, 1, 3, 100])
@pytest.mark.parametrize("padding", [None, [0, 2, 4]])
@pytest.mark.parametrize("keys", [[0, 1, 2, 3, 4, 5, 6], [4, 5, -1, 3, -2, 6]])  # the second: a ring, some places empty
def test_every_pair_by_the_definition(window, padding, keys):
    queries = [3, 4, 5, 6]
    mask = attention_mask(
        torch.tensor(queries), torch.tensor(keys), window, None if padding is None else torch.tensor(padding)
    )
    rows = padding or [0]
    assert mask.shape == (len(rows), 1, len(queries), len(keys)) and mask.dtype == torch.bool
    for b, empty in enumerate(rows):
        for t, i in enumerate(queries):
            for s, j in enumerate(keys):
                seen = 0 <= j <= i and j >= empty and (window is None or i - j < window)
                assert bool(mask[b, 0, t, s]) == seen, (b, i, j)


@pytest.mark.parametrize("window", [None, 2])
def test_documents_in_one_row_do_not_see_each_other(window):
    documents, columns = torch.tensor([[0, 0, 1, 1, 1], [3, 4, 4, 4, 5]]), torch.arange(5)
    mask = Timeline(columns, documents=documents).mask(window=window)
    assert mask.shape == (2, 1, 5, 5)
    for b in range(2):
        for i in range(5):
            for j in range(5):
                seen = j <= i and documents[b, i] == documents[b, j] and (window is None or i - j < window)
                assert bool(mask[b, 0, i, j]) == seen, (b, i, j)


def test_a_window_of_n_is_n_keys_the_query_itself_included():
    columns = torch.arange(20)
    seen = attention_mask(columns, columns, window=7)[0, 0].sum(-1)
    assert seen.tolist() == [1, 2, 3, 4, 5, 6] + [7] * 14


def test_positions_count_from_the_first_real_token():
    timeline = Timeline(torch.arange(5), torch.tensor([0, 3, 4]))
    assert timeline.positions.tolist() == [[0, 1, 2, 3, 4], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert timeline.token_mask.tolist() == [[True] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]]
    later = Timeline(torch.arange(5, 7), torch.tensor([0, 3, 4]))
    assert later.positions.tolist() == [[5, 6], [2, 3], [1, 2]]
    assert bool(later.token_mask.all())


def test_without_padding_all_rows_share_one_timeline():
    timeline = timeline_of(torch.zeros(3, 4, 6))
    assert timeline.columns.tolist() == [0, 1, 2, 3]
    assert timeline.positions.tolist() == [[0, 1, 2, 3]]
    assert timeline.token_mask is None
    assert timeline.mask().shape == (1, 1, 4, 4)


def test_layers_of_one_kind_share_what_they_ask_for():
    timeline = timeline_of(torch.zeros(1, 4))
    assert timeline.mask(window=2) is timeline.mask(window=2)
    assert not torch.equal(timeline.mask(window=2), timeline.mask(window=3))
    assert not torch.equal(timeline.mask(window=2), timeline.mask())
    rope = RoPEConfig(rope_theta=100.0)
    assert timeline.angles(rope.build(6))[0] is timeline.angles(rope.build(6))[0]
    assert timeline.angles(rope.build(8))[0].shape[-1] == 8
    other = RoPEConfig(rope_theta=50.0)
    assert not torch.equal(timeline.angles(other.build(6))[0], timeline.angles(rope.build(6))[0])
    assert timeline_of(torch.zeros(1, 5)).mask().shape[-1] == 5
