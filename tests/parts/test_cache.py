"""Caches give back what was written, where it belongs; a window forgets what no query can see, and never more."""

import pytest
import torch

from lmlab.parts.cache import KVCache, LatentCache, ModelCache, WindowCache
from lmlab.parts.masks import attention_mask

BATCH, KV_HEADS, WIDTH, WINDOW, ROOM = 2, 3, 5, 7, 60
CHUNKS = [[1] * 30, [2] * 15, [6, 6, 6, 6], [7, 7, 7, 7], [8, 8, 8], [30], [1, 20, 1, 1, 6, 7, 8, 2, 3]]


def full_cache():
    return KVCache(BATCH, KV_HEADS, ROOM, WIDTH, torch.float32, "cpu")


def window_cache(slack=0):
    return WindowCache(BATCH, KV_HEADS, WINDOW, WIDTH, torch.float32, "cpu", slack)


def tokens(numbers: list[int]) -> torch.Tensor:
    """Keys that carry a token's number, and beside it which row, head and dimension they belong to."""
    number = torch.tensor(numbers, dtype=torch.float32)[None, None, :, None]
    place = torch.arange(BATCH * KV_HEADS * WIDTH).reshape(BATCH, KV_HEADS, 1, WIDTH)
    return number + place / 100


class Text:
    """A cache, and the plain list of what it should hold."""

    def __init__(self, cache, window=None):
        self.cache, self.window, self.numbers, self.next = cache, window, [], 0

    def read(self, count: int) -> None:
        """Write `count` new tokens; check what each of them sees."""
        new = list(range(self.next, self.next + count))
        self.next += count
        columns = self.cache.length + torch.arange(count)
        key_columns = self.cache.key_columns(columns)
        keys, values = self.cache.update(tokens(new), -tokens(new))
        self.numbers += new
        assert int(self.cache.length) == len(self.numbers)
        assert key_columns.shape == keys.shape[-2:-1] == values.shape[-2:-1]
        mask = attention_mask(columns, key_columns, self.window)[0, 0]
        for i, seen in zip(columns.tolist(), mask, strict=True):
            first = 0 if self.window is None else max(0, i - self.window + 1)
            order = key_columns[seen].argsort()
            assert key_columns[seen][order].tolist() == list(range(first, i + 1))
            expected = tokens(self.numbers[first : i + 1])
            assert torch.equal(keys[:, :, seen][:, :, order], expected)
            assert torch.equal(values[:, :, seen][:, :, order], -expected)

    def trim(self, n: int) -> None:
        self.cache.trim(n)
        self.numbers = self.numbers[: len(self.numbers) - n]


@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_a_full_cache_keeps_everything(chunks):
    text = Text(full_cache())
    for chunk in chunks:
        text.read(chunk)


@pytest.mark.parametrize("slack", [0, 1, 4])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_a_window_keeps_what_a_query_can_see(chunks, slack):
    text = Text(window_cache(slack), WINDOW)
    for chunk in chunks:
        text.read(chunk)


def test_a_full_cache_forgets_any_number_of_tokens():
    text = Text(full_cache())
    for step in (9, 5):
        text.read(step)
        text.trim(4)
    text.trim(6)
    assert int(text.cache.length) == 0
    text.read(3)


@pytest.mark.parametrize("length", [3, 7, 11, 26])
@pytest.mark.parametrize("trims", [[4], [1, 3], [2, 2]])
def test_a_window_forgets_as_many_as_its_slack(length, trims):
    text = Text(window_cache(slack=4), WINDOW)
    text.read(length)
    for n in trims:
        n = min(n, int(text.cache.length))
        text.trim(n)
    for chunk in (1, 2, 1, 9, 1):
        text.read(chunk)


def test_speculation_on_a_window_writes_some_forgets_some():
    text = Text(window_cache(slack=4), WINDOW)
    text.read(5)
    for drafted, refused in ((5, 4), (5, 0), (5, 4), (5, 3), (1, 0), (5, 4), (5, 4), (5, 2)):
        text.read(drafted)
        text.trim(refused)


