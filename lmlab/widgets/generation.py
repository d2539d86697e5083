"""The generation view: a text that grows token by token, and what a sampler makes of the model's probabilities before
anything is drawn."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lmlab.families import MINIATURES
from lmlab.generation_session import Session
from lmlab.measure.generation import cache_use, candidates, entropy
from lmlab.model import LanguageModel
from lmlab.sampling import Greedy, Sampler
from lmlab.text.pieces import piece, quoted
from lmlab.text.tokenizer import Tokenizer
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.models import opened

if TYPE_CHECKING:
    import pandas as pd

PROMPT = (
    "Once there was a girl called Mia who lived in Oakwood. Her best friend was a boy called Tom. The two of them "
    "liked Grandma, who had been a baker."
)
LONGEST = 256  # tokens of a text: what the miniatures were trained on
BARS = 12
EVERY, AT_RANDOM, BEST = "every token", "at random", "the most probable token"
TEMPERATURES = [0.1, 0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0]
TOP_P = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, EVERY]
TOP_K = [1, 2, 3, 5, 10, 20, 50, EVERY]
MIN_P = [EVERY, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]


def sampler(state: dict) -> Greedy | Sampler:
    """The sampler that the controls ask for."""
    if state["choose"] == BEST:
        return Greedy()
    cuts = {name: None if state[name] == EVERY else state[name] for name in ("top_k", "top_p", "min_p")}
    return Sampler(temperature=state["temperature"], **cuts)


class GenerationView(View):
    """Step through a text. The bars of the next token stand beside what temperature, top-k, top-p and min-p make of
    them; any bar can be chosen in place of a draw; a token can be taken back. With multi-token prediction, drafts.

    models: the name of a checkpoint (as in `lmlab.load`), several to switch between, or a LanguageModel with its
    `tokenizer`. Keyword arguments set controls: prompt, temperature, top_p, drafts; choose, top_k, min_p, seed, model.
    `steps` draws so many tokens at once.
    """

    _esm = joined("generation.js")

    def __init__(
        self,
        models: str | Sequence[str] | LanguageModel = MINIATURES,
        *,
        tokenizer: Tokenizer | None = None,
        **state,
    ):
        self._models = opened(models, tokenizer)
        self.session: Session | None = None
        self._followed: dict = {}
        self.set_trait("controls", self._controls())
        sampled = {"choose": AT_RANDOM, "temperature": 1.0, "top_p": 0.9, "top_k": EVERY, "min_p": EVERY}
        pressed = {"steps": 0, "backs": 0, "restarts": 0, "chosen": None}
        start = {"model": next(iter(self._models)), "prompt": PROMPT, "drafts": "off", "seed": 0}
        self.set_trait("state", start | sampled | pressed)
        super().__init__(**state)

    def _controls(self) -> list[dict]:
        drawn = ("choose", [AT_RANDOM])
        guessing = [name for name, (model, _) in self._models.items() if model.mtp]
        found = [
            control("temperature", "Temperature", TEMPERATURES, when=drawn),
            control("top_p", "Top-p", TOP_P, when=drawn),
            control("drafts", "Drafts by MTP", ["off", "on"], kind="choice", when=("model", guessing)),
            control("top_k", "Top-k", TOP_K, more=True, when=drawn),
            control("min_p", "Min-p", MIN_P, more=True, when=drawn),
            control("choose", "Each step takes", [AT_RANDOM, BEST], kind="choice", more=True),
            control("seed", "Seed of the draws", [*range(10)], more=True),
            control("model", "Model", [*self._models], kind="choice", more=True),
        ]
        return [one for one in found if one["name"] != "drafts" or guessing]

    def compute(self, state: dict) -> tuple[dict, str]:
        self._follow(state)
        _, tokenizer = self._models[state["model"]]
        shown = data(self.session, tokenizer) | {"steps": state["steps"]}
        return shown, summary(state["model"], self.session, tokenizer)

    def _follow(self, state: dict) -> None:
        """Do what was asked for since the last time."""
        before, self._followed = self._followed, state
        model, tokenizer = self._models[state["model"]]
        start = [*([] if tokenizer.end is None else [tokenizer.end]), *tokenizer.encode(state["prompt"])]
        settings = {"max_length": LONGEST, "stop": tokenizer.end, "seed": state["seed"]}
        if self.session is None or self.session.prompt != start or state["restarts"] != before["restarts"]:
            self.session = Session(model, start, **settings)
        elif self.session.model is not model:  # it reads the text of the other
            self.session = Session(model, start, written=self.session.written, **settings)
        elif state["seed"] != before["seed"]:
            self.session.generator.manual_seed(state["seed"])
        self.session.sampler = sampler(state)
        self.session.drafts = state["drafts"] == "on" and bool(model.mtp)
        # of presses that arrive together, those beyond the end do nothing; a single one there is refused
        for i in range(state["backs"] - before.get("backs", 0)):
            if not i or self.session.written:
                self.session.back()
        for i in range(state["steps"] - before.get("steps", 0)):
            if not i or not self.session.ended:
                self.session.step()
        if state["chosen"] != before.get("chosen") and state["chosen"][0] == len(self.session.tokens):
            self.session.choose(state["chosen"][1])


def data(session: Session, tokenizer: Tokenizer) -> dict:
    """What the page draws."""
    own, reshaped, draft = session.logits.softmax(-1), session.probabilities, session.draft
    rows = candidates(own, reshaped, BARS, also=draft and draft.id)
    pieces = [
        {
            "text": piece(tokenizer, one.id),
            "how": one.how,
            "draft": None if one.draft is None else piece(tokenizer, one.draft),
        }
        for one in session.tokens
    ]
    bars = [
        {
            "token": token,
            "text": piece(tokenizer, token),
            "own": float(row.own),
            "reshaped": float(row.reshaped),
            "draft": bool(draft and token == draft.id),
        }
        for token, row in rows.iterrows()
    ]
    rest = torch.ones(len(own), dtype=torch.bool)
    rest[rows.index.tolist()] = False
    return {
        "pieces": pieces,
        "pending": draft and {"text": piece(tokenizer, draft.id), "chance": session.chance},
        "bars": bars,
        "others": {"number": int(rest.sum()), "own": float(own[rest].sum()), "reshaped": float(reshaped[rest].sum())},
        "entropy": {"own": float(entropy(own)), "reshaped": float(entropy(reshaped)), "most": math.log2(len(own))},
        "cache": caches(session).rename_axis("kind").reset_index().to_dict("records"),
        "verdicts": verdicts(session),
        "ended": session.ended,
    }


def caches(session: Session) -> "pd.DataFrame":
    return cache_use(session.model, session.cache, session.drafter.cache if session.drafts else None)


def verdicts(session: Session) -> dict[str, int]:
    hows = [token.how for token in session.written]
    return {"accepted": hows.count("accepted"), "rejected": hows.count("replaced"), "passes": session.passes}


def summary(name: str, session: Session, tokenizer: Tokenizer) -> str:
    """What the picture shows, in words with its numbers."""
    own, reshaped = session.logits.softmax(-1), session.probabilities
    first = [
        f"{quoted(tokenizer, token)} {row.own:.1%} (drawn with {row.reshaped:.1%})"
        for token, row in candidates(own, reshaped, 3).iterrows()
    ]
    use = caches(session).sum() / 1000
    parts = [
        happened(session, tokenizer),
        f"Next, by {name}: {', '.join(first)}; {int((reshaped > 0).sum()):,} of {len(own):,} tokens can be drawn.",
        f"Entropy {entropy(own):.2f} bits, after reshaping {entropy(reshaped):.2f}.",
        f"The cache holds {use.used:,.1f} of {use.allocated:,.1f} kB.",
    ]
    return " ".join(parts + ([drafted(session, tokenizer)] if session.drafts else []))


def happened(session: Session, tokenizer: Tokenizer) -> str:
    """How the text came to its last token."""
    last, number = session.tokens[-1], len(session.tokens)
    this = f"Token {number}: {quoted(tokenizer, last.id)}"
    said = {
        "prompt": f"The prompt has {number} tokens.",
        "drawn": f"{this}, drawn.",
        "chosen": f"{this}, chosen by you.",
        "accepted": f"{this}, an accepted draft.",
        "replaced": f"{this}, drawn when {quoted(tokenizer, last.draft or 0)} was rejected.",
    }[last.how]
    ended = {"stop": " The text has ended.", "full": " There is no more room.", "": ""}[session.ended]
    again = " A window had overwritten what it now needs: the text was read again." if session.reread else ""
    return said + again + ended


def drafted(session: Session, tokenizer: Tokenizer) -> str:
    found, pending = verdicts(session), ""
    if session.draft is not None:
        pending = f"The next draft, {quoted(tokenizer, session.draft.id)}, will be accepted with {session.chance:.0%}."
    told = f"Drafts: {found['accepted']} accepted, {found['rejected']} rejected; {len(session.written)} tokens in "
    return f"{told}{found['passes']} passes. {pending}".rstrip()
