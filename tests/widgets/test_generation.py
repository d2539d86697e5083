"""The generation view says what the model, the sampler and measure say of the text as it stands, read anew by a model
without a cache; its buttons write, take back and begin again."""

import math
import random
import re
from itertools import islice, pairwise

import pytest
import torch

from lmlab.measure import memory
from lmlab.sampling import Greedy, Sampler
from lmlab.text.corpus import documents
from lmlab.text.tokenizer import train
from lmlab.widgets.generation import LONGEST, GenerationView
from tests.small import random_model

OFF = "every token"


@pytest.fixture(scope="module")
def tokenizer():
    return train(document.text for document in islice(documents("general", 0), 200))


@pytest.fixture(scope="module")
def models():
    """Small enough to be read anew after each move."""
    found = {name: random_model(name) for name in ("mini-gpt-oss", "mini-deepseek-v3")}
    with torch.no_grad():  # weak opinions, so that some drafts are accepted
        found["mini-deepseek-v3"].lm_head.weight.mul_(0.3)
    return found


@pytest.fixture
def loaded(models, tokenizer, monkeypatch):
    monkeypatch.setattr("lmlab.widgets.generation._loaded", lambda name: (models[name], tokenizer))
    return [*models]


def reshaped(state, logits) -> torch.Tensor:
    """What the next token is drawn from, step by step and in float64, as the sampler's docstring says."""
    if state["choose"] != "at random":
        return torch.nn.functional.one_hot(logits.argmax(), len(logits)).double()
    p = (logits.double() / state["temperature"]).softmax(-1)
    if state["top_k"] != OFF:
        p = torch.where(p >= p.topk(state["top_k"]).values[-1], p, 0.0)
        p = p / p.sum()
    if state["top_p"] != OFF:
        ordered, order = p.sort(descending=True, stable=True)
        kept = int((ordered.cumsum(0) < state["top_p"] - 1e-7).sum()) + 1
        p = torch.zeros_like(p).index_copy(0, order[:kept], ordered[:kept])
        p = p / p.sum()
    if state["min_p"] != OFF:
        p = torch.where(p >= state["min_p"] * p.max(), p, 0.0)
        p = p / p.sum()
    return p


def bits(p) -> float:
    return -sum(one * math.log2(one) for one in p.tolist() if one > 0)


def percent(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def check(view, models, tokenizer) -> None:
    state, data, session = view.state, view.data, view.session
    model = models[state["model"]]
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([session.ids]))
        logits = model.lm_head(hidden[0, -1])
    own, drawn = logits.softmax(-1), reshaped(state, logits)
    assert session.prompt == [tokenizer.end, *tokenizer.encode(state["prompt"])]
    # the bars
    bars = [bar for bar in data["bars"] if not bar["draft"]] + [bar for bar in data["bars"] if bar["draft"]]
    for bar in data["bars"]:
        assert bar["own"] == pytest.approx(float(own[bar["token"]]), abs=1e-4)
        assert bar["reshaped"] == pytest.approx(float(drawn[bar["token"]]), abs=2e-3)
    listed = [bar["token"] for bar in data["bars"][:12]]
    assert own[listed].tolist() == pytest.approx(own.topk(12).values.tolist(), abs=1e-4)
    for name, every in (("own", own), ("reshaped", drawn)):
        assert sum(bar[name] for bar in bars) + data["others"][name] == pytest.approx(1, abs=1e-5)
        assert data["entropy"][name] == pytest.approx(bits(every), abs=0.03)
    assert data["others"]["number"] == len(own) - len(bars)
    # the cache
    held = len(session.tokens) + (data["pending"] is not None)
    used = memory.cache_by_kind(model.config, held, 1, torch.float32)
    allocated = model.make_cache(1, LONGEST + 1, len(model.mtp)).nbytes
    if session.drafts:
        allocated += model.mtp[0].make_cache(1, LONGEST, 1).nbytes
        # the drafter reads what stands before the last token, when it is asked
        read = min(int(session.drafter.cache.length), len(session.tokens) - 1)
        used["MTP"] = 4 * model.config.mtp[0].attention.cache_elements(read)
        assert read == len(session.tokens) - 1 or not data["pending"]
    assert {one["kind"]: one["used"] for one in data["cache"]} == used
    assert sum(one["allocated"] for one in data["cache"]) == session.cache_bytes == allocated
    # the draft
    if data["pending"]:
        with torch.inference_mode():
            q = model.mtp[0](hidden[:, :-1], torch.tensor([session.ids[1:]]))[0, -1]
        assert view.session.draft.probabilities[view.session.draft.id] > 0
        chance = float(drawn[session.draft.id] / session.draft.probabilities[session.draft.id])
        assert data["pending"]["chance"] == pytest.approx(min(1, chance), abs=0.02)
        assert q.shape == own.shape and sum(bar["draft"] for bar in data["bars"]) == 1
    # the pieces
    assert "".join(piece["text"] for piece in data["pieces"][1:]).replace("\u2423", " ").startswith(state["prompt"])
    hows = [piece["how"] for piece in data["pieces"]]
    assert data["verdicts"] == {
        "accepted": hows.count("accepted"),
        "rejected": sum(piece["draft"] is not None for piece in data["pieces"]),
        "passes": len(hows) - hows.count("prompt") - hows.count("accepted"),
    }
    words(view, own, drawn, used)


