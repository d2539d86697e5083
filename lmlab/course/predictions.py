"""predict: a guess is noted, and only then revealed what is computed."""

from lmlab.course import record
from lmlab.course.catalogue import prediction
from lmlab.widgets.predict import PredictView


def predict(number: str) -> PredictView:
    """The question as a small view: choose an answer, note it, and see. ValueError if there is no such prediction."""
    asked = prediction(number)

    def noted(choice: str) -> str:
        right = choice == asked.right
        before = record.first_guess(number)
        kept = record.note_guess(number, choice, right)
        opening = f"You noted {choice}: right." if right else f"You noted {choice}. {asked.choices[choice]}"
        earlier = f"(Your first guess is kept: {before}.)" if before and before != choice else ""
        return " ".join(part for part in (opening, asked.answer(), earlier, kept) if part)

    return PredictView(asked.question, [*asked.choices], noted)
