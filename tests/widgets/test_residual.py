"""The stream view says what measure says of text, token and stop; a text that is refused leaves the old one."""

import random
from itertools import pairwise

import pytest
import torch

from lmlab.measure import residual
from lmlab.text.pieces import pieces
from lmlab.widgets.residual import EXAMPLES, LONGEST, OWN, StreamView
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER

TEXTS = ["", "Mia gave the red box to Tom. Later Tom", "kira 47 + 8 = \U0001f381\n\u4f60\u597d", "x" * 300, "one two"]


@pytest.fixture(scope="module")
def models():
    return {name: random_model(name) for name in ("mini-gpt-oss", "mini-qwen3")}


@pytest.fixture
def view(models, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], TOKENIZER))
    return StreamView([*models])


def near(shown, wanted):
    torch.testing.assert_close(torch.tensor(shown, dtype=torch.float64), wanted.double(), atol=2e-5, rtol=1e-5)


def check(view, models, text):
    """What is shown is `text`, read by the model of the state; it is told from measure alone."""
    state, data, model = view.state, view.data, models[view.state["model"]]
    ids = [TOKENIZER.end, *TOKENIZER.encode(text)]
    found = residual.stream(model, ids)
    answers = found.logits.argmax(-1)
    for name, values in residual.geometry(found).items():
        near(data[name], values)
    near(data["vote"], residual.votes(model, found, answers))
    probabilities = residual.lens(model, found.states).softmax(-1)
    values, which = probabilities.topk(5, dim=-1)
    near(data["p"], values)
    t, stop = state["token"], state["stop"]
    shown = pieces(TOKENIZER, ids)
    assert data["tokens"] == shown and data["parts"] == list(found.parts) and 0 <= t < len(ids)
    assert data["top"][stop][t] == pieces(TOKENIZER, which[stop, t])
    assert data["right"] == (which == answers[:, None]).tolist()
    assert words(state, found, probabilities, residual.votes(model, found, answers), shown) == view.summary


def words(state, found, probabilities, votes, shown) -> str:
    t, stop, says = state["token"], state["stop"], found.logits[state["token"]].argmax()
    table = residual.journey(found, t)
    agree = (probabilities[:, t].argmax(-1) == says).tolist()
    since = len(agree) - next((i for i, yes in enumerate(reversed(agree)) if not yes), len(agree))
    (answer,) = pieces(TOKENIZER, [says])
    from_on = "only at the very end" if since == len(agree) - 1 else f"from {found.parts[since]} on"
    goes_on = f'; the text goes on with "{shown[t + 1]}"' if t + 1 < len(shown) else ""
    bars = votes[:, t] if state["bars"] == "vote" else torch.tensor(table.share.tolist())
    form, opening = (
        ("{:+.1f}", f'Most for "{answer}" comes')
        if state["bars"] == "vote"
        else (
            "{:.0%}",
            "Most of the last state comes",
        )
    )
    most = ", ".join(f"{found.parts[i]} {form.format(float(bars[i]))}" for i in bars.topk(3).indices.tolist())
    p, which = probabilities[stop, t].topk(3)
    stopped = ", ".join(f'"{w}" {x:.0%}' for w, x in zip(pieces(TOKENIZER, which), p.tolist(), strict=True))
    return (
        f'{state["model"]}, token {t + 1} of {len(shown)}, "{shown[t]}": the stream grows from length '
        f"{table.length.iloc[0]:.3g} to {table.length.iloc[-1]:.3g}; its end has a cosine of "
        f"{table.to_embedding.iloc[-1]:.2f} with its embedding. "
        f'The model says "{answer}" ({probabilities[-1, t, says]:.0%}), '
        f"{from_on}{goes_on}. {opening} from {most}. Stopped after {found.parts[stop]} it would say {stopped}."
    )


def test_after_every_seeded_move_the_view_says_what_measure_says(view, models):
    rng, summaries, text, refused = random.Random(0), [], view.state["text"], 0
    check(view, models, text)
    for _ in range(200):
        spec = rng.choice(view.controls)
        view.state = view.state | {spec["name"]: rng.choice(spec["values"] or TEXTS)}
        summaries.append(view.summary)
        if view.problem:
            refused += 1
            assert view.state["text"] == "x" * 300 and f"tokens, and the picture holds {LONGEST}" in view.problem
            assert view.data["tokens"] == pieces(TOKENIZER, [TOKENIZER.end, *TOKENIZER.encode(text)])
        else:
            text = view.state["text"]
            check(view, models, text)
    assert refused and sum(a != b for a, b in pairwise(summaries)) > 80, "the words follow the moves"


def test_data_are_sent_once_for_all_tokens_and_stops(view):
    sent = []
    view.observe(lambda change: sent.append(change["name"]), ["data", "summary"])
    view.state = view.state | {"token": 3}
    view.state = view.state | {"stop": 2}
    assert sent == ["summary", "summary"], "the page holds what it needs"
    view.state = view.state | {"model": "mini-qwen3"}
    assert sent.count("data") == 1


def test_a_new_text_is_seen_at_its_last_token_and_named_by_its_example(view):
    assert view.state["token"] == len(view.data["tokens"]) - 1
    view.state = view.state | {"token": 2}
    view.state = view.state | {"text": "Mia gave Tom"}
    assert view.state["example"] == OWN and view.state["token"] == len(view.data["tokens"]) - 1
    view.state = view.state | {"example": "a sum"}
    assert view.state["text"] == EXAMPLES["a sum"]
    view.state = view.state | {"example": OWN}
    assert view.state["text"] == EXAMPLES["a sum"], "it can be changed now"
    view.state = view.state | {"text": EXAMPLES["a name from before"], "token": 0}
    assert view.state["example"] == "a name from before"
    assert view.controls[4]["labels"] == view.data["tokens"]


def test_a_refused_text_leaves_the_other_controls_alive(view):
    before = view.data
    view.state = view.state | {"text": "x" * 300, "token": 2}
    assert view.problem and view.data == before and ", token 3 of" in view.summary
    view.state = view.state | {"token": 1}
    assert view.problem and ", token 2 of" in view.summary
    view.state = view.state | {"text": "short"}
    assert not view.problem


def test_keywords_set_text_token_and_stop(models):
    view = StreamView(models["mini-qwen3"], tokenizer=TOKENIZER, text="one two", token=1, stop=0)
    assert (view.state["example"], view.state["token"], view.state["stop"]) == (OWN, 1, 0)
    check(view, {"model": models["mini-qwen3"]}, "one two")
    assert repr(view) == view.summary
    with pytest.raises(ValueError, match="token=40 is not one of"):
        StreamView(models["mini-qwen3"], tokenizer=TOKENIZER, text="one two", token=40)
    with pytest.raises(ValueError, match="text=3 is no text"):
        StreamView(models["mini-qwen3"], tokenizer=TOKENIZER, text=3)
    with pytest.raises(ValueError, match="needs its tokenizer"):
        StreamView(models["mini-qwen3"])
    assert sum(not spec["more"] and spec["kind"] != "marks" for spec in view.controls) <= 4


def test_models_of_unequal_depth_are_refused(monkeypatch):
    found = {"a": random_model("mini-qwen3"), "b": random_model("qwen3-0.6b")}
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (found[name], TOKENIZER))
    with pytest.raises(ValueError, match=r"equally many layers: got \{'a': 4, 'b': 3\}"):
        StreamView([*found])
