"""The routing view says what measure says of text, layer and panel; a text that is refused leaves the old one."""

import random
from functools import cache
from itertools import pairwise

import pytest
import torch

import lmlab
from lmlab.measure import routing, specialisation
from lmlab.text.corpus import mixture, parse
from lmlab.text.pieces import pieces
from lmlab.train import loads
from lmlab.widgets import routing_panels as panels
from lmlab.widgets.routing import AS_TRAINED, FREE, LONGEST, OWN, RoutingView, examples
from tests.small import random_model
from tests.text.test_tokenizer import TOKENIZER
from tests.train.test_loads import loaded

TEXTS = ["", "Mia gave the red box to Tom. Later Tom", "kira 47 + 8 = \U0001f381\n\u4f60\u597d", "x" * 300]
MODELS = ("mini-gpt-oss", "mini-qwen3-moe", "mini-deepseek-v3")
FEW = 40  # tokens of each domain, that these surveys read
TRAININGS = {
    "balanced": [[loaded(s, *[[1.5, 0.5]] * 4) for s in (20, 40)], [loaded(s, *[[0.7, 1.3]] * 4) for s in (20, 40)]],
    "unbalanced": [[loaded(s, *[[2.0 - s / 40, s / 40]] * 4) for s in (20, 40)]],
}


@pytest.fixture(scope="module")
def models():
    found = {name: random_model(name) for name in MODELS}
    for moe in routing.mixtures(found["mini-deepseek-v3"]).values():
        order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
        moe.router.e_score_correction_bias.copy_(torch.linspace(-0.1, 0.1, 8)[order])
    return found


@pytest.fixture(scope="module")
def read(models):
    return cache(lambda name, text: routing.read(models[name], [TOKENIZER.end, *TOKENIZER.encode(text)]))


@pytest.fixture(scope="module")
def survey(models):
    return cache(lambda name: specialisation.survey(models[name], TOKENIZER, FEW))


@pytest.fixture
def view(models, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], TOKENIZER))
    monkeypatch.setattr(panels, "TOKENS", FEW)
    monkeypatch.setattr(loads, "balancing", lambda name: TRAININGS if name != "mini-qwen3-moe" else {})
    return RoutingView([*MODELS])


def near(shown, wanted):
    torch.testing.assert_close(torch.tensor(shown, dtype=torch.float64), wanted.double(), atol=6e-5, rtol=0)


def check(view, models, read, survey, text):
    """What is shown is `text`, routed by the model and layer of the state; it is told from measure alone."""
    state, data, layer = view.state, view.data, view.state["layer"]
    name = state["model"]
    found, tokens = read(name, text), pieces(TOKENIZER, [TOKENIZER.end, *TOKENIZER.encode(text)])
    assert data["tokens"] == tokens
    if layer not in found.layers:
        assert name == "mini-deepseek-v3" and layer == 0 and not data["cells"] and not data["grids"]
        assert view.summary.startswith("Layer 0 of mini-deepseek-v3 is dense: one MLP reads every token")
        return
    router, trained = models[name].layers[layer].mlp.router, found.layers[layer]
    free = routing.without_bias(router, trained) if routing.has_bias(router) else None
    shown = free if free and state["bias"] == FREE else trained
    load, weights = routing.load(shown), routing.by_expert(shown)
    near(data["cells"], weights.T)
    near(data["load"], load)
    assert (
        data["scale"] == (2.5 if free else 1) and data["groups"] == (4 if free else 0) and data["shared"] == bool(free)
    )
    assert (
        f"{name}, layer {layer}{', without its bias' if shown is free else ''}: each of {len(tokens)} tok"
        in view.summary
    )
    assert f"read by 2 of 8 experts, whose weights always add up to {2.5 if free else 1:.3g}." in view.summary
    assert f"The busiest, expert {int(load.argmax())}, reads {load.max():.2f} times its even share" in view.summary
    last = ", ".join(f"expert {e} {weights[-1, e]:.2f}" for e in shown.indices[-1].tolist())
    assert f'The last token, "{tokens[-1]}", goes to {last}.' in view.summary
    for n, row in enumerate(data["table"]["rows"]):
        chosen = [f"expert {e} {weights[n, e]:.2f}" for e in shown.indices[n].tolist()]
        assert row[:2] == [tokens[n], ", ".join(chosen)] and data["titles"][n] == f"{tokens[n]}: {', '.join(chosen)}"
        assert row[2:] == ([] if shown is free else [f"{routing.margins(router, trained)[n]:.3g}"])
    {
        panels.NOTHING: lambda: None,
        panels.MARGINS: lambda: margins(view, router, trained),
        panels.STEERED: lambda: steered(view, router, trained, shown, found.added.get(layer)),
        panels.READERS: lambda: readers(view, survey(name), layer),
        panels.PAIRS: lambda: pairs(view, survey(name).layers[layer]),
        panels.REPLAY: lambda: replay(view, name, layer),
    }[state["also"]]()


