"""A session under one's hands writes what generate writes, forgets what is taken back, and drafts without changing the
distribution."""

from dataclasses import replace

import pytest
import torch

import lmlab
from lmlab.generation_session import Session, Token, drawn_from
from lmlab.sampling import Greedy, Sampler
from tests import hf
from tests.small import random_model

PROMPT = [5, 17, 3, 42, 8, 60, 2]
NAMES = ["gpt-oss-20b", "qwen3-0.6b", "qwen3-30b-a3b", "deepseek-v3"]  # shrunk; GPT-OSS's window is 11


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return random_model(request.param)


@pytest.fixture(scope="module")
def deepseek():
    return random_model("deepseek-v3")


@torch.inference_mode()
def uncached(model, ids) -> torch.Tensor:
    return model(torch.tensor([ids]))[0, -1]


def check(session) -> None:
    """Logits, caches and the pending draft are those of the text as it stands, read anew."""
    torch.testing.assert_close(session.logits, uncached(session.model, session.ids), atol=1e-4, rtol=1e-4)
    pending = session.draft is not None
    assert int(session.cache.length) == len(session.states) == len(session.tokens) + pending
    if pending:
        hidden = session.model.hidden(torch.tensor([session.ids]))
        with torch.inference_mode():
            logits = session.model.mtp[0](hidden[:, :-1], torch.tensor([session.ids[1:]]))[0, -1]
        q = drawn_from(session.sampler, logits)
        torch.testing.assert_close(session.draft.probabilities, q, atol=1e-4, rtol=1e-3)


def test_greedy_steps_write_what_generate_writes(model):
    steps = lmlab.generate(model, PROMPT, max_new_tokens=12)
    session = Session(model, PROMPT, max_length=40)
    for step in steps:
        mine = session.step()
        assert (mine.token.tolist(), mine.length) == (step.token.tolist(), step.length) and mine.draft is None
        torch.testing.assert_close(mine.logits, step.logits, atol=1e-4, rtol=1e-4)
    assert session.passes == 12 and {token.how for token in session.tokens[7:]} == {"drawn"}


@pytest.fixture(scope="module")
def windowed():
    """No family has it: windows, which forget, and drafts, which must be forgotten."""
    config = random_model("gpt-oss-20b").config
    model = lmlab.build(replace(config, mtp=(config.blocks[0],))).eval()
    hf.randomise(model)
    return model


def test_drafts_are_forgotten_by_windows_too(windowed):
    test_any_moves_leave_the_state_of_the_text(windowed)


def test_any_moves_leave_the_state_of_the_text(model):
    drafts = bool(model.config.mtp)
    session = Session(model, PROMPT, max_length=30, sampler=Sampler(temperature=1.5), drafts=drafts, seed=3)
    moves = torch.Generator().manual_seed(0)
    hows = set()
    for _ in range(120):
        move = int(torch.randint(5, (), generator=moves))
        if move < 3 and not session.ended:
            session.step()
        elif move == 3 and not session.ended:
            session.choose(int(torch.randint(97, (), generator=moves)))
        elif len(session.tokens) > len(PROMPT):
            session.back()
        hows |= {token.how for token in session.tokens}
        check(session)
    assert {"prompt", "drawn", "chosen"} <= hows and ({"accepted", "replaced"} <= hows) == drafts


def test_back_trims_a_full_cache_and_reads_a_window_again():
    for name, again in (("qwen3-0.6b", False), ("gpt-oss-20b", True)):
        session = Session(random_model(name), PROMPT, max_length=30)
        for _ in range(8):
            session.step()  # the window of 11 is past
        before = session.ids
        assert session.back().id == before[-1] and session.ids == before[:-1]
        assert session.reread is again
        check(session)


def test_a_window_that_is_not_full_yet_is_trimmed():
    session = Session(random_model("gpt-oss-20b"), PROMPT, max_length=30)
    session.step()
    session.back()
    assert not session.reread
    with pytest.raises(ValueError, match="only the prompt is left"):
        session.back()


def test_greedy_drafts_change_nothing_but_the_number_of_passes(deepseek):
    plain, drafting = (Session(deepseek, PROMPT, max_length=60, drafts=drafts) for drafts in (False, True))
    for _ in range(40):
        assert int(drafting.step().token) == int(plain.step().token)
    accepted = sum(token.how == "accepted" for token in drafting.tokens)
    assert drafting.passes == 40 - accepted == int(sum(token.how in ("drawn", "replaced") for token in drafting.tokens))


