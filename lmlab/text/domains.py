"""What else the corpus is made of: recall of stated facts, arithmetic, code with brackets, and a second language."""

from lmlab.text.grammar import Facts, Let, Node, Word, Words, one_of, seq
from lmlab.text.words import LEXICON, plain, table

# recall: many facts in a row, then questions about some of them


def _fact(n: int) -> str:
    others = "".join(f"-thing{i}" for i in range(1, n))
    return f" The {{thing{n}:toys{others}}} is {{color{n}:colors}} and lies {{place{n}:places}}."


def _question(facts: int) -> Node:
    asked = range(1, facts + 1)
    return one_of(
        *(f" What color is the {{thing{n}}}? {{Color{n}}}." for n in asked),
        *(f" Where is the {{thing{n}}}? {{Place{n}}}." for n in asked),
    )


def _recall(facts: int, questions: int) -> Node:
    return seq("Remember this.", *map(_fact, range(1, facts + 1)), *[_question(facts)] * questions)


RECALL = one_of(*(_recall(facts, questions) for facts in (2, 4, 6, 8, 10, 12) for questions in (2, 4, 6)))

# arithmetic: sums and differences of numbers up to 99, bare or digit by digit


def kept_out(a: int, b: int) -> bool:
    """Pairs of two-digit numbers that no training text adds or subtracts: a tenth of them."""
    return a > 9 and b > 9 and (7 * a + 3 * b) % 10 == 0


def _number(n: int) -> Word:
    return Word(str(n), tens=str(n // 10), ones=str(n % 10))


NUMBERS = [_number(n) for n in range(100)]
ARITHMETIC_WORDS = {
    "numbers": Words(tuple(NUMBERS)),
    "addends": {a: Words(tuple(b for b in NUMBERS if not kept_out(int(a), int(b)))) for a in NUMBERS},
    "smaller": {a: Words(tuple(b for b in NUMBERS[: int(a) + 1] if not kept_out(int(a), int(b)))) for a in NUMBERS},
}


def _sum(facts: Facts) -> Word:
    return _number(int(facts["a"]) + int(facts["b"]))


def _ones(facts: Facts) -> Word:
    ones = int(facts["a"].properties["ones"]) + int(facts["b"].properties["ones"])
    return Word(str(ones), digit=str(ones % 10), carry=str(ones // 10))


def _tens(facts: Facts) -> Word:
    return Word(str(int(facts["sum"]) // 10))


def _difference(facts: Facts) -> Word:
    return _number(int(facts["a"]) - int(facts["b"]))


ADDITION = seq(" {a:numbers} + {b:addends[a]} =", Let("sum", _sum), " {sum}.")
BY_DIGITS = seq(
    " {a:numbers} + {b:addends[a]}:",
    *(Let("ones", _ones), Let("sum", _sum), Let("tens", _tens)),
    " {a.ones} + {b.ones} = {ones}, {a.tens} + {b.tens} + {ones.carry} = {tens}, so {sum}.",
)
SUBTRACTION = seq(" {a:numbers} - {b:smaller[a]} =", Let("difference", _difference), " {difference}.")
ARITHMETIC = one_of(
    (2, seq("Add.", *[ADDITION] * 10)),
    (1, seq("Add digit by digit.", *[BY_DIGITS] * 5)),
    (1, seq("Subtract.", *[SUBTRACTION] * 10)),
)

# code: a function with its parameters, and expressions whose brackets close as they opened

CODE_WORDS = {
    "functions": plain("area, build, count, draw, find, join, merge, pack, paint, score, sort, split, swap, total"),
    "names": plain("a, b, c, d, x, y, z, n, m, k, left, right, first, last, item, value"),
    "digits": plain("0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    "operators": plain("+, -, *, <, >, =="),
}


def _expression(names: int, depth: int) -> Node:
    leaf = one_of(*((2.0, f"{{name{i}}}") for i in range(1, names + 1)), (1.0, "{digit:digits}"))
    if not depth:
        return leaf
    inner = _expression(names, depth - 1)
    brackets = [seq(opens, inner, ", ", inner, closes) for opens, closes in ("()", "[]")]
    return one_of((4.0, leaf), *brackets, seq("{{", inner, ": ", inner, "}}"), seq("{function}(", inner, ")"))


def _function(names: int) -> Node:
    expression = _expression(names, 3)
    heads = ", ".join(f"{{name{i}:names{''.join(f'-name{j}' for j in range(1, i))}}}" for i in range(1, names + 1))
    assign = seq("\n    {name1} = ", expression)
    check = seq("\n    if {name1} {operator:operators} ", _expression(names, 1), ":\n        return ", expression)
    body = [one_of(assign, check) for _ in range(3)]
    return seq(f"def {{function:functions}}({heads}):", *body, "\n    return ", expression)


CODE = one_of(*map(_function, (1, 2, 3)))

# a second language: the verb comes last, and adjective and verb end like the noun they go with

LANGUAGE_WORDS = {
    "nouns": table("""
        noun | end | object
        kira | a | kiran
        solo | o | solon
        vetu | u | vetun
        mina | a | minan
        taro | o | taron
        gelu | u | gelun
        pasa | a | pasan
        rimo | o | rimon
        hatu | u | hatun
        nela | a | nelan
        boro | o | boron
        silu | u | silun
        dora | a | doran
        fenko | o | fenkon
        lupu | u | lupun
        """),
    "adjectives": plain("bel, gran, ruv, mal, klar, nov, sukr, tim, varm, zel"),
    "verbs": plain("vid, port, am, trov, lav, send, kant, salt, pren, vend, font, kred"),
    "links": plain("Sed, Kaj, Tiam, Nun, Baldau"),
}

_ABOUT = one_of(
    " {Subject} {adjective}{subject.end} {object.object:nouns-subject} {verb:verbs}{subject.end}s.",
    " {Link:links} {subject} {object.object:nouns-subject} {verb:verbs}{subject.end}s.",
    " {Object:nouns-subject} {adjective:adjectives}{object.end} {subject.object} {verb:verbs}{object.end}s.",
)
LANGUAGE = seq("{Subject:nouns} {adjective:adjectives}{subject.end} estis.", *[_ABOUT] * 8)

DOMAIN_LEXICON = LEXICON | ARITHMETIC_WORDS | CODE_WORDS | LANGUAGE_WORDS