def test_a_window_without_slack_refuses_to_forget():
    text = Text(window_cache(), WINDOW)
    text.read(8)
    with pytest.raises(ValueError, match=r"slack 0 cannot forget 1 tokens.*slack=1"):
        text.cache.trim(1)
    text.cache.trim(0)
    other = Text(window_cache(slack=4), WINDOW)
    other.read(20)
    other.trim(3)
    other.read(1)  # one of the three written anew: two are still lost
    with pytest.raises(ValueError, match=r"slack 4 cannot forget 5"):
        other.trim(3)


def test_a_window_that_is_not_yet_full_has_lost_nothing():
    text = Text(window_cache(), WINDOW)
    text.read(6)
    text.trim(5)
    for chunk in (4, 1, 1, 5):
        text.read(chunk)


@pytest.mark.parametrize("make", [full_cache, window_cache])
def test_reset_starts_anew(make):
    window = WINDOW if make is window_cache else None
    cache = make()
    Text(cache, window).read(25)
    cache.reset()
    assert int(cache.length) == 0
    text = Text(cache, window)
    text.read(5)
    text.trim(4)  # nothing of the first text counts
    text.read(12)


def test_nbytes_are_the_bytes_allocated():
    assert full_cache().nbytes == 2 * BATCH * KV_HEADS * ROOM * WIDTH * 4
    assert window_cache().nbytes == 2 * BATCH * KV_HEADS * WINDOW * WIDTH * 4
    assert window_cache(slack=4).nbytes == 2 * BATCH * KV_HEADS * (WINDOW + 4) * WIDTH * 4
    latent = LatentCache(BATCH, ROOM, WIDTH, torch.bfloat16, "cpu")
    assert latent.nbytes == BATCH * ROOM * WIDTH * 2
    assert ModelCache([full_cache(), latent], BATCH, ROOM).nbytes == full_cache().nbytes + latent.nbytes


def test_a_latent_cache_is_one_buffer():
    cache = LatentCache(BATCH, ROOM, WIDTH, torch.float32, "cpu")
    first, second = torch.randn(2, BATCH, 1, 4, WIDTH, generator=torch.Generator().manual_seed(0))
    cache.update(first)
    (latents,) = cache.update(second)
    assert torch.equal(latents, torch.cat((first, second), dim=2))


def test_writing_does_not_reach_into_what_a_chunk_was_given():
    """A ring's answer to a chunk is a copy: training code may hold it while the ring moves on."""
    cache = window_cache()
    keys, _ = cache.update(tokens([0, 1, 2]), tokens([0, 1, 2]))
    before = keys.clone()
    for n in range(3, 20):
        cache.update(tokens([n]), tokens([n]))
    assert torch.equal(keys, before)


def model_cache():
    return ModelCache([full_cache(), window_cache()], BATCH, ROOM)


def write(cache: ModelCache, count: int) -> None:
    for layer in cache.layers:
        layer.update(tokens([0] * count), tokens([0] * count))


@pytest.mark.parametrize(("length", "n"), [(5, 6), (5, -1), (0, 1)])
def test_a_model_cache_refuses_to_forget_what_it_does_not_hold(length, n):
    cache = model_cache()
    write(cache, length)
    with pytest.raises(ValueError, match=rf"trim {n} tokens of a cache that holds {length}"):
        cache.trim(n)


def test_a_refused_trim_changes_no_layer():
    cache = model_cache()
    write(cache, 9)
    with pytest.raises(ValueError, match="slack"):
        cache.trim(2)
    assert [int(layer.length) for layer in cache.layers] == [9, 9]


def test_a_model_cache_resets_every_layer_and_the_padding():
    cache = model_cache()
    write(cache, 9)
    cache.padding = torch.tensor([0, 3])
    cache.reset()
    assert int(cache.length) == 0 and cache.padding is None
    assert [int(layer.length) for layer in cache.layers] == [0, 0]
