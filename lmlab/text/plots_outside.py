"""Plots outside: an animal in need, the weather, a treasure, a contest. Written as those at home."""

from lmlab.text.grammar import Let, maybe, one_of, seq

ANIMAL = seq(
    one_of(
        " {Time:times} {hero} met {animal:animals} {place:places}.",
        " {Place:places}, {place.near}, {hero} saw {animal:animals}.",
    ),
    one_of(
        ' "{Animal.sound}," said the {animal.name}, "{trouble.cry:troubles}."',
        " The {animal.name} was {trouble:troubles}.",
        ' "{Animal.sound}! I am {trouble:troubles}," said the {animal.name}.',
    ),
    one_of(
        ' "Poor {animal.name}," said {hero}, "wait here."',
        " {Hero} called {friend}, and {friend} came at once.",
        ' "Where do you live?" asked {hero}. "In a {animal.home}," said the {animal.name}.',
    ),
    one_of(" {Hero} {trouble.help}.", " So the two children {trouble.help}."),
    one_of(
        " Soon the {animal.name} was {trouble.better}.",
        ' "Now I am {trouble.better} again," said the {animal.name}.',
    ),
    maybe(0.5, " {Friend} gave the {animal.name} {animal.food}."),
    one_of(
        " The {animal.name} {animal.went} back to its {animal.home}.",
        ' "{Animal.sound}!" said the {animal.name} and {animal.went} away.',
    ),
    maybe(
        0.5,
        seq(
            " A year later {hero} came by the {animal.home}.",
            " A small {animal.young} looked out, and beside it stood the {animal.name} that had been {trouble}.",
        ),
    ),
    one_of(" {Hero} never forgot the {animal.name}.", " {Hero.he} told {elder} about the {animal.name} {place}."),
)

WEATHER = seq(
    one_of(
        " {Time:times} {hero} and {friend} wanted to spend the day {place:places}.",
        ' "Let us go out," said {friend}. "I know a spot {place:places}."',
    ),
    one_of(
        ' "Take {weather.take:weather} with you," said {elder}.',
        ' {Elder} looked up. "I smell {weather:weather}," {elder.he} said, "so take {weather.take}."',
    ),
    one_of(
        ' But {hero} did not want to carry {weather.take}. "It is such a fine day!"',
        " So {hero} packed {weather.take}, although the sky was clear.",
    ),
    one_of(" They sat down {place.near}.", " They found a seat {place.near}, where {place.sign}."),
    one_of(
        " {Hero} had brought {fruit:fruits}, and {friend} {other:fruits-fruit}.",
        " {Friend} unpacked {fruit:fruits} and a {color:colors} cup.",
    ),
    " {Weather.came}.",
    one_of(
        ' "{Elder} was right," said {friend}. "It is the {weather}."',
        ' "If only we had {weather.take}!" said {friend}.',
        ' "{Weather.came}!" shouted {hero}, and both laughed.',
    ),
    one_of(
        " They ran home with {fruit} in both hands.",
        " They waited until it was over and ate the {fruit}.",
    ),
    " Afterwards {weather.after}.",
    one_of(
        " {Hero} told {elder} everything, and {elder.he} only {good.face:good_moods}.",
        ' "Tomorrow we try again," said {hero}, "with {weather.take}."',
    ),
)

TREASURE = seq(
    one_of(
        " {Time:times} {elder} gave {hero} a {color:colors} key.",
        " {Time:times} {hero} dug up a {color:colors} key.",
    ),
    one_of(' "What does it open?" asked {friend}.', ' "This {color} key is older than I am," said {elder}.'),
    one_of(
        " {Elder} remembered an old {box:chests} {place:places}, {place.near}.",
        ' "There is an old {box:chests} {place:places}," said {elder}, "{place.near}."',
    ),
    one_of(
        " {Hero} and {friend} set out, and soon they stood {place.near}, where {place.sign}.",
        " On {day:days} the two were {place}. It was quiet, only {place.sign}.",
    ),
    one_of(
        " The {color} key fitted. {Hero} {box.open}.",
        " {Hero} tried the {color} key, and {friend} {box.open}.",
    ),
    one_of(
        " In the {box} lay {find:treasures}.",
        ' "What is in the {box}?" asked {friend}. "It is {find:treasures}!" said {hero}.',
    ),
    one_of(" {Friend} {good.face:good_moods}.", " They were {good:good_moods} and {good.does}."),
    one_of(" They {find.made}.", ' "{Find}!" said {elder}. So they {find.made}.'),
    maybe(0.5, " The {box} is still {place}, but it is empty now."),
    one_of(" {Hero} wears the {color} key on a string.", " The {color} key was given back to {elder}."),
)


def _wins(winner: str, loser: str):
    return seq(Let("winner", lambda facts: facts[winner]), Let("loser", lambda facts: facts[loser]))


CONTEST = seq(
    one_of(
        " On {day:days} there was a {contest:contests} {place:places}.",
        ' "Will you come to the {contest:contests} on {day:days}?" asked {friend}. "It is {place:places}."',
    ),
    one_of(
        " The prize was a {contest.prize}.",
        ' "Whoever wins gets a {contest.prize}," said {elder}.',
    ),
    one_of(
        " {Hero} had practiced for weeks, but {hero.he} was {mood:bad_moods} and {mood.face}.",
        " {Friend} was {mood:bad_moods} and {mood.does}, but {hero} was not.",
    ),
    one_of(
        ' "Ready?" called {elder}. All of them {contest.did}.', " {Elder} clapped twice, and everyone {contest.did}."
    ),
    one_of(
        seq(" {Hero} {contest.best}.", _wins("hero", "friend")),
        seq(" {Friend} {contest.best}.", _wins("friend", "hero")),
    ),
    one_of(
        " So {winner} won the {contest} and got a {contest.prize}.",
        " {Elder} handed the {contest.prize} to {winner}, and {winner.he} {good.does:good_moods}.",
    ),
    one_of(
        ' "Well done, {winner}," said {loser}.',
        " {Loser} was not even sad. {Loser.he} {loser_mood.face:good_moods} and shook {winner}'s hand.",
        ' "Next year I will win," said {loser}.',
    ),
    one_of(
        " {Winner} put the {contest.prize} on the shelf.",
        " In the evening {winner} lent the {contest.prize} to {loser}.",
        " The {contest} {place} was talked about in {town} for a long time.",
    ),
)
