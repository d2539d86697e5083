"""Right answers written in other ways than the model solutions: check must accept them all."""

import itertools
import math

import numpy as np
import torch


def rms_norm_by_torch(x, weight, eps):
    return torch.nn.functional.rms_norm(x.float(), x.shape[-1:], weight, eps).to(x.dtype)


def rms_norm_by_numpy(x, weight, eps):
    values = x.float().numpy().astype(np.float64)
    scaled = values / np.sqrt((values**2).mean(axis=-1, keepdims=True) + eps) * weight.numpy()
    return torch.from_numpy(scaled).to(x.dtype)


def block_in_three_lines(x, norm_1, attention, norm_2, mlp):
    brought = attention(norm_1(x))
    made = mlp(norm_2(x + brought))
    return x + brought + made


def answer_probability_by_logarithms(states, norm, head, answer):
    each = [torch.nn.functional.linear(norm(state), head) for state in states]
    return [(logits[answer] - logits.logsumexp(0)).exp() for logits in each]


def vocabulary_share_by_cases(rows, hidden_size, tied, others):
    if tied:
        return 1 - others / (others + rows * hidden_size)
    return 1 / (1 + others / (2 * rows * hidden_size))


def next_merge_with_a_table(words, counts):
    table = np.zeros((30, 30))
    for word, count in zip(words, counts, strict=True):
        for a, b in itertools.pairwise(word):
            if b >= 0:
                table[a, b] += count
    return torch.tensor(np.unravel_index(table.argmax(), table.shape))


def votes_part_by_part(added, weight, eps, row):
    size = math.sqrt(float(added.sum(0).pow(2).mean()) + eps)
    return [float((part * weight).dot(row)) / size for part in added]