def test_drafts_are_judged_as_generate_judges_them(deepseek):
    """The same seed draws the same text, with the same drafts."""
    sampler = Sampler(temperature=2.5, top_p=0.95)
    generator = torch.Generator().manual_seed(5)
    wanted = lmlab.generate(deepseek, PROMPT, max_new_tokens=40, sampler=sampler, generator=generator, speculative=True)
    session, seen = Session(deepseek, PROMPT, max_length=60, sampler=sampler, drafts=True, seed=5), set()
    for step in wanted:
        mine = session.step()
        assert (mine.token.tolist(), mine.length) == (step.token.tolist(), step.length)
        torch.testing.assert_close(mine.probabilities, step.probabilities, atol=1e-4, rtol=1e-3)
        assert (mine.draft is None) == (step.draft is None)
        if step.draft:
            assert (int(mine.draft.token), mine.draft.accepted) == (int(step.draft.token), step.draft.accepted)
            torch.testing.assert_close(mine.draft.logits, step.draft.logits, atol=1e-4, rtol=1e-4)
            seen.add(step.draft.accepted)
    assert seen == {True, False}
    assert mine.cache_bytes == session.cache.nbytes + session.drafter.cache.nbytes


def test_steps_tell_of_their_drafts(deepseek):
    session = Session(deepseek, PROMPT, max_length=60, sampler=Sampler(temperature=3.0), drafts=True)
    for _ in range(40):
        pending, p = session.draft, session.probabilities
        step, token = session.step(), session.tokens[-1]
        assert torch.equal(step.probabilities[0], p) and int(step.token) == token.id
        assert (step.draft is None) == (pending is None) == (token.how == "drawn")
        if step.draft:
            assert int(step.draft.token) == pending.id and torch.equal(
                step.draft.probabilities[0], pending.probabilities
            )
            assert torch.allclose(session.sampler.probabilities(step.draft.logits), step.draft.probabilities)
            assert step.draft.accepted == (token.how == "accepted")
            assert token.draft == (None if step.draft.accepted else pending.id)


def test_a_sampler_changed_on_the_way_draws_from_what_it_shows(deepseek):
    session = Session(deepseek, PROMPT, max_length=40, sampler=Sampler(temperature=2.0), drafts=True)
    session.step()
    session.sampler = Sampler(top_k=1)
    best = int(session.logits.argmax())
    assert session.probabilities.max() == 1 and int(session.step().token) == best
    session.sampler = Greedy()
    assert session.probabilities.sum() == 1 and int(session.probabilities.argmax()) == int(session.logits.argmax())


def test_the_same_seed_and_moves_write_the_same_text(deepseek):
    def written(seed: int) -> list[Token]:
        session = Session(deepseek, PROMPT, max_length=40, sampler=Sampler(), drafts=True, seed=seed)
        for _ in range(20):
            session.step()
        return session.written

    assert written(1) == written(1) != written(2)


def test_drafts_can_be_switched_off_and_on(deepseek):
    session = Session(deepseek, PROMPT, max_length=40, sampler=Sampler(), drafts=True)
    session.step()
    assert session.draft is not None
    session.drafts = False
    check(session)
    session.step()
    session.drafts = True
    session.step()
    check(session)
    assert session.draft is not None


def test_the_end(deepseek):
    session = Session(deepseek, PROMPT, max_length=9, stop=11, drafts=True)
    session.choose(11)
    assert session.ended == "stop" and session.draft is None
    with pytest.raises(ValueError, match="the text has ended"):
        session.step()
    session.back()
    session.choose(4)
    session.choose(5)
    assert session.ended == "full" and int(session.cache.length) == 9
    with pytest.raises(ValueError, match="all 9 places are full"):
        session.step()
    check(session)


def test_a_text_goes_over_to_another_model():
    first, second = random_model("qwen3-0.6b"), random_model("gpt-oss-20b")
    session = Session(first, PROMPT, max_length=30)
    session.step()
    session.choose(9)
    other = Session(second, PROMPT, max_length=30, written=session.tokens[7:])
    assert other.tokens == session.tokens
    check(other)
    assert other.back() == Token(9, "chosen")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ids": []}, "the prompt is empty"),
        ({"ids": PROMPT, "max_length": 6}, "the text has 7 tokens, and there is room for 6"),
        ({"ids": PROMPT, "drafts": True}, "drafts need a model with multi-token prediction"),
    ],
)
def test_what_cannot_begin_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        Session(random_model("qwen3-0.6b"), **{"max_length": 30} | arguments)
