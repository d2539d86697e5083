"""The interventions view says what the untouched model and one that is changed by hand say."""

import random

import pytest
import torch
import torch.nn.functional as F

import lmlab
from lmlab.measure.interventions import heads
from lmlab.text.pieces import pieces
from lmlab.widgets.interventions import CHANGES, LONGEST, NO_WINDOW, TEXT, InterventionView
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER

NAMES = ("mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3")
TEXTS = ["", "Mia gave the red box to Tom. Later Tom", "kira 47 + 8 = \U0001f381\n", "x" * 300, TEXT]


@pytest.fixture(scope="module")
def models():
    return {name: random_model(name) for name in NAMES}


@pytest.fixture
def view(models, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], TOKENIZER))
    return InterventionView([*models])


def asked(state) -> dict:
    """The arguments of `intervene`, written down by hand for each change."""
    head, expert = (state["layer"], state["head"]), (state["layer"], state["expert"])
    return {
        "switch a head off": {"ablate_head": head},
        "let a head look everywhere alike": {"force_head": head},
        "remove the sinks": {"remove_sinks": True},
        "set another window": {"window": None if state["window"] == NO_WINDOW else state["window"]},
        "switch an expert off": {"ablate_expert": expert},
        "never choose an expert": {"ban_expert": expert},
        "always choose an expert": {"force_expert": expert},
        "choose more or fewer experts": {"top_k": state["top_k"]},
        "set the router's temperature": {"router_temperature": state["temperature"]},
    }[state["change"]]


@torch.no_grad()
def read(model, text):
    ids = torch.tensor([TOKENIZER.end, *TOKENIZER.encode(text)])
    logits = model(ids[None])[0]
    written = []
    for step in lmlab.generate(model, ids, max_new_tokens=16, eos_token_id=TOKENIZER.end):
        written.append(int(step.token[0]))
    written = written[: written.index(TOKENIZER.end)] if TOKENIZER.end in written else written
    return F.cross_entropy(logits[:-1], ids[1:], reduction="none"), logits[-1].softmax(-1), written


def check(view, models):
    state, data, model = view.state, view.data, models[view.state["model"]]
    before = read(model, state["text"])
    with lmlab.intervene(model, **asked(state)):
        after = read(model, state["text"])
    assert data["tokens"] == pieces(TOKENIZER, [TOKENIZER.end, *TOKENIZER.encode(state["text"])])
    for side, (losses, p, written) in enumerate((before, after)):
        torch.testing.assert_close(torch.tensor(data["losses"][side]), losses, atol=1e-4, rtol=1e-4)
        best = data["bars"][data["best"][side]]
        assert best["piece"] == pieces(TOKENIZER, [p.argmax()])[0]
        assert best[("before", "after")[side]] == pytest.approx(float(p.max()), abs=1e-5)
        assert "".join(data["written"][side]) == TOKENIZER.decode(written)
        assert [bar[("before", "after")[side]] for bar in data["bars"]] == pytest.approx(
            p[[*before[1].topk(7).indices.tolist(), int(after[1].argmax())]][: len(data["bars"])].tolist(), abs=1e-5
        )
    (one, other), same = (before[2], after[2]), data["agreeing"]
    assert one[:same] == other[:same] and (one == other or one[same : same + 1] != other[same : same + 1])
    if data["tokens"][1:]:
        assert f"from {before[0].mean():.2f} to {after[0].mean():.2f} nats" in view.summary
    assert f'is "{best["piece"]}" ({float(after[1].max()):.0%})' in view.summary
    assert ("same words" in view.summary) == (before[2] == after[2])


def test_it_opens_on_the_head_that_matters_most(view, models):
    ids = [TOKENIZER.end, *TOKENIZER.encode(TEXT)]
    strength = heads(models["mini-gpt-oss"], ids)
    assert strength[view.state["layer"], view.state["head"]] == strength.max() > 0
    assert view.data["kl"] == pytest.approx(float(strength.max()), rel=1e-4)
    check(view, models)


def test_seeded_moves(view, models):
    rng, refused, drawn = random.Random(0), 0, 0
    controls = {spec["name"]: spec for spec in view.controls}
    for _ in range(50):
        name = rng.choice([*controls])
        spec = controls[name]
        shown = spec["when"] is None or view.state[spec["when"][0]] in spec["when"][1]
        if not shown:
            continue
        value = rng.choice(TEXTS) if name == "text" else rng.choice(spec["values"])
        before, view.state = view.state, view.state | {name: value}
        if view.problem:
            refused += 1
            view.state = before
        drawn += 1
        check(view, models)
    assert drawn > 10 and refused


@pytest.mark.parametrize(
    ("model", "change", "says"),
    [
        ("mini-qwen3", "remove the sinks", "sinks"),
        ("mini-qwen3", "set another window", "a sliding window"),
        ("mini-qwen3", "choose more or fewer experts", "a router"),
        ("mini-deepseek-v3", "never choose an expert", "layer 0 has no experts; layers that have: [1, 2, 3]"),
    ],
)
def test_what_a_model_does_not_have_is_said_and_the_view_goes_on(view, models, model, change, says):
    view.state = view.state | {"layer": 0, "model": model}
    summary = view.summary
    view.state = view.state | {"change": change}
    assert says in view.problem and view.summary == summary
    view.state = view.state | {"change": "switch a head off"}
    assert not view.problem
    check(view, models)


def test_a_long_text_is_refused_with_both_numbers(view):
    view.state = view.state | {"text": "x" * 300}
    assert "300 tokens" in view.problem or f"holds {LONGEST}" in view.problem


def test_every_change_is_said_in_words(view):
    said = set()
    for change in CHANGES:
        view.state = view.state | {"layer": 1, "window": 4, "change": change}
        assert not view.problem
        said.add(view.summary.partition(":")[0])
    assert len(said) == len(CHANGES) and "mini-gpt-oss, with windows of 4 tokens" in said
    assert "mini-gpt-oss, with head" in " ".join(said) and "mini-gpt-oss, without sinks" in said


def test_the_model_is_left_as_it_was(view, models):
    ids = torch.tensor([[TOKENIZER.end, *TOKENIZER.encode(TEXT)]])
    with torch.no_grad():
        before = models["mini-gpt-oss"](ids)
        for change in CHANGES:
            view.state = view.state | {"change": change}
        assert torch.equal(before, models["mini-gpt-oss"](ids))
