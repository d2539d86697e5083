"""A guess is noted before anything is revealed; what is revealed, and what is said of each answer, is so."""

import pytest

import lmlab
from lmlab.course import catalogue, predict
from lmlab.course.record import read
from lmlab.measure import memory
from lmlab.measure.generation import flops_by_token
from lmlab.measure.rope import hands
from lmlab.parts.rope import RoPEConfig

PREDICTIONS = catalogue.predictions()


@pytest.mark.parametrize("asked", PREDICTIONS, ids=lambda asked: asked.number)
def test_each_answer_has_a_word(asked):
    assert asked.right in asked.choices and len(asked.choices) >= 3
    assert [says for choice, says in asked.choices.items() if choice != asked.right and not says] == []
    assert asked.answer().startswith("Computed: ")


@pytest.mark.parametrize("asked", PREDICTIONS, ids=lambda asked: asked.number)
def test_noted_then_revealed_and_it_stays(asked):
    view, right = predict(asked.number), [*asked.choices].index(asked.right)
    assert asked.answer() not in view.summary and not read()["predictions"]
    wrong = (right + 1) % len(asked.choices)
    view.state = {"noted": wrong}
    shown = view.summary
    choice = [*asked.choices][wrong]
    assert asked.answer() in shown and asked.choices[choice] in shown and choice in shown
    assert read()["predictions"][asked.number]["guess"] == choice
    view.state = {"noted": right}
    assert view.summary == shown and view.state == {"noted": wrong}


def test_a_second_guess_in_a_new_cell_leaves_the_first():
    asked = PREDICTIONS[0]
    right = [*asked.choices].index(asked.right)
    predict(asked.number).state = {"noted": right - 1}
    again = predict(asked.number)
    again.state = {"noted": right}
    assert f"(Your first guess is kept: {[*asked.choices][right - 1]}.)" in again.summary


def test_a_saved_notebook_shows_the_question():
    assert repr(predict("05.0")).startswith("DeepSeek-V3 has 128 heads and 61 layers. What does its cache")


def test_the_right_one_is_said_to_be_right():
    asked = PREDICTIONS[0]
    view = predict(asked.number)
    view.state = {"noted": [*asked.choices].index(asked.right)}
    assert f"You noted {asked.right}: right." in view.summary and read()["predictions"][asked.number]["right"]


def test_the_numbers_in_the_answers_of_lesson_03():
    table = hands(RoPEConfig(rope_theta=10_000.0), 128, 4096)
    assert int((table.trained_turns < 1).sum()) == 18 and round(table.turns.iloc[0]) == 652
    assert round(table.wavelength.iloc[-1]) == 54_410
    assert table.frequency.iloc[0] / table.frequency.iloc[1] == pytest.approx(1.15, abs=0.005)


def test_the_numbers_in_the_answers_of_lesson_05():
    config = lmlab.config("deepseek-v3")
    assert config.num_hidden_layers == 61 and config.blocks[0].attention.num_attention_heads == 128
    for numbers, gigabytes in ((40_960, 655), (1024, 16.4), (576, 9.2), (512, 8.2)):
        assert 61 * 131_072 * numbers * 2 / 1e9 == pytest.approx(gigabytes, rel=0.005)
    assert memory.cache_bytes_as_mha(config, 131_072) == 61 * 131_072 * 40_960 * 2
    assert 128 * (192 + 128) == 40_960 and 2 * 4 * 128 == 1024


def test_the_numbers_in_the_answers_of_lesson_09():
    config = lmlab.config("qwen3-8b")
    layers = 36 * 2 * (4096 * 4096 * 2 + 4096 * 1024 * 2 + 3 * 4096 * 12_288)  # FLOPs a token in the layers' matrices
    scores, head = 36 * 4 * 4096, 2 * 4096 * 151_936  # for each key; for each token that is written
    first, second = flops_by_token(config, 1000, 2)["with a cache"]
    assert first == 1000 * layers + 1000 * 1001 // 2 * scores + head and second == layers + 1001 * scores + head
    assert first / second == pytest.approx(900, rel=0.01)
    assert catalogue.prediction("09.0").answer().endswith(f"{first / second:,.0f} times fewer.")
