"""Stories of the corpus have nothing wrong with them; what is put into one is found."""

from itertools import islice

from lmlab.measure.stories import judged, no_words, strangers
from lmlab.text.corpus import documents

STORIES = [*islice((one.text for one in documents("general", seed=-3) if one.domain == "story"), 400)]


def test_nothing_is_wrong_with_a_story_of_the_corpus():
    for text in STORIES:
        assert not strangers(text) and not no_words(text), text


def test_what_is_put_into_one_is_found():
    text = "Once there was a girl called Mia. Her best friend was a boy called Tom. Mia and Tom sailed."
    assert strangers(text) == set() and no_words(text) <= {"sailed"}
    assert strangers(text.replace("Mia and", "Lena and")) == {"Lena"}
    assert no_words("Once there was a gardrum.") == {"gardrum"}


def test_stories_are_judged_together():
    bad = STORIES[0] + " Lena, Ada, Max and Oscar gardrummed a gardrum."
    new = {"Lena", "Ada", "Max", "Oscar"} - {*STORIES[0].replace(".", " ").split()}
    assert judged([STORIES[0], STORIES[0], bad, STORIES[1]]).to_dict() == {
        "stories": 4,
        "different": 3,
        "read by the grammar": 3,
        "words that are none, in a story": 2 / 4,
        "children nobody introduced, in a story": len(new) / 4,
    }