def words(view, own, drawn, used) -> None:
    said, data, session = view.summary, view.data, view.session
    last = data["pieces"][-1]["text"].replace("\u2423", " ")
    number = len(session.tokens)
    assert said.startswith((f'Token {number}: "{last}", ', f"The prompt has {number} tokens."))
    for bar in data["bars"][:3]:
        name = re.escape(bar["text"].replace("\u2423", " "))
        a, b = re.search(rf'"{name}" ([\d.]+%) \(drawn with ([\d.]+%)\)', said).groups()
        assert percent(a) == pytest.approx(float(own[bar["token"]]), abs=6e-4)
        assert percent(b) == pytest.approx(float(drawn[bar["token"]]), abs=3e-3)
    can = int(re.search(r"([\d,]+) of 1,024 tokens can be drawn", said).group(1).replace(",", ""))
    assert abs(can - int((drawn > 0).sum())) <= 1  # a token on the line itself
    a, b = re.search(r"Entropy ([\d.]+) bits, after reshaping ([\d.]+)\.", said).groups()
    assert (float(a), float(b)) == pytest.approx((bits(own), bits(drawn)), abs=0.035)
    held, of = re.search(r"The cache holds ([\d,.]+) of ([\d,.]+) kB\.", said).groups()
    assert float(held) == pytest.approx(sum(used.values()) / 1000, abs=0.051)
    assert float(of) == pytest.approx(sum(one["allocated"] for one in data["cache"]) / 1000, abs=0.051)
    told = re.search(r"Drafts: (\d+) accepted, (\d+) rejected; (\d+) tokens in (\d+) passes", said)
    assert bool(told) == session.drafts
    if told:
        assert [*map(int, told.groups())] == [
            data["verdicts"]["accepted"],
            data["verdicts"]["rejected"],
            len(session.written),
            data["verdicts"]["passes"],
        ]
    assert ("will be accepted with" in said) == (data["pending"] is not None)


def move(view, rng) -> dict:
    """A change that a control, a button, a bar or the prompt can make."""
    state = view.state
    kind = rng.choice(["control", "control", "steps", "steps", "steps", "backs", "chosen", "prompt", "restarts"])
    if kind == "control":
        spec = rng.choice(view.controls)
        return {spec["name"]: rng.choice(spec["values"])}
    if kind == "chosen":
        return {"chosen": [len(view.session.tokens), rng.choice(view.data["bars"])["token"]]}
    if kind == "prompt":
        return {"prompt": rng.choice(["Once there was a boy", "Add. 12 + 30 =", "", "Remember this."])}
    return {kind: state[kind] + rng.randint(1, 3)}


def test_after_every_seeded_move_the_view_says_what_is_so(loaded, models, tokenizer):
    rng, summaries, refused, hows = random.Random(0), [], 0, set()
    view = GenerationView(loaded[::-1], drafts="on")
    for _ in range(200):
        view.state = view.state | move(view, rng)
        if view.problem:
            refused += 1
            assert "only the prompt is left" in view.problem or "the text has ended" in view.problem
            continue
        check(view, models, tokenizer)
        summaries.append(view.summary)
        hows |= {piece["how"] for piece in view.data["pieces"]}
    assert sum(a != b for a, b in pairwise(summaries)) > 100 and 0 < refused < 60
    assert hows == {"prompt", "drawn", "chosen", "accepted", "replaced"}


def test_reshaping_reads_nothing_and_draws_nothing(loaded, monkeypatch):
    view = GenerationView(loaded, steps=2)
    before = view.data["pieces"], [bar["own"] for bar in view.data["bars"]]
    monkeypatch.setattr(type(view.session.model), "hidden", None)  # a forward pass would fail
    for change in (
        {"temperature": 0.25},
        {"top_p": 0.5},
        {"top_k": 3},
        {"min_p": 0.1},
        {"choose": "the most probable token"},
    ):
        view.state = view.state | change
        assert (view.data["pieces"], [bar["own"] for bar in view.data["bars"]]) == before
    assert [bar["reshaped"] for bar in view.data["bars"]] == [1.0, *[0.0] * 11]


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        ({}, Sampler(top_p=0.9)),
        ({"top_p": OFF}, Sampler()),
        (
            {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "min_p": 0.05},
            Sampler(temperature=0.5, top_k=5, top_p=0.9, min_p=0.05),
        ),
        ({"choose": "the most probable token"}, Greedy()),
    ],
)
def test_controls_by_keyword_are_the_sampler(loaded, state, wanted):
    assert GenerationView(loaded, **state).session.sampler == wanted


