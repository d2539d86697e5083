"""What the attention view says: of the chosen head, of one row of its map, and of all heads."""

from lmlab.measure import attention
from lmlab.measure.attention import BEFORE_NORM, CONTENT, ROPE, Attention

NAMED = 3  # keys


def words(found: Attention, tokens: list[str], state: dict, shown: str, statistics: dict[str, str]) -> str:
    layer, head = divmod(state["head"], len(found.key_heads))
    said = [
        _head(found, state["model"], layer, head),
        _row(found, tokens, layer, head, state["token"]),
        _scores(found, tokens, layer, head, state["token"], shown),
        _means(found, layer, head, state["window"]),
        _overview(found, state["statistic"], state["window"], statistics),
    ]
    return " ".join(filter(None, said))


def _head(found: Attention, model: str, layer: int, head: int) -> str:
    window, same = found.windows[layer], found.key_heads[head]
    sees = f"a window of {window} tokens" if window else "all earlier tokens"
    with_it = [i for i, key in enumerate(found.key_heads) if key == same]
    if CONTENT in found.parts:
        keys = "its keys and values come from the latent that all heads share"
    elif len(with_it) == 1:
        keys = f"it has key/value head {same} for itself"
    else:
        keys = f"heads {with_it[0]} to {with_it[-1]} share key/value head {same}"
    return f"{model}, layer {layer}, head {head}: it sees {sees}; {keys}."


def _row(found: Attention, tokens: list[str], layer: int, head: int, t: int) -> str:
    row = found.weights[layer, head, t, : t + 1].double()
    best = row.topk(min(NAMED, int(found.visible[layer, t].sum())))
    each = ", ".join(
        f"{_named(tokens, j)} {w:.0%}" for w, j in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    )
    sink = f"; {float(found.sinks[layer, head, t]):.0%} goes to the sink" if _has_sink(found, layer) else ""
    return f"Token {t + 1} of {len(tokens)}, {_quoted(tokens[t])}, looks most at {each}{sink}."


def _scores(found: Attention, tokens: list[str], layer: int, head: int, t: int, shown: str) -> str:
    if shown == "weights":
        return ""
    key = int(found.weights[layer, head, t].argmax())
    at = (layer, head, t, key)
    score = float(found.scores[at])
    if shown in (CONTENT, ROPE):
        parts = [float(found.parts[name][at]) for name in (CONTENT, ROPE)]
        why = f"{parts[0]:.2f} by content and {parts[1]:.2f} by RoPE"
        return f"Its score for {_named(tokens, key)} is {score:.2f}: {why}."
    if shown == BEFORE_NORM:
        before = float(found.parts[BEFORE_NORM][at])
        return f"Its score for {_named(tokens, key)} is {before:.2f} before QK-Norm and {score:.2f} after it."
    sink = f"; the sink's is {float(found.sink_scores[layer, head]):.2f}" if _has_sink(found, layer) else ""
    return f"Its score for {_named(tokens, key)} is {score:.2f}{sink}."


def _means(found: Attention, layer: int, head: int, window: int) -> str:
    mean = {name: float(values[layer, head]) for name, values in attention.statistics(found).items()}
    sink = f", {mean['sink']:.0%} goes to the sink" if _has_sink(found, layer) else ""
    far = float(attention.beyond(found, window)[layer, head])
    return (
        f"Over the whole text this head looks {mean['distance']:.1f} tokens back; {mean['first']:.0%} of its weight is "
        f"on the first token{sink}, {far:.0%} lies {window} or more tokens back."
    )


def _overview(found: Attention, statistic: str, window: int, statistics: dict[str, str]) -> str:
    """Which heads have the most and the least of what the overview shows."""
    table = attention.overview(found, statistic, window).stack()
    if table.max() == 0:
        none = "this model has no sinks" if statistic == "sink" else "no head has any"
        return f"Of all heads, by {statistics[statistic]}: {none}."
    form = "{:.1f}" if statistic in ("distance", "entropy") else "{:.0%}"
    ends = [
        f"layer {layer}, head {head} has the {which} ({form.format(table[layer, head])})"
        for which, (layer, head) in (("most", table.idxmax()), ("least", table.idxmin()))
    ]
    return f"Of all heads, by {statistics[statistic]}: {' and '.join(ends)}."


def _has_sink(found: Attention, layer: int) -> bool:
    return bool(found.sink_scores[layer].isfinite().any())


def _named(tokens: list[str], j: int) -> str:
    return f"{_quoted(tokens[j])} (token {j + 1})"


def _quoted(piece: str) -> str:
    return f'"{piece}"'
