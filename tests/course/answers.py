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
}