def margins(view, router, trained):
    wanted = routing.margins(router, trained).double()
    near(view.data["strip"]["values"], wanted)
    assert routing.chooses_by(router) in view.data["strip"]["title"]
    assert f"token {int(wanted.argmin()) + 1}: {wanted.min():.2g} between" in view.summary
    assert f"the median is {wanted.median():.2g}." in view.summary


def steered(view, router, trained, shown, added):
    if not routing.has_bias(router):
        assert "has no groups and no bias" in view.summary and not view.data["moved"] and not view.data["out"]
        return
    free, bias = routing.without_bias(router, trained), router.e_score_correction_bias
    other, differ = free if shown is trained else trained, int(routing.differs(trained, free).sum())
    both = zip(shown.indices.tolist(), (trained if shown is not trained else other).indices.tolist(), strict=True)
    assert view.data["moved"] == [[n, e] for n, (a, b) in enumerate(both) for e in sorted({*a} - {*b})]
    kept = routing.kept_groups(router, trained)
    assert view.data["out"] == ((~kept).T.tolist() if shown is trained else [])
    assert ("left blank" in view.summary) == (shown is trained)
    assert f"runs from {bias.min():.3f} (expert {int(bias.argmin())}) to {bias.max():.3f}" in view.summary
    assert f"without it {differ} of {len(view.data['tokens'])} tokens would go elsewhere" in view.summary
    assert f"read {routing.imbalance(free):.2f} times its even share in place of {routing.imbalance(trained):.2f}." in (
        view.summary
    )
    assert f"has length {added.double().mean(1)[1]:.3g}, the chosen ones together {added.double().mean(1)[0]:.3g}" in (
        view.summary
    )


def readers(view, found, layer):
    for grid, by in zip(view.data["grids"], ("domain", "class"), strict=True):
        table, told = specialisation.loads(found, layer, by), specialisation.told(found, layer, by)
        near(grid["cells"], torch.tensor(table.to_numpy()))
        assert grid["rows"] == [*table.index] and grid["columns"] == [f"expert {e}" for e in range(8)]
        assert grid["texts"] == [[f"{value:.1f}" for value in row] for row in table.to_numpy()]
        assert f"{told.bits:.2f} of the {told.possible:.2f} bits about the {by} of " in view.summary
        assert f"({told.chance:.2f} by chance)" in view.summary
    assert f"over {len(found.ids):,} tokens of {len(found.domains)} texts" in view.summary


def pairs(view, whole):
    shares = routing.together(whole)
    (grid,) = view.data["grids"]
    near(grid["cells"], shares * (1 - torch.eye(8)))
    best = max((float(shares[i, j]), -i, -j) for i in range(8) for j in range(8) if i != j)
    assert f"that expert {-best[1]} reads, {best[0]:.0%} are read by expert {-best[2]}, too" in view.summary
    assert "drawn evenly, it would be 14%." in view.summary


def replay(view, name, layer):
    if name == "mini-qwen3-moe":
        assert view.data["training"] is None and panels.COMMAND in view.summary
        return
    data, at = view.data["training"], 40 * view.state["moment"]
    assert data["at"] == at and data["longest"] == 4000
    assert [line["points"] for line in data["lines"]] == [
        [(2000, pytest.approx(1.4)), (4000, pytest.approx(1.4))],
        [(2000, 1.5), (4000, 1)],
    ]
    last = 2.0 - (1.0 if at == 4000 else 0.5)
    assert [bar["values"] for bar in data["bars"]] == [[1.4, 0.6], [last, 2 - last]]
    assert (
        f"of layer {layer} reads balanced 1.40 times its even share, the least busy 0.60 times (2 runs); "
        in view.summary
    )
    assert f"unbalanced {last:.2f} times its even share, the least busy {2 - last:.2f} times (1 run)." in view.summary


