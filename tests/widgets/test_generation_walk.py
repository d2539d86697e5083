"""After every move the generation view says what the model, the sampler and measure say of the text as it stands, read
anew by a model without a cache."""

import math
import random
import re
from itertools import pairwise

import pytest
import torch

from lmlab.measure import memory
from lmlab.widgets.generation import LONGEST, GenerationView

OFF = "every token"


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
    assert "".join(piece["text"] for piece in data["pieces"][1:]).replace("\u00b7", " ").startswith(state["prompt"])
    hows = [piece["how"] for piece in data["pieces"]]
    assert data["verdicts"] == {
        "accepted": hows.count("accepted"),
        "rejected": sum(piece["draft"] is not None for piece in data["pieces"]),
        "passes": len(hows) - hows.count("prompt") - hows.count("accepted"),
    }
    words(view, own, drawn, used)


def words(view, own, drawn, used) -> None:
    said, data, session = view.summary, view.data, view.session
    last = data["pieces"][-1]["text"]
    number = len(session.tokens)
    assert said.startswith((f'Token {number}: "{last}", ', f"The prompt has {number} tokens."))
    for bar in data["bars"][:3]:
        name = re.escape(bar["text"])
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
