"""The stream view: one token's way through a model, part by part, and what the model would say if it stopped there."""

from collections.abc import Sequence

import torch

from lmlab.families import MINIATURES
from lmlab.measure import residual
from lmlab.model import LanguageModel
from lmlab.text.pieces import pieces
from lmlab.text.tokenizer import Tokenizer
from lmlab.widgets.kit import View, control, joined
from lmlab.widgets.models import EXAMPLES, OWN, opened, text_of_example

LONGEST = 128  # tokens that the picture holds
RANKS = 5
BARS = {"share": "share of the last state", "vote": "vote for what is said"}


class StreamView(View):
    """The residual stream at one token of a text: its length and direction after every part, what each part wrote, and
    the logit lens underneath.

    models: the name of a checkpoint (as in `lmlab.load`), several of as many layers to switch between, or a
    LanguageModel with its `tokenizer`. Keyword arguments set controls: model; text, or example; token (an index; the
    last unless told), stop (0 is the embedding), bars.
    """

    _esm = joined("residual.js")

    def __init__(
        self,
        models: str | Sequence[str] | LanguageModel = MINIATURES,
        *,
        tokenizer: Tokenizer | None = None,
        **state,
    ):
        self._models = opened(models, tokenizer)
        depths = {name: model.config.num_hidden_layers for name, (model, _) in self._models.items()}
        if len({*depths.values()}) != 1:
            raise ValueError(f"models to switch between must have equally many layers: got {depths}")
        self._reading: tuple = ()  # ((model, text), data): the last one
        example = next(iter(EXAMPLES))
        start = {"model": next(iter(self._models)), "example": example, "text": EXAMPLES[example]}
        asked = start | {"text": EXAMPLES.get(state.get("example"), start["text"])} | state
        self._controls(self._pieces(start | {"text": str(asked["text"])}))
        last = {"token": len(self._pieces(start)) - 1, "stop": 2 * depths[start["model"]]}
        self.set_trait("state", start | last | {"bars": "share"})
        super().__init__(**state)

    def _controls(self, tokens: list[str]) -> None:
        model, _ = next(iter(self._models.values()))
        stops = residual.parts(model.config)
        self.controls = [
            control("model", "Model", [*self._models], kind="choice"),
            control("example", "Text", [*EXAMPLES, OWN], kind="choice"),
            control("stop", "Stop after", [*range(len(stops))], [*stops]),
            control("text", "The text (change it, then press Enter)", [], kind="text"),
            control("token", "Token", [*range(len(tokens))], tokens, kind="marks"),
            control("bars", "The lowest bars", [*BARS], [*BARS.values()], kind="choice", more=True),
        ]

    def _pieces(self, state: dict) -> list[str]:
        """The text's tokens behind the one that ended the text before, as in training."""
        _, tokenizer = self._models[state["model"]]
        return pieces(tokenizer, _ids(tokenizer, state["text"]))

    def settle(self, old: dict, new: dict) -> dict:
        new = text_of_example(old, new)
        tokens = len(self._pieces(new))
        if tokens > LONGEST:
            return new  # will be refused: what is shown stays
        return new | {"token": tokens - 1 if new["text"] != old["text"] else min(new["token"], tokens - 1)}

    def compute(self, state: dict) -> tuple[dict, str]:
        asked = state["model"], state["text"]
        if not self._reading or self._reading[0] != asked:
            found = reading(state["model"], *self._models[state["model"]], state["text"])
            self._reading = asked, found
            self._controls(found["tokens"])
        return self._reading[1], words(self._reading[1], state)

    def _refresh(self) -> None:
        with self.hold_sync():
            super()._refresh()
            if self.problem and self.data:
                self.summary = words(self.data, self.state)  # of the text that is still shown


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.end, *tokenizer.encode(text)]


def reading(name: str, model: LanguageModel, tokenizer: Tokenizer, text: str) -> dict:
    """All that the picture can show of one text, for every token: lists by stop, then by token."""
    ids = _ids(tokenizer, text)
    if len(ids) > LONGEST:
        raise ValueError(f"the text has {len(ids)} tokens, and the picture holds {LONGEST}: shorten it")
    found = residual.stream(model, ids)
    answers, (best, which) = found.answers, residual.top(model, found, RANKS)
    numbers = residual.geometry(found) | {"vote": residual.votes(model, found, answers), "p": best}
    known = which.unique().tolist()
    shown = dict(zip(known, pieces(tokenizer, known), strict=True))
    data = {name: values.tolist() for name, values in numbers.items()} | {
        "parts": [*found.parts],
        "tokens": pieces(tokenizer, ids),
        "top": [[[shown[one] for one in token] for token in stop] for stop in which.tolist()],
        "right": (which == answers[:, None]).tolist(),
        "answers": [shown[one] for one in answers.tolist()],
        "settled": residual.settled(model, found).tolist(),
    }
    # the page draws with few digits, the words are those of all
    return data | {"words": sentences(name, data)} | {name: _few(values) for name, values in numbers.items()}


def _few(values: torch.Tensor) -> list:
    return ((values.double() * 1e5).round() / 1e5).tolist()


def sentences(name: str, data: dict) -> dict[str, list]:
    """What the picture says in words: of each token, of its bars, and of each stop."""
    parts, tokens = data["parts"], data["tokens"]
    every = range(len(tokens))
    return {
        "token": [_token(name, data, t) for t in every],
        "share": [f"Most of the last state comes from {_most(data, 'share', t, '{:.0%}')}." for t in every],
        "vote": [
            f"Most for {_quoted(data['answers'][t])} comes from {_most(data, 'vote', t, '{:+.1f}')}." for t in every
        ],
        "stop": [[_stop(data, p, t) for t in every] for p in range(len(parts))],
    }


def _token(name: str, data: dict, t: int) -> str:
    tokens, answer, last = data["tokens"], data["answers"][t], len(data["parts"]) - 1
    p = data["p"][last][t][0]
    since = data["settled"][t]
    from_on = f"from {data['parts'][since]} on" if since < last else "only at the very end"
    goes_on = f"; the text goes on with {_quoted(tokens[t + 1])}" if t + 1 < len(tokens) else ""
    return (
        f"{name}, token {t + 1} of {len(tokens)}, {_quoted(tokens[t])}: the stream grows from length "
        f"{data['length'][0][t]:.3g} to {data['length'][last][t]:.3g}; its end has a cosine of "
        f"{data['to_embedding'][last][t]:.2f} with its embedding. The model says {_quoted(answer)} ({p:.0%}), "
        f"{from_on}{goes_on}."
    )


def _most(data: dict, bars: str, t: int, form: str) -> str:
    each = {part: data[bars][i][t] for i, part in enumerate(data["parts"])}
    largest = sorted(each, key=each.get, reverse=True)[:3]
    return ", ".join(f"{part} {form.format(each[part])}" for part in largest)


def _stop(data: dict, p: int, t: int) -> str:
    said = ", ".join(f"{_quoted(one)} {x:.0%}" for one, x in zip(data["top"][p][t][:3], data["p"][p][t], strict=False))
    return f"Stopped after {data['parts'][p]} it would say {said}."


def _quoted(piece: str) -> str:
    return f'"{piece}"'


def words(data: dict, state: dict) -> str:
    """The sentences of the token, bars and stop that are chosen."""
    said, t = data["words"], state["token"]
    return " ".join((said["token"][t], said[state["bars"]][t], said["stop"][state["stop"]][t]))
