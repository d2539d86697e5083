"""The attention view says what measure says of text, head and token; a text that is refused leaves the old one."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from lmlab.measure import attention
from lmlab.text.pieces import pieces
from lmlab.widgets.attention import EXAMPLES, LONGEST, OWN, STATISTICS, WINDOWS, AttentionView
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER

NAMES = ["mini-gpt-oss", "mini-qwen3", "mini-deepseek-v3"]
KINDS = dict(zip(NAMES, ["show", "show_norm", "show_mla"], strict=True))
TEXTS = ["", "Mia gave the red box to Tom. Later Tom", "kira 47 + 8 = \U0001f381\n\u4f60\u597d", "x" * 300, "one two"]


@pytest.fixture(scope="module")
def models():
    return {name: random_model(name) for name in NAMES}


@pytest.fixture(scope="module")
def read(models):
    """What measure says of a text, without the view."""
    known = {}

    def make(name, text):
        if (name, text) not in known:
            known[name, text] = attention.read(models[name], [TOKENIZER.end, *TOKENIZER.encode(text)])
        return known[name, text]

    return make


@pytest.fixture
def view(models, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], TOKENIZER))
    return AttentionView(NAMES)


def exactly(sent: bytes, wanted: torch.Tensor) -> None:
    assert np.array_equal(np.frombuffer(sent, "<f4"), wanted.flatten().numpy())


def lower(grid: torch.Tensor) -> torch.Tensor:
    """The rows of each head up to their diagonal, one after the other."""
    return torch.stack([torch.cat([head[i, : i + 1] for i in range(len(head))]) for head in grid.flatten(0, 1)])


def near(shown, wanted):
    torch.testing.assert_close(torch.tensor(shown, dtype=torch.float64), wanted.double(), atol=2e-5, rtol=0)


def check(view, found, text):
    """What is shown is `text`, read by the model of the state."""
    state, data = view.state, view.data
    assert data["tokens"] == pieces(TOKENIZER, found.ids) and 0 <= state["token"] < len(found.ids)
    exactly(data["weights"], lower(found.weights))
    if state["model"] == "mini-gpt-oss":
        exactly(data["sinks"], found.sinks)
        assert data["windows"] == [32, None, 32, None]
    else:
        assert data["sinks"] is None and data["windows"] == [None] * 4
    for name, values in attention.statistics(found).items():
        near(data["statistics"][name], values)
    for window in WINDOWS:
        near(data["beyond"][str(window)], attention.beyond(found, window))
    assert [group["size"] for group in data["groups"]] == ([8] if state["model"] == "mini-deepseek-v3" else [4, 4])
    shown = state[KINDS[state["model"]]]
    if shown == "weights":
        assert data["map"] is None
    else:
        scores = found.scores if shown == "scores" else found.parts[shown]
        exactly(data["map"]["values"], lower(scores))
        seen = [[scores[layer, h][found.visible[layer]] for h in range(8)] for layer in range(4)]
        near(data["map"]["low"], torch.tensor([[float(one.min()) for one in row] for row in seen]))
        near(data["map"]["high"], torch.tensor([[float(one.max()) for one in row] for row in seen]))
        if data["map"]["sinks"] is not None:
            near(data["map"]["sinks"], found.sink_scores)
        assert (data["map"]["sinks"] is not None) == (shown == "scores" and state["model"] == "mini-gpt-oss")
    assert view.summary == words(state, found, shown, data["tokens"])


def words(state, found, shown, tokens) -> str:
    layer, head = state["head"] // 8, state["head"] % 8
    t, gpt = state["token"], state["model"] == "mini-gpt-oss"
    sees = "a window of 32 tokens" if gpt and layer in (0, 2) else "all earlier tokens"
    keys = f"heads {head // 4 * 4} to {head // 4 * 4 + 3} share key/value head {head // 4}"
    if state["model"] == "mini-deepseek-v3":
        keys = "its keys and values come from the latent that all heads share"
    row = found.weights[layer, head, t]
    order = [j for j in row.argsort(descending=True).tolist() if found.visible[layer, t, j]][:3]
    looks = ", ".join(f'"{tokens[j]}" (token {j + 1}) {row[j]:.0%}' for j in order)
    best = order[0]
    said = [
        f"{state['model']}, layer {layer}, head {head}: it sees {sees}; {keys}. Token {t + 1} of {len(tokens)}, "
        f'"{tokens[t]}", looks most at {looks}'
        + (f"; {found.sinks[layer, head, t]:.0%} goes to the sink." if gpt else ".")
    ]
    if shown != "weights":
        parts = {name: values[layer, head, t, best] for name, values in found.parts.items()}
        score = f"{found.scores[layer, head, t, best]:.2f}"
        said.append(
            f'Its score for "{tokens[best]}" (token {best + 1}) is '
            + {
                "scores": f"{score}; the sink's is {found.sink_scores[layer, head]:.2f}." if gpt else f"{score}.",
                "before QK-Norm": f"{parts.get('before QK-Norm', 0):.2f} before QK-Norm and {score} after it.",
                **dict.fromkeys(
                    ("content", "RoPE"),
                    f"{score}: {parts.get('content', 0):.2f} by content and {parts.get('RoPE', 0):.2f} by RoPE.",
                ),
            }[shown]
        )
    means = {name: attention.overview(found, name) for name in attention.statistics(found)}
    means["beyond"] = attention.overview(found, "beyond", state["window"])
    here = {name: table.loc[layer, head] for name, table in means.items()}
    sink = f", {here['sink']:.0%} goes to the sink" if gpt else ""
    said.append(
        f"Over the whole text this head looks {here['distance']:.1f} tokens back; {here['first']:.0%} of its weight is "
        f"on the first token{sink}, {here['beyond']:.0%} lies {state['window']} or more tokens back."
    )
    return " ".join([*said, extremes(state["statistic"], means[state["statistic"]])])


def extremes(name, table) -> str:
    opening, every = f"Of all heads, by {STATISTICS[name]}: ", table.to_numpy().flatten()
    if not every.any():
        return opening + ("this model has no sinks." if name == "sink" else "no head has any.")
    form = "{:.1f}" if name in ("distance", "entropy") else "{:.0%}"
    most, least = (f"layer {i // 8}, head {i % 8} has the" for i in (every.argmax(), every.argmin()))
    return f"{opening}{most} most ({form.format(every.max())}) and {least} least ({form.format(every.min())})."


def test_after_every_seeded_move_the_view_says_what_measure_says(view, read):
    rng, summaries, text, refused = random.Random(0), [], view.state["text"], 0
    check(view, read(NAMES[0], text), text)
    for _ in range(120):
        spec = rng.choice([one for one in view.controls if not one["when"] or view.state["model"] in one["when"][1]])
        view.state = view.state | {spec["name"]: rng.choice(spec["values"] or TEXTS)}
        summaries.append(view.summary)
        if view.problem:
            refused += 1
            assert view.state["text"] == "x" * 300 and f"tokens, and the picture holds {LONGEST}" in view.problem
            assert text != view.state["text"] and len(view.data["tokens"]) <= LONGEST
        else:
            text = view.state["text"]
            check(view, read(view.state["model"], text), text)
    assert refused and sum(a != b for a, b in pairwise(summaries)) > 50, "the words follow the moves"


def test_every_map_of_every_model_is_what_measure_says(view, read):
    text = "Mia gave the red box to Tom. Later Tom"
    for name, kind in KINDS.items():
        for shown in next(spec["values"] for spec in view.controls if spec["name"] == kind):
            view.state = view.state | {"model": name, "text": text, kind: shown, "head": 21, "token": 5}
            check(view, read(name, text), text)


def test_all_heads_and_rows_are_sent_once(view):
    sent = []
    view.observe(lambda change: sent.append(change["name"]), ["data"])
    for name, value in {"head": 3, "token": 2, "statistic": "sink", "window": 4, "form": "lines"}.items():
        before = view.summary
        view.state = view.state | {name: value}
        assert name == "form" or view.summary != before
    assert not sent, "the page holds what it needs"
    view.state = view.state | {"show": "scores"}
    view.state = view.state | {"model": "mini-qwen3"}
    assert len(sent) == 2


def test_it_opens_on_the_head_that_looks_far_back(view, read):
    found = read(NAMES[0], EXAMPLES["a place from before"])
    assert divmod(view.state["head"], 8) == attention.sharpest(found)
    assert view.state["token"] == len(found.ids) - 1 > 32, "the window's edge is in the picture"


def test_each_kind_of_attention_has_its_own_choice_of_maps(view):
    offered = {spec["when"][1][0]: spec["values"] for spec in view.controls if spec["when"]}
    assert offered["mini-gpt-oss"] == ["weights", "scores"]
    assert offered["mini-qwen3"] == ["weights", "scores", "before QK-Norm"]
    assert offered["mini-deepseek-v3"] == ["weights", "scores", "content", "RoPE"]
    alone = AttentionView("mini-qwen3")
    assert [spec["name"] for spec in alone.controls if spec["when"]] == ["show_norm"]
    with pytest.raises(ValueError, match="no control is called show;"):
        AttentionView("mini-qwen3", show="weights")


def test_a_refused_text_leaves_the_other_controls_alive(view):
    before = view.data
    view.state = view.state | {"text": "x" * 300, "token": 2}
    assert view.problem and view.data == before and "Token 3 of" in view.summary
    view.state = view.state | {"token": 1, "model": "mini-qwen3"}
    assert view.problem and "Token 2 of" in view.summary and view.summary.startswith("mini-gpt-oss")
    view.state = view.state | {"text": "short"}
    assert not view.problem and view.summary.startswith("mini-qwen3")


def test_keywords_set_text_head_and_token(models, read):
    view = AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, text="one two", token=1, head=13)
    assert (view.state["example"], view.state["token"], view.state["head"]) == (OWN, 1, 13)
    assert "layer 1, head 5" in view.summary and repr(view) == view.summary
    found = read("mini-qwen3", "one two")
    exactly(view.data["weights"], lower(found.weights))
    with pytest.raises(ValueError, match="token=40 is not one of"):
        AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, text="one two", token=40)
    with pytest.raises(ValueError, match="head=32 is not one of"):
        AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, head=32)
    with pytest.raises(ValueError, match="model='qwen' is not one of model"):
        AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, model="qwen")
    with pytest.raises(ValueError, match="text=3 is no text"):
        AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, text=3)
    with pytest.raises(ValueError, match="needs its tokenizer"):
        AttentionView(models["mini-qwen3"])
    assert sum(not spec["more"] and spec["kind"] != "marks" for spec in view.controls) <= 4


def test_a_first_text_that_is_too_long_is_refused_in_the_view(models):
    view = AttentionView(models["mini-qwen3"], tokenizer=TOKENIZER, text="x" * 300)
    assert "shorten it" in view.problem and not view.data
    view.state = view.state | {"text": "short"}
    assert not view.problem and view.data


def test_models_of_unequal_shape_keep_the_nearest_head(monkeypatch):
    found = {"a": random_model("mini-qwen3"), "b": random_model("deepseek-v3")}  # 4 layers of 8 heads, 3 of 6
    for model in found.values():
        assert model.config.vocab_size >= 97
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (found[name], Bytes()))
    view = AttentionView([*found], text="ab", head=31)
    view.state = view.state | {"model": "b"}
    assert view.state["head"] == 17 and "layer 2, head 5" in view.summary
    assert len(view.controls[4]["values"]) == 18
    view.state = view.state | {"model": "a"}
    assert "layer 2, head 5" in view.summary


class Bytes:
    """A tokenizer with few ids, for models with a small vocabulary."""

    end = 0

    def encode(self, text):
        return [ord(letter) % 97 for letter in text]

    def token(self, number):
        return chr(97 + number % 26)
