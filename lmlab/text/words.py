"""The words of the stories, and what belongs to each: a cat says "meow" and lives in a basket.

Every table has one word a line: the word, then its properties, in the order of the first line.
"""

from lmlab.text.grammar import Word, Words


def table(text: str) -> Words:
    """Cells stand between bars; the first line names the properties."""
    first, *rows = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
    return Words(tuple(Word(row[0], **dict(zip(first[1:], row[1:], strict=True))) for row in rows))


def plain(text: str) -> Words:
    return Words(tuple(Word(word.strip()) for word in text.split(",")))


def _people(names: str, **pronouns: str) -> Words:
    return Words(tuple(Word(name.strip(), **pronouns) for name in names.split(",")))


GIRL = {"he": "she", "him": "her", "his": "her"}
BOY = {"he": "he", "him": "him", "his": "his"}

LEXICON = {
    "kinds": Words((Word("girl", **GIRL), Word("boy", **BOY))),
    "children": {
        "girl": _people("Mia, Lena, Ada, Nora, Zoe, Ruby, Ivy, Anna, Lily, Clara, Maya, Lucy", **GIRL),
        "boy": _people("Tom, Ben, Leo, Max, Sam, Finn, Hugo, Eli, Oscar, Theo, Jack, Otto", **BOY),
    },
    "elders": Words(
        _people("Grandma, Aunt Rosa, Mrs. Hill, Miss Bloom", **GIRL).words
        + _people("Grandpa, Uncle Jim, Mr. Reed, old Captain Gray", **BOY).words
    ),
    "days": plain("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "times": plain("One morning, One evening, After lunch, Before breakfast, One quiet day, Last summer, Last winter"),
    "colors": plain("red, blue, green, yellow, purple, gray, white, black, brown, pink, silver, golden"),
    "sizes": plain("little, big, tiny, huge, small, round, soft, shiny, heavy, pretty"),
    # what it is | what one does with it | what had happened to it when it was lost
    "toys": table("""
        toy | use | using | lost
        ball | throw it high | throwing it high | rolled under the stairs
        kite | fly it over the hill | flying it over the hill | gotten caught in a tree
        drum | play a loud song | playing a loud song | been left behind the curtain
        boat | sail it on the pond | sailing it on the pond | floated under the bridge
        doll | comb its long hair | combing its long hair | slipped between two pillows
        puzzle | put the pieces together | putting the pieces together | slid under the sofa
        whistle | blow it twice | blowing it twice | fallen through a hole in the pocket
        lantern | light the dark path | lighting the dark path | been forgotten in the barn
        book | read every page | reading every page | slipped beneath a pile of letters
        hat | wear it in the sun | wearing it in the sun | been carried away by the wind
        scarf | wrap up warm | wrapping up warm | been hung on a fence
        ring | let it shine | letting it shine | dropped into the tall grass
        bell | ring it at the door | ringing it at the door | rolled behind the stove
        robot | wind it up | winding it up | walked into a dark corner
        camera | take a picture | taking a picture | been put on top of the cupboard
        basket | gather ripe berries | gathering ripe berries | been left beside the well
        """),
    # where | what one hears or sees there | who is met there
    "places": table("""
        place | sign | near
        in the garden | bees were humming | by the roses
        at the market | people were shouting prices | beside the fruit stand
        in the forest | the leaves were whispering | under an old oak
        on the beach | waves were rolling in | next to a sandcastle
        at the library | nobody said a word | between two tall shelves
        in the kitchen | a pot was bubbling | close to the oven
        at the station | a train was puffing | under the big clock
        on the farm | hens were cackling | behind the barn
        by the river | water was rushing past | on a flat stone
        in the attic | dust was dancing in the light | inside an old trunk
        at school | chalk was squeaking | at the back of the classroom
        on the hill | the grass was waving | beside the windmill
        in the park | a fountain was splashing | near the swings
        at the harbor | gulls were crying | among the fishing nets
        in the cave | drops were falling | in front of a mossy wall
        at the bakery | warm bread was steaming | below the counter
        """),
    # the last but one says how it goes, the last what its young are called
    "animals": table("""
animal | name | sound | home | food | went | young
        a cat | cat | meow | basket | some milk | crept | kitten
        a dog | dog | woof | kennel | a bone | trotted | puppy
        a duck | duck | quack | pond | bread crumbs | waddled | duckling
        a frog | frog | ribbit | swamp | three flies | hopped | tadpole
        an owl | owl | hoo | hollow tree | a cricket | glided | owlet
        a mouse | mouse | squeak | hole in the wall | some cheese | scurried | pup
        a horse | horse | neigh | stable | a bag of oats | galloped | foal
        a sheep | sheep | baa | meadow | fresh clover | strolled | lamb
        a bee | bee | buzz | hive | a drop of honey | flew | larva
        a crow | crow | caw | nest | golden corn | flapped | chick
        a pig | pig | oink | sty | two turnips | rolled | piglet
        a snake | snake | hiss | burrow | an egg | slid | hatchling
        a goat | goat | bleat | shed | a thistle | climbed | kid
        a wolf | wolf | howl | den | a piece of meat | prowled | cub
        """),
    # what is wrong | what one says | what helps | how it is then
    "troubles": table("""
        trouble | cry | help | better
        hungry | I have not eaten since yesterday | shared a sandwich with it | full
        cold | I am freezing in this wind | put a warm blanket around it | warm
        lost | I cannot find my way home | walked it all the way home | safe
        thirsty | my throat is so dry | brought a bowl of water | refreshed
        stuck | my foot is caught | lifted the heavy branch | free
        lonely | nobody wants to play with me | stayed for the whole afternoon | cheerful
        hurt | my leg is aching | tied a clean bandage around the leg | healed
        tired | I have been walking all night | made a bed of straw | rested
        scared | there is a shadow behind that bush | chased the shadow away with a stick | calm
        muddy | I am dirty from head to tail | washed it with soap | clean
        """),
    # mood | how one looks | what one does
    "good_moods": table("""
        mood | face | does
        happy | smiled | sang a song
        proud | beamed | stood up straight
        excited | grinned | jumped with joy
        curious | blinked | asked a hundred questions
        cheerful | laughed | danced through the room
        """),
    "bad_moods": table("""
        mood | face | does
        sad | wept | sat down alone
        angry | frowned | stamped on the floor
        worried | sighed | walked up and down
        shy | blushed | looked at the ground
        bored | shrugged | counted the clouds
        """),
    # weather | what it does | what one takes | what one finds afterwards
    "weather": table("""
        weather | came | take | after
        rain | It began to rain | an umbrella | puddles were everywhere
        snow | Snow began to fall | thick gloves | the whole village was white
        wind | A strong wind came up | a warm coat | branches lay on the road
        fog | Fog rolled over the fields | a bright lamp | every spider web was wet
        thunder | Thunder rumbled far away | a brave heart | the air smelled fresh
        heat | It grew terribly hot | a bottle of water | the grass was dry and yellow
        hail | Hail rattled on the roofs | an iron pot | ice covered the path
        """),
    # dish | first | then | last | its taste
    "dishes": table("""
        dish | first | then | last | taste
        soup | chopped carrots and onions | boiled them in a pot | added salt and pepper | hot and spicy
        pancakes | mixed flour with milk | poured the batter in a pan | turned them over quickly | thin and buttery
        apple pie | peeled five apples | rolled out the dough | baked it until it was brown | sweet and crisp
        bread | kneaded the dough | let it rise near the fire | put it in the oven | fresh and crusty
        salad | washed the lettuce | cut up two tomatoes | stirred in some oil | green and crunchy
        jam | picked a bucket of plums | cooked them with sugar | filled seven jars | dark and sticky
        cookies | melted some butter | cut out stars and moons | sprinkled nuts on top | sweet and nutty
        noodles | heated a kettle of water | threw in the noodles | grated cheese on top | soft and creamy
        lemonade | squeezed six lemons | stirred in cold water | dropped in ice cubes | sour and cool
        """),
    # contest | to do it | what decides | prize
    "contests": table("""
        contest | did | best | prize
        race | ran past the mill and back | was the first at the gate | medal
        swimming match | swam across the lake | reached the far shore first | silver cup
        painting contest | painted the old lighthouse | made the brightest picture | box of paints
        singing contest | sang before the whole town | hit the highest note | bunch of flowers
        spelling game | spelled the longest words | made no mistake | dictionary
        snowball fight | built a wall of snow | threw the last snowball | cup of cocoa
        chess game | moved the wooden kings and queens | took the last knight | wooden crown
        dance | danced around the fire | danced until midnight | pair of shoes
        """),
    "chests": table("""
        box | open
        chest | lifted its creaking lid
        drawer | pulled it out slowly
        jar | unscrewed the top
        suitcase | opened both locks
        barrel | knocked out the cork
        envelope | broke the seal
        """),
    "treasures": table("""
        find | made
        a map of the island | dreamed of far countries
        an old photograph | laughed about the funny clothes
        twelve coins | bought ice cream for everybody
        a letter from a king | learned every line by heart
        a magic seed | planted it under the window
        a broken watch | repaired it with a tiny screwdriver
        a pearl | kept it in a matchbox
        a dried butterfly | hung it above the bed
        """),
    "fruits": plain("apples, pears, cherries, grapes, plums, peaches, strawberries, nuts"),
    "lessons": plain(
        "a friend is worth more than gold, patience opens every door, kind words cost nothing, sharing makes twice as "
        "much, nobody is too small to help, it is good to tell the truth, a promise must be kept, practice makes "
        "perfect"
    ),
    "ends": plain(
        "Then the moon came out, Then the stars came out, At last the lamps were lit, Soon it was time for bed, "
        "Far away a church bell rang, The fire burned low"
    ),
    "jobs": plain(
        "teacher, baker, painter, sailor, farmer, doctor, carpenter, gardener, tailor, musician, postman, fisherman"
    ),
    "towns": plain("Oakwood, Riverton, Millbrook, Ashford, Greenfield, Stonebridge, Westport, Silverlake"),
}