def test_after_every_seeded_move_the_view_says_what_measure_says(view, models, read, survey):
    rng, summaries, text, refused = random.Random(1), [], view.state["text"], 0
    check(view, models, read, survey, text)
    for _ in range(120):
        spec = rng.choice(view.controls)
        view.state = view.state | {spec["name"]: rng.choice(spec["values"] or TEXTS)}
        summaries.append(view.summary)
        if view.problem:
            refused += 1
            assert view.state["text"] == "x" * 300 and f"tokens, and the picture holds {LONGEST}" in view.problem
        else:
            text = view.state["text"]
        check(view, models, read, survey, text)
    assert refused and sum(a != b for a, b in pairwise(summaries)) > 40, "the words follow the moves"


def test_the_bias_moves_the_choice_and_never_a_weight(view):
    view.state = view.state | {"model": "mini-deepseek-v3", "layer": 2, "also": panels.STEERED}
    trained, bias = view.data, view._models["mini-deepseek-v3"][0].layers[2].mlp.router.e_score_correction_bias.clone()
    assert trained["moved"] and trained["out"]
    view.state = view.state | {"bias": FREE}
    assert view.data["moved"] and view.data["cells"] != trained["cells"]
    view.state = view.state | {"bias": AS_TRAINED}
    assert view.data == trained
    assert torch.equal(bias, view._models["mini-deepseek-v3"][0].layers[2].mlp.router.e_score_correction_bias)


def test_a_text_is_read_once_for_all_layers_and_a_survey_once_for_all_panels(view, monkeypatch):
    asked = []
    for module, name in ((routing, "read"), (specialisation, "survey")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, real=real, name=name: asked.append(name) or real(*given))
    for move in ({"layer": 1}, {"layer": 2}, {"also": panels.READERS}, {"also": panels.PAIRS}, {"layer": 0}):
        view.state = view.state | move
    assert asked == ["survey"]


def test_examples_are_beginnings_of_the_corpus_of_every_domain():
    names, tokenizer = [*examples()], lmlab.tokenizer("mini-gpt-oss")
    assert len(names) == len(mixture("general"))
    for text in examples().values():
        assert 40 < len(text) <= 150 and len(tokenizer.encode(text)) < LONGEST
        assert parse(text) is None or len(text) < 150, "a beginning, unless the whole is short"


def test_a_text_is_named_by_its_example(view):
    view.state = view.state | {"text": "Mia gave Tom"}
    assert view.state["example"] == OWN
    view.state = view.state | {"example": "code"}
    assert view.state["text"] == examples()["code"] and "\u21b5" in "".join(view.data["tokens"])
    view.state = view.state | {"text": examples()["recall"]}
    assert view.state["example"] == "recall"


def test_a_refused_text_leaves_the_other_controls_alive(view):
    view.state = view.state | {"text": "x" * 300}
    assert view.problem and "layer 3" in view.summary
    view.state = view.state | {"layer": 1}
    assert view.problem and "layer 1" in view.summary and len(view.data["tokens"]) < LONGEST
    view.state = view.state | {"text": "short"}
    assert not view.problem and len(view.data["tokens"]) < 7


def test_keywords_own_models_and_what_is_refused(models, monkeypatch):
    view = RoutingView(models["mini-qwen3-moe"], tokenizer=TOKENIZER, text="one two", layer=0)
    assert view.state["example"] == OWN and "model, layer 0" in repr(view)
    names = [spec["name"] for spec in view.controls]
    assert "bias" not in names and sum(not spec["more"] for spec in view.controls) <= 4
    with pytest.raises(ValueError, match="needs its tokenizer"):
        RoutingView(models["mini-qwen3-moe"])
    with pytest.raises(ValueError, match="layer=9 is not one of 0, 1, 2, 3"):
        RoutingView(models["mini-qwen3-moe"], tokenizer=TOKENIZER, layer=9)
    with pytest.raises(ValueError, match="model has no layer with experts: choose models that have, as mini-gpt-oss"):
        RoutingView(random_model("mini-qwen3"), tokenizer=TOKENIZER)
    found = models | {"deep": random_model("deepseek-v3")}
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (found[name], TOKENIZER))
    with pytest.raises(ValueError, match=r"equally many layers: got \{'mini-gpt-oss': 4, 'deep': 3\}"):
        RoutingView(["mini-gpt-oss", "deep"])


def test_the_replay_reads_what_is_recorded(models, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.models._loaded", lambda name: (models[name], TOKENIZER))
    view = RoutingView(["mini-gpt-oss"], also=panels.REPLAY)
    recorded = loads.balancing("mini-gpt-oss")
    assert (view.data["training"] is not None) == bool(recorded)
    if not recorded:
        assert "is recorded here yet: python -m lmlab.train.experiments balancing makes them." in view.summary
