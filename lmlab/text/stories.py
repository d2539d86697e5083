"""Stories: who they are about, a plot or several, and how they end."""

from lmlab.text.grammar import Node, Seq, one_of, seq
from lmlab.text.plots_at_home import COOKING, GIFT, LOST, TRADE
from lmlab.text.plots_outside import ANIMAL, CONTEST, TREASURE, WEATHER

PLOTS = (LOST, GIFT, ANIMAL, WEATHER, COOKING, TRADE, TREASURE, CONTEST)

OPENING = seq(
    one_of(
        "Once there was a {kind:kinds} called {hero:children[kind]} who lived in {town:towns}.",
        "This is the story of a {kind:kinds} from {town:towns}. Everybody called {kind.him} {hero:children[kind]}.",
        "In {town:towns} there lived a {kind:kinds}, and {kind.his} name was {hero:children[kind]}.",
    ),
    one_of(
        " {Hero.his} best friend was a {friend_kind:kinds} called {friend:children[friend_kind]-hero}.",
        " Next door lived a {friend_kind:kinds} whose name was {friend:children[friend_kind]-hero}.",
    ),
    one_of(
        " {Hero} and {friend} often visited {elder:elders}.",
        " The two of them liked {elder:elders}, who had been a {job:jobs}.",
        " Nobody told better stories than {elder:elders}.",
    ),
)

ENDING = one_of(
    (2, seq()),
    (1, " {End:ends}."),
    (1, " And {hero} learned that {lesson:lessons}."),
    (1, ' "You see," said {elder}, "{lesson:lessons}."'),
)

NEXT = one_of(
    " But that was not all.",
    " Some weeks went by.",
    " And then there was the day when everything went differently.",
)

STORY: Node = seq(OPENING, one_of(*PLOTS), ENDING)


def long_story(episodes: int) -> Node:
    """Several plots about the same people, one after the other."""
    plot = one_of(*PLOTS)
    return Seq((OPENING, plot, *(part for _ in range(episodes - 1) for part in (NEXT, plot)), ENDING))
