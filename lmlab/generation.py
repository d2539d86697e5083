"""Writing text one token at a time: a loop over the model that yields each step.

`generate` is a generator of Steps: printing, drawing and stopping early belong to the caller. The samplers are in
`lmlab.sampling`, the speculative loop in `lmlab.speculation`, and what compile=True means in `lmlab.compiling`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from lmlab.compiling import runner
from lmlab.model import LanguageModel
from lmlab.parts.cache import ModelCache
from lmlab.sampling import Greedy, Sampler
from lmlab.speculation import Draft, Drafter, speculate


@dataclass(frozen=True, kw_only=True)
class Step:
    """One new token in each row.

    token (B,): the tokens written; a finished row repeats its last token. logits (B, V): the model's own. probabilities
    (B, V): the same after the sampler. finished (B,): rows that have written an end token, this one included. length:
    tokens in the text that the choice was made from, padding included. cache_bytes: bytes allocated for the cache.
    draft: in speculative decoding, the proposal that stood in this place; None where there was none.
    """

    token: torch.Tensor
    logits: torch.Tensor
    probabilities: torch.Tensor
    finished: torch.Tensor
    length: int
    cache_bytes: int
    draft: Draft | None = None


# token (B,), the model's logits (B, V), what the sampler made of them (B, V), and the draft that stood there
Choice = tuple[torch.Tensor, torch.Tensor, torch.Tensor, Draft | None]


def generate(
    model: LanguageModel,
    prompts: torch.Tensor | Sequence[Sequence[int]] | Sequence[int],
    *,
    max_new_tokens: int,
    sampler: Greedy | Sampler = Greedy(),  # noqa: B008 (it never changes)
    lengths: torch.Tensor | None = None,
    eos_token_id: int | Sequence[int] = (),
    prefill_chunk_size: int | None = None,
    generator: torch.Generator | None = None,
    compile: bool = False,
    speculative: bool = False,
) -> Iterator[Step]:
    """Read the prompts, then write up to `max_new_tokens` tokens a row, one Step each; ends when every row has stopped.

    prompts: token ids (B, T), or (T,) for one row, or a list of lists of unequal lengths; or ids padded at the left,
    with `lengths` (B,). A row ends with `eos_token_id`, or one of several. `prefill_chunk_size` reads the prompt in
    pieces of that many tokens, which bounds the memory of attention. `generator` makes the draws reproducible.

    compile: what follows the prompt runs as one compiled graph. The second token waits for the compiler, 20 to 50 s,
    under a progress line; later texts of this model and batch size do not, up to the same length rounded up to a power
    of two (64 at least), which is the cache's capacity. The same tokens come out, but for ties in the last bit. Do not
    change the model while a text is being written: it is looked at when a generation begins.

    speculative: the model's multi-token-prediction module drafts every second token, the model verifies; one row only.
    The text has the same distribution as without, and for Greedy() the same tokens, again but for ties.

    ValueError for an empty prompt or a token outside the vocabulary; for `speculative` without such a module or with
    several rows; for `compile` with hooks on the model.
    """
    device = model.embed_tokens.weight.device
    ids, lengths = _as_batch(prompts, lengths, device)
    _check(ids, model.config.vocab_size, max_new_tokens, prefill_chunk_size)
    if speculative:
        _check_speculative(model, ids)
        ids, lengths = ids if lengths is None else ids[:, -int(lengths) :], None
    rows, length = ids.shape
    capacity = length + max_new_tokens - (not speculative)  # a draft may stand after the last token
    if compile:
        capacity = max(64, 1 << (capacity - 1).bit_length())
    cache = model.make_cache(rows, capacity, slack=int(speculative))
    if lengths is not None:
        cache.padding = length - lengths
    chunks, cache_bytes = ids.split(prefill_chunk_size or length, dim=1), cache.nbytes
    read_next = runner(states, model, compile, rows, capacity, lengths is None, speculative)
    if speculative:
        drafter = Drafter(model, capacity, compile)
        cache_bytes += drafter.cache.nbytes
        choices = _speculating(model, chunks, cache, drafter, read_next, sampler, generator)
    else:
        choices = _one_by_one(model, chunks, cache, read_next, sampler, generator)
    stops = torch.tensor([eos_token_id] if isinstance(eos_token_id, int) else [*eos_token_id], device=device)
    return _steps(choices, length, max_new_tokens, stops, cache_bytes)


def write(
    model: LanguageModel,
    prompts: torch.Tensor | Sequence[Sequence[int]] | Sequence[int],
    *,
    eos_token_id: int,
    max_new_tokens: int,
    sampler: Greedy | Sampler = Sampler(),  # noqa: B008 (it never changes)
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """`generate` to the end: the ids written after each prompt, without the token that ends it."""
    options = {"sampler": sampler, "eos_token_id": eos_token_id, "generator": generator}
    steps = [step.token for step in generate(model, prompts, max_new_tokens=max_new_tokens, **options)]
    written = torch.stack(steps, dim=1).tolist()  # B lists
    return [ids[: ids.index(eos_token_id)] if eos_token_id in ids else ids for ids in written]


def _steps(
    choices: Iterator[Choice], length: int, max_new_tokens: int, stops: torch.Tensor, cache_bytes: int
) -> Iterator[Step]:
    last = finished = None
    for number, (token, logits, probabilities, proposal) in zip(range(max_new_tokens), choices, strict=False):
        if finished is None:
            finished = torch.zeros_like(token, dtype=torch.bool)  # (B,)
        elif stops.numel():
            token = torch.where(finished, last, token)  # (B,)
        if stops.numel():
            last, finished = token, finished | torch.isin(token, stops)  # (B,)
        yield Step(
            token=token,
            logits=logits,
            probabilities=probabilities,
            finished=finished,
            length=length + number,
            cache_bytes=cache_bytes,
            draft=proposal,
        )
        if stops.numel() and bool(finished.all()):
            return


def _one_by_one(model, chunks, cache, read_next, sampler, generator) -> Iterator[Choice]:
    for chunk in chunks:
        logits = read(model, chunk, cache)  # (B, V)
    while True:
        probabilities = sampler.probabilities(logits)  # (B, V)
        token = sampler.choose(probabilities, generator)  # (B,)
        yield token, logits, probabilities, None
        _, logits = read_next(token[:, None], cache)  # (B, 1, V)
        logits = logits[:, -1].clone()  # (B, V), an ordinary tensor again, which the caller may change


def _speculating(model, chunks, cache, drafter, read_next, sampler, generator) -> Iterator[Choice]:
    before = None  # (1, 1, C), the state of the token before the chunk
    with torch.inference_mode():
        for chunk in chunks:
            hidden = model.hidden(chunk, cache)  # (1, T, C)
            if before is None:
                drafter.read(hidden[:, :-1], chunk[:, 1:])
            else:
                drafter.read(torch.cat((before, hidden[:, :-1]), dim=1), chunk)
            before = hidden[:, -1:]
        logits = model.lm_head(before[:, -1])  # (1, V)
    yield from speculate(drafter, read_next, cache, before, logits.clone(), sampler, generator)


def states(model: LanguageModel, ids: torch.Tensor, cache: ModelCache) -> tuple[torch.Tensor, torch.Tensor]:
    """ids (B, T) -> the states (B, T, C) after the final norm, and the logits (B, T, V)."""
    hidden = model.hidden(ids, cache)  # (B, T, C)
    return hidden, model.lm_head(hidden)


def read(model: LanguageModel, ids: torch.Tensor, cache: ModelCache) -> torch.Tensor:
    """ids (B, T) -> the logits (B, V) after the last of them. The head reads one state, not T."""
    with torch.inference_mode():
        logits = model.lm_head(model.hidden(ids, cache)[:, -1])
    return logits.clone()  # an ordinary tensor again, which the caller may change


def _check_speculative(model: LanguageModel, ids: torch.Tensor) -> None:
    if not model.mtp:
        raise ValueError(
            "speculative=True needs a multi-token-prediction module, and this model has none (mini-deepseek-v3 and "
            "deepseek-v3 have one): speculative=False writes with the model alone"
        )
    if len(ids) > 1:
        raise ValueError(f"speculative=True writes one row, and {len(ids)} were given: generate each by itself")


def _as_batch(prompts, lengths, device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """-> ids (B, T), padded at the left, and lengths (B,), None where nothing is padded."""
    if isinstance(prompts, torch.Tensor):
        ids = prompts[None] if prompts.ndim == 1 else prompts
        return ids.to(device), None if lengths is None else lengths.to(device)
    if len(prompts) and isinstance(prompts[0], int):
        prompts = [prompts]
    longest = max(map(len, prompts), default=0)
    if not len(prompts) or not min(map(len, prompts)):
        raise ValueError("a prompt is empty: every row needs at least one token")
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)  # (B, T)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return ids, None if bool((lengths == longest).all()) else lengths


def _check(ids: torch.Tensor, vocab_size: int, max_new_tokens: int, prefill_chunk_size: int | None) -> None:
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"prompts of shape {tuple(ids.shape)}: token ids (B, T) with T of 1 or more are expected")
    if ids.is_floating_point() or int(ids.min()) < 0 or int(ids.max()) >= vocab_size:
        raise ValueError(f"token ids must be whole numbers from 0 to {vocab_size - 1}: got {ids.min()} to {ids.max()}")
    if max_new_tokens < 1 or (prefill_chunk_size is not None and prefill_chunk_size < 1):
        raise ValueError(
            f"max_new_tokens={max_new_tokens} and prefill_chunk_size={prefill_chunk_size} must be 1 or more"
        )
