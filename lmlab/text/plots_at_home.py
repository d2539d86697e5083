"""Plots at home: lost and found, a birthday, cooking, swapping toys.

A fact that is named again must be the one of before: most sentences hold one. The children are `hero` and `friend`;
what a plot draws itself is written where it is drawn.
"""

from lmlab.text.grammar import maybe, one_of, seq

LOST = seq(
    one_of(
        " For {hero.his} birthday {hero} got a {size:sizes} {color:colors} {thing:toys}.",
        " {Hero.he} owned a {size:sizes} {color:colors} {thing:toys} and loved it more than anything.",
        " {Time:times} {hero} found a {size:sizes} {color:colors} {thing:toys}.",
    ),
    one_of(
        " {Hero.he} liked to {thing.use} {place:places}.",
        " {Hero} took it everywhere, and {place:places} {hero.he} would {thing.use}.",
    ),
    one_of(
        " But one day the {thing} was gone.", " Then the {color} {thing} disappeared.", " But {hero} lost the {thing}."
    ),
    one_of(" {Hero} was {mood:bad_moods} and {mood.face}.", " {Hero.he} felt {mood:bad_moods} and {mood.does}."),
    one_of(
        ' "Where is my {color} {thing}?" asked {hero}.',
        ' "I wanted to {thing.use}," said {hero}, "and now I cannot."',
        ' "Have you seen a {size} {thing}?" {hero.he} asked {friend}.',
    ),
    one_of(
        ' "Did you look {place}?" said {friend}.',
        ' "Let us go back," said {friend}, "you had it {place}."',
    ),
    maybe(0.4, " They searched {place} until {place.sign} no more."),
    maybe(0.4, " {Friend} even asked {elder}, but {elder.he} had not seen the {thing}."),
    one_of(
        " In the end {friend} found it: it had {thing.lost}.",
        " At last {hero} saw something {color}: the {thing} had {thing.lost}.",
    ),
    one_of(
        " {Hero} was {good:good_moods} and {good.face}, and soon the two were {thing.using}.",
        " Now {hero} was {good:good_moods} again and {good.does}.",
        ' "Thank you, {friend}!" said {hero} and {good.face:good_moods}.',
    ),
)

GIFT = seq(
    one_of(
        " On {day:days} it was {friend}'s birthday.",
        " {Friend} was going to be eight years old on {day:days}.",
    ),
    one_of(
        " {Hero} bought {friend.him} a {color:colors} {thing:toys}.",
        " {Hero} had saved every coin for a {color:colors} {thing:toys}.",
        " With the help of {elder} {hero} made a {color:colors} {thing:toys}.",
    ),
    one_of(
        " {Hero.he} wrapped the {thing} in {paper:colors-color} paper.",
        " {Hero.he} hid it in a {paper:colors-color} bag.",
    ),
    maybe(0.5, " {Elder} tied a ribbon around it, as {color} as the {thing}."),
    one_of(
        ' "Happy birthday, {friend}!" said {hero} on {day}.',
        ' When {day} came, {hero} knocked at the door. "This is for you, {friend}!"',
    ),
    one_of(
        " {Friend} shook it and guessed what it was.",
        ' "It is something {paper}," said {friend}, "but what is inside?"',
    ),
    one_of(
        ' "A {thing}, and {color}, too!" cried {friend}.',
        ' "Now I can {thing.use}!" cried {friend}, for it was a {thing}.',
    ),
    one_of(
        " {Friend} was so {good:good_moods} that {friend.he} {good.does}.",
        " {Hero} {good.face:good_moods}.",
    ),
    maybe(0.5, " The rest of the day they spent {place:places}, {thing.using}."),
    one_of(
        " {Friend} kept the {color} {thing} for many years.",
        " That night the {thing} lay next to {friend}'s pillow.",
        " From then on {friend} never went out without the {color} {thing}.",
    ),
)

COOKING = seq(
    one_of(
        " On {day:days} {elder} taught {hero} how to make {dish:dishes}.",
        ' "What shall we cook on {day:days}?" asked {elder}. "{Dish:dishes}!" said {hero}.',
    ),
    one_of(" First they {dish.first}.", " {Hero} tied an apron and {dish.first}."),
    one_of(" Then they {dish.then}.", " While {hero} watched, {elder} {dish.then}."),
    maybe(0.4, " {Friend} came in, because the whole street smelled of {dish}."),
    one_of(" Finally they {dish.last}.", ' "And now?" asked {hero}. Without a word {elder} {dish.last}.'),
    one_of(
        ' "How does it taste?" asked {elder}. "{Dish.taste}!" said {hero}.',
        " The {dish} turned out {dish.taste}.",
    ),
    one_of(
        " {Hero} carried some {dish} to {friend} on a {color:colors} plate.",
        " {Friend} was invited, too, and ate from a {color:colors} plate.",
    ),
    one_of(
        ' "I have never had such {dish.taste} {dish}," said {friend}.',
        " {Friend} {good.face:good_moods} and asked for more {dish}.",
    ),
    one_of(
        " Nothing was left on the {color} plate.",
        " Since that {day} {hero} makes {dish} whenever {friend} comes.",
        " {Friend} licked the {color} plate until it shone.",
    ),
)

TRADE = seq(
    one_of(
        " {Hero} had a {color:colors} {thing:toys}, and {friend} had a {other_color:colors} {other:toys-thing}.",
        " {Time:times} {hero} was {thing.using:toys}, and {friend} had only a {other_color:colors} {other:toys-thing}.",
    ),
    one_of(
        ' "I would rather {other.use}," said {hero}.',
        ' "Your {other} is better than my {thing}," said {hero}.',
    ),
    one_of(
        ' "Then take the {other} and give me the {thing}," said {friend}.',
        ' "And I would like to {thing.use}," said {friend}.',
    ),
    one_of(
        " So they traded: now {hero} had the {other}, and {friend} the {thing}.",
        " {Hero} handed over the {thing} and took the {other_color} {other}.",
    ),
    one_of(
        " On {day:days} {friend} traded the {thing} to {elder} for {find:treasures}.",
        " On {day:days} {elder} came and wanted the {thing}, and gave {friend} {find:treasures} for it.",
    ),
    one_of(
        ' "Where is the {thing} now?" asked {hero}. "{Elder} has it," said {friend}.',
        ' "What have you got there?" asked {hero}. "It is {find}," said {friend}.',
    ),
    one_of(" {Friend} took {find} home and {find.made}.", " {Friend} was {good:good_moods} and {find.made}."),
    one_of(
        " {Hero} still had the {other_color} {other} and was {mood:good_moods}.",
        " And {hero}? {Hero} kept the {other}, and was often seen {other.using}.",
    ),
)
