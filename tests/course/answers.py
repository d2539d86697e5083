"""Right answers written in other ways than the model solutions: check must accept them all."""

import math

import numpy as np
import torch


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


OTHER_WAYS = {
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
    "10.1": [loss_by_cross_entropy, loss_row_by_row],
    "10.2": [floor_of_products],
    "10.3": [rate_in_three_cases],
    "10.4": [update_in_place_of_decay],
    "10.5": [mtp_loss_by_cross_entropy],
    "10.6": [with_balance_layer_by_layer],
}
