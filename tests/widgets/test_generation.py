"""The generation view's buttons write, take back and begin again; its controls are the sampler."""

import pytest

from lmlab.sampling import Greedy, Sampler
from lmlab.text.pieces import pieces
from lmlab.widgets.generation import LONGEST, GenerationView

OFF = "every token"


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
    with pytest.raises(ValueError, match=r"needs its tokenizer"):
        GenerationView(models["mini-gpt-oss"])
    with pytest.raises(ValueError, match="no control is called temprature"):
        GenerationView(models["mini-gpt-oss"], tokenizer=tokenizer, temprature=2)


def test_blanks_and_what_no_letter_shows_are_pieces_as_everywhere(models, tokenizer):
    view = GenerationView(models["mini-gpt-oss"], tokenizer=tokenizer, prompt="\u00e9\n a")
    shown = [piece["text"] for piece in view.data["pieces"]]
    assert shown[1:] == pieces(tokenizer, tokenizer.encode("\u00e9\n a"))
    assert shown[1:3] == ["<C3>", "<A9>"] and shown[-2:] == ["\u21b5", "\u00b7a"]