def test_the_buttons_write_take_back_and_begin_again(loaded):
    view = GenerationView("mini-deepseek-v3", steps=3)
    three = view.data["pieces"]
    view.state = view.state | {"steps": 5}
    assert len(view.data["pieces"]) == len(three) + 2, "as many as were pressed"
    view.state = view.state | {"backs": 2}
    assert view.data["pieces"] == three
    view.state = view.state | {"backs": 5}
    assert len(view.data["pieces"]) == len(three) - 3
    view.state = view.state | {"backs": 6}
    assert "only the prompt is left" in view.problem
    view.state = view.state | {"restarts": 1}
    view.state = view.state | {"steps": 8}
    assert view.problem == "" and view.data["pieces"] == three, "the same seed draws the same"


def test_a_bar_is_chosen_for_the_place_it_was_shown_for(loaded):
    view = GenerationView("mini-gpt-oss")
    place, bar = len(view.data["pieces"]), view.data["bars"][7]
    view.state = view.state | {"chosen": [place, bar["token"]]}
    assert view.data["pieces"][-1] == {"text": bar["text"], "how": "chosen", "draft": None}
    view.state = view.state | {"chosen": [place, view.data["bars"][3]["token"]]}  # a second click on the old picture
    assert len(view.data["pieces"]) == place + 1


def test_another_model_reads_the_same_text(loaded, models):
    view = GenerationView(loaded, steps=4)
    text, bars = view.data["pieces"], view.data["bars"]
    view.state = view.state | {"model": "mini-deepseek-v3"}
    assert view.data["pieces"] == text and view.data["bars"] != bars
    assert "Next, by mini-deepseek-v3" in view.summary
    view.state = view.state | {"drafts": "on"}
    view.state = view.state | {"model": "mini-gpt-oss"}
    assert "Drafts" not in view.summary and not view.problem, "a model without MTP has none"
    assert GenerationView(loaded, model="mini-deepseek-v3").session.model is models["mini-deepseek-v3"]


def test_a_window_that_must_be_read_again_says_so(loaded):
    view = GenerationView("mini-gpt-oss", steps=4)  # past its window of 32
    assert len(view.data["pieces"]) > 33
    view.state = view.state | {"backs": 1}
    assert "A window had overwritten what it now needs: the text was read again." in view.summary
    view.state = view.state | {"model": "mini-gpt-oss", "steps": 5}
    assert "read again" not in view.summary


def test_the_end_of_the_text_and_of_the_room(loaded, tokenizer):
    view = GenerationView("mini-gpt-oss")
    view.state = view.state | {"chosen": [len(view.data["pieces"]), tokenizer.end]}
    assert view.data["ended"] == "stop" and "The text has ended." in view.summary
    view.state = view.state | {"steps": 1}
    assert "the text has ended" in view.problem and view.data["ended"] == "stop"
    view.state = view.state | {"prompt": "a " * (LONGEST - 1)}
    tokens = len(tokenizer.encode("a " * (LONGEST - 1))) + 1
    assert f"the text has {tokens} tokens, and there is room for {LONGEST}" in view.problem
    assert view.data["ended"] == "stop", "the text of before stays"
    view.state = view.state | {"prompt": "!" * (LONGEST // 2)}
    view.state = view.state | {"steps": LONGEST, "seed": 4}
    assert view.problem == "" and view.data["ended"], "steps that arrive together stop at the end"
    assert len(view.data["pieces"]) == len(view.session.tokens) <= LONGEST
    view.state = view.state | {"backs": LONGEST}
    assert view.problem == "" and {piece["how"] for piece in view.data["pieces"]} == {"prompt"}


def test_every_control_can_say_every_state(loaded):
    view = GenerationView(loaded)
    assert sum(not spec["more"] for spec in view.controls) <= 4
    for spec in view.controls:
        assert view.state[spec["name"]] in spec["values"] and len(spec["values"]) == len(spec["labels"])


def test_a_model_of_ones_own_brings_its_tokenizer(models, tokenizer):
    view = GenerationView(models["mini-gpt-oss"], tokenizer=tokenizer, prompt="Add.")
    assert view.summary.startswith("The prompt has ") and "Next, by model" in view.summary
    assert "drafts" not in {spec["name"] for spec in view.controls}
    assert [spec["values"] for spec in view.controls if spec["name"] == "model"] == [["model"]]
    with pytest.raises(ValueError, match=r"needs its tokenizer: GenerationView\(model, tokenizer=...\)"):
        GenerationView(models["mini-gpt-oss"])
    with pytest.raises(ValueError, match="no control is called temprature"):
        GenerationView(models["mini-gpt-oss"], tokenizer=tokenizer, temprature=2)


def test_letters_that_cannot_be_shown_are_numbers(models, tokenizer):
    view = GenerationView(models["mini-gpt-oss"], tokenizer=tokenizer, prompt="\u00e9\n a")
    shown = [piece["text"] for piece in view.data["pieces"]]
    assert shown[-2:] == ["\u21b5", "\u2423a"] and all(re.fullmatch(r"#\d+", text) for text in shown[1:-2])
