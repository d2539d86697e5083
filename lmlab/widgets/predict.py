"""A question with a few answers: one is noted, then the view says what is so."""

from collections.abc import Callable

from lmlab.widgets.kit import View, joined


class PredictView(View):
    """`reveal` takes the answer that was noted, once, and returns what is shown then."""

    _esm = joined("predict.js")

    def __init__(self, question: str, answers: list[str], reveal: Callable[[str], str]):
        self.question, self.answers, self.reveal = question, answers, reveal
        self.noted: int | None = None
        self.set_trait("state", {"noted": None})
        super().__init__()

    def __repr__(self) -> str:
        return f"{self.question} {' | '.join(self.answers)}"

    def settle(self, old: dict, new: dict) -> dict:
        return new if self.noted is None else {"noted": self.noted}  # a guess, once noted, stays

    def compute(self, state: dict) -> tuple[dict, str]:
        data = {"question": self.question, "answers": self.answers}
        self.noted = state["noted"]
        if self.noted is None:
            return data, "Choose an answer and note it; then you will see what is computed."
        return data, self.reveal(self.answers[self.noted])