def weights_head_by_head(q, k):
    rows = []
    for h in range(len(q)):
        scores = torch.einsum("id,jd->ij", q[h], k[h * len(k) // len(q)]) * q.shape[-1] ** -0.5
        rows.append((scores.exp() * torch.ones_like(scores).tril()).numpy())
    return [row / row.sum(-1, keepdims=True) for row in rows]


def seen_token_by_token(tokens, window):
    return [[max(0, i - window + 1) <= j <= i for j in range(tokens)] for i in range(tokens)]


def attend_by_exponentials(scores, scale, sinks, v):
    e = torch.exp(scores * scale)
    return torch.einsum("hts,hsd->htd", e / (e.sum(-1, keepdim=True) + sinks.exp()[:, None, None]), v)


def queries_by_torch(x, weight, eps, rotate):
    heads = x.split(len(weight), dim=-1)
    return torch.stack([rotate(torch.nn.functional.rms_norm(q, weight.shape, weight, eps)) for q in heads])


def cache_bytes_layer_by_layer(layers, heads, kv_heads, head_dim, window, tokens):
    each = [min(tokens, window) if layer % 2 == 0 else tokens for layer in range(layers)]
    return 4 * kv_heads * head_dim * sum(each)


def frequencies_by_logarithms(theta, dim):
    return [math.exp(-math.log(theta) * 2 * i / dim) for i in range(dim // 2)]


def frequencies_backwards(theta, dim):
    return (theta ** (-2 * np.arange(dim // 2)[::-1] / dim))[::-1]


def frequencies_by_division(theta, dim):
    return 1.0 / (theta ** (torch.arange(0, dim, 2).double() / dim))


def rotate_by_complex_numbers(x, positions, inv_freq):
    a, b = x.chunk(2, dim=-1)
    turned = torch.complex(a, b) * torch.polar(torch.ones(()), torch.outer(positions.float(), inv_freq))
    return torch.cat((turned.real, turned.imag), dim=-1)


def rotate_by_quarter_turn(x, positions, inv_freq):
    x = x.double()
    angle = torch.outer(positions.double(), inv_freq.double()).repeat(1, 2)
    a, b = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-b, a), dim=-1) * angle.sin()


def rotate_as_a_list_of_rows(x, positions, inv_freq):
    return [*rotate_by_quarter_turn(x, positions, inv_freq)]


def rotate_row_by_row(x, positions, inv_freq):
    out, half = np.empty(x.shape), x.shape[1] // 2
    for t, row in enumerate(x.numpy()):
        for i, f in enumerate(inv_freq.tolist()):
            c, s = math.cos(f * int(positions[t])), math.sin(f * int(positions[t]))
            out[t, i], out[t, half + i] = row[i] * c - row[half + i] * s, row[i] * s + row[half + i] * c
    return out


def decode_by_distance(q, k, v, past_k, past_v, turn_one):
    """A score sees the difference of two positions alone: everything may be moved so that the new token stands at 0."""
    steps = len(past_k)
    keys = [turn_one(key, -steps) for key in past_k] + [k]
    scores = torch.stack([q @ key for key in keys]) / math.sqrt(len(q))
    weights = scores.exp() / scores.exp().sum()
    return (weights[:, None] * torch.vstack((past_v, v))).sum(0)


def to_half_split_by_reshaping(x):
    return x.reshape(*x.shape[:-1], x.shape[-1] // 2, 2).mT.reshape(x.shape)


def unseen_by_loop(theta, new_theta, dim, trained, target):
    found = 0
    for i in range(dim // 2):
        old, new = theta ** (-2 * i / dim), new_theta ** (-2 * i / dim)
        found += trained * old < 2 * math.pi and target * new > trained * old
    return found


def ntk_theta_by_solving(theta, dim, factor):
    slowest = theta ** (-(dim - 2) / dim) / factor
    return slowest ** (-dim / (dim - 2))


def cache_bytes_summed(layers, heads, rank, rope_width, tokens):
    return sum(2 * tokens * (rank + rope_width) for _ in range(layers))


def kept_in_two_products(x, w_a, rank, norm, rotate):
    return torch.hstack((norm(x @ w_a[:rank].mT), rotate(x @ w_a[rank:].mT)))


def absorbed_as_one_key(q_nope, q_rope, latent, k_rope, w_k, w_v, scale):
    q = torch.cat((torch.einsum("htn,hnr->htr", q_nope, w_k), q_rope), dim=-1)
    out = torch.nn.functional.scaled_dot_product_attention(
        q[None],
        torch.cat((latent, k_rope), dim=-1).expand(1, len(q), -1, -1),
        latent.expand(1, len(q), -1, -1),
        is_causal=True,
        scale=scale,
    )
    return torch.einsum("htr,hvr->htv", out[0], w_v)


def absorbed_in_the_expanded_way(q_nope, q_rope, latent, k_rope, w_k, w_v, scale):
    k = torch.cat((latent @ w_k.mT, k_rope.expand(len(w_k), -1, -1)), dim=-1)
    scores = torch.cat((q_nope, q_rope), dim=-1) @ k.mT * scale
    scores = scores + torch.full(scores.shape[-2:], -1e9).triu(1)
    return scores.softmax(-1) @ (latent @ w_v.mT)


def break_even_by_trying(rank, nope, rope, v):
    def absorbing_pays(t):
        return t * (2 * rank + rope) < rank * (nope + v) + t * (nope + rope + v)

    return next(t for t in range(10**6) if not absorbing_pays(t + 1))


def kv_heads_at_par_in_floats(rank, rope_width, head_dim):
    return math.floor((rank + rope_width) / 2 / head_dim)


def softmax_scale_in_parts(nope, rope, factor, mscale):
    m = 1 + mscale * np.log(factor) / 10
    return m * m / np.sqrt(nope + rope)


def at_temperature_as_a_power(logits, temperature):
    powers = logits.softmax(-1) ** (1 / temperature)
    return powers / powers.sum()


def top_p_by_loop(p, threshold):
    kept, held = torch.zeros(len(p)), 0.0
    for i in sorted(range(len(p)), key=lambda i: -p[i]):
        kept[i] = p[i]
        held += float(p[i])
        if held >= threshold:
            break
    return kept / kept.sum()


def top_p_by_a_line(p, threshold):
    """The smallest probability that stays is that of the token which crosses."""
    ordered = p.sort(descending=True).values
    line = ordered[int((ordered.cumsum(0) < threshold).sum())]
    return torch.where(p < line, 0, p) / p[p >= line].sum()


def judged_in_numpy(p, q, draft):
    p, q = p.numpy().astype(float), q.numpy().astype(float)
    accept = min(1.0, p[draft] / q[draft])
    more = np.maximum(p, q) - q
    return [accept * (i == draft) + (1 - accept) * more[i] / more.sum() for i in range(len(p))]


def write_with_a_verdict_for_each(start, propose, prompt, count):
    """The tokens read but not yet written are kept apart; the cache is trimmed to the text before each pass."""
    read, trim = start()
    new, waiting = [], [*map(int, prompt)]
    while len(new) < count:
        draft = None if not new else propose([*prompt.tolist(), *new])
        found = read(waiting if draft is None else [*waiting, draft])
        if draft is None:
            new.append(found[-1])
        else:
            new.append(found[-2])
            if found[-2] == draft:
                new.append(found[-1])
            else:
                trim(1)
        waiting = new[-1:]
    return torch.tensor(new[:count])


def slide_query_by_query(q, k, v, ring_k, ring_v, held):
    """One token at a time may write first: it displaces only what it does not see."""
    ring_k, ring_v, out, next = ring_k.clone(), ring_v.clone(), [], int(held.max()) + 1
    for t in range(len(q)):
        place = (next + t) % len(held)
        ring_k[place], ring_v[place] = k[t], v[t]
        out.append((q[t] @ ring_k.T / math.sqrt(len(q[t]))).softmax(-1) @ ring_v)
    return torch.stack(out)


def min_p_by_ratio(p, share):
    kept = [float(one) if one / p.max() >= share else 0.0 for one in p]
    return [one / sum(kept) for one in kept]


def loss_by_cross_entropy(logits, ids, pad):
    logits, targets = logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits, targets, ignore_index=pad)


def loss_row_by_row(logits, ids, pad):
    total, number = 0.0, 0
    for row, text in zip(logits, ids, strict=True):
        for i in range(1, int((text != pad).sum())):
            total -= float(row[i - 1].softmax(-1)[text[i]].log())
            number += 1
    return total / number


def floor_of_products(probabilities, tokens):
    return -sum(math.log(float(row.double().prod())) for row in probabilities) / int(tokens.sum())


def rate_in_three_cases(step, steps, warmup, decay):
    rising, falling = round(warmup * steps), round(decay * steps)
    if step < rising:
        return (1 + step) / (1 + rising)
    if step >= steps - falling:
        return (steps - step) / (1 + falling)
    return 1


def update_in_place_of_decay(w, grad, m, v, t, rate, decay):
    m, v = torch.lerp(grad, m, 0.9), torch.lerp(grad.square(), v, 0.95)
    kept = 1 - rate * decay if w.dim() == 2 else 1
    return kept * w - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.95**t)) ** 0.5 + 1e-8)


def mtp_loss_by_cross_entropy(predict, hidden, ids):
    logits = predict(hidden[:, :-2], ids[:, 1:-1])
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 2:])


def with_balance_layer_by_layer(loss, scores, indices, weight):
    experts, losses = scores.shape[-1], []
    for s, i in zip(scores, indices, strict=True):
        f = torch.bincount(i.flatten(), minlength=experts) * experts / i.numel()
        losses.append(f @ s.mean(0))
    return loss + weight * sum(losses) / len(losses)


def parameters_matrix_by_matrix(layers, hidden_size, heads, kv_heads, head_dim, width, rows, tied):
    shapes = (
        [(hidden_size, heads * head_dim)] * 2 + [(hidden_size, kv_heads * head_dim)] * 2 + [(hidden_size, width)] * 3
    )
    vectors = [hidden_size, hidden_size, head_dim, head_dim]
    tables = [(rows, hidden_size)] * (2 - int(tied))
    return layers * (sum(map(math.prod, shapes)) + sum(vectors)) + sum(map(math.prod, tables)) + hidden_size


def ignored_by_a_table(calculator, values):
    every = values.repeat(len(values), 1)
    every.diagonal().mul_(2)
    return torch.tensor([calculator(row) for row in every]) == calculator(values)


def tokens_per_second_by_cases(weights, cache, flops, batch, bandwidth, peak):
    if weights / batch + cache > flops * bandwidth / peak:
        return bandwidth / (weights / batch + cache)
    return peak / flops


def experts_read_by_adding(experts, chosen, tokens):
    read = 0.0
    for _ in range(tokens):
        read += chosen * (1 - read / experts)
    return read


def longest_text_in_words(memory, total, active, per_token, batch):
    left = memory - total - total
    return (left - left % (batch * per_token)) / (batch * per_token)


OTHER_WAYS = {
    "01.1": [rms_norm_by_torch, rms_norm_by_numpy],
    "01.2": [block_in_three_lines],
    "01.3": [answer_probability_by_logarithms],
    "01.4": [vocabulary_share_by_cases],
    "01.5": [next_merge_with_a_table],
    "01.6": [votes_part_by_part],
    "02.1": [weights_head_by_head],
    "02.2": [seen_token_by_token],
    "02.3": [attend_by_exponentials],
    "02.4": [queries_by_torch],
    "02.5": [cache_bytes_layer_by_layer],
    "03.1": [frequencies_by_logarithms, frequencies_by_division, frequencies_backwards],
    "03.2": [rotate_by_complex_numbers, rotate_by_quarter_turn, rotate_row_by_row, rotate_as_a_list_of_rows],
    "03.3": [decode_by_distance],
    "03.4": [to_half_split_by_reshaping],
    "03.5": [unseen_by_loop],
    "03.6": [ntk_theta_by_solving],
    "05.1": [cache_bytes_summed],
    "05.2": [kept_in_two_products],
    "05.3": [absorbed_as_one_key],
    "05.4": [break_even_by_trying],
    "05.5": [kv_heads_at_par_in_floats],
    "05.6": [softmax_scale_in_parts],
    "08.1": [parameters_matrix_by_matrix],
    "08.2": [ignored_by_a_table],
    "08.3": [tokens_per_second_by_cases],
    "08.4": [experts_read_by_adding],
    "08.5": [longest_text_in_words],
    "09.1": [at_temperature_as_a_power],
    "09.2": [top_p_by_loop, top_p_by_a_line],
    "09.3": [judged_in_numpy],
    "09.4": [write_with_a_verdict_for_each],
    "09.5": [slide_query_by_query],
    "09.6": [min_p_by_ratio],
    "10.1": [loss_by_cross_entropy, loss_row_by_row],
    "10.2": [floor_of_products],
    "10.3": [rate_in_three_cases],
    "10.4": [update_in_place_of_decay],
    "10.5": [mtp_loss_by_cross_entropy],
    "10.6": [with_balance_layer_by_layer],
}
