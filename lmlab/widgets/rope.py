"""The RoPE view: every pair of dimensions as a clock hand, and what stretching does to each."""

import lmlab.families
from lmlab.measure.rope import hands
from lmlab.parts.rope import ABF, NTK, PositionInterpolation, RoPEConfig, YaRN
from lmlab.widgets.kit import View, control, joined

METHODS = ("none", "position interpolation", "NTK", "ABF", "YaRN")
LENGTHS = [2**k for k in range(8, 21)] + [163_840]
FACTORS = [1, 2, 4, 8, 16, 32, 40, 64]
THETAS = [10_000, 50_000, 150_000, 500_000, 1_000_000, 5_000_000, 10_000_000]
BETAS = [0.5, 1, 2, 4, 8, 16, 32, 64]


def _start(preset: str, method: str, length: int, **changes) -> dict:
    """A family's released settings as a state of the controls."""
    attention = lmlab.families.config(preset).blocks[0].attention
    rope = attention.rope
    state = {
        "dim": attention.rope_dim,
        "theta": int(rope.rope_theta),
        "method": method,
        "length": length,
        "beta_fast": int(getattr(rope.scaling, "beta_fast", 32)),
        "beta_slow": int(getattr(rope.scaling, "beta_slow", 1)),
        "truncate": getattr(rope.scaling, "truncate", True),
        "abf_theta": 1_000_000,
    }
    if rope.scaling is not None:
        state |= {"factor": int(rope.scaling.factor), "trained": rope.scaling.original_max_position_embeddings}
    return state | changes


STARTS = {
    "GPT-OSS: YaRN x32": _start("gpt-oss-120b", "YaRN", 131_072),
    "Qwen3, long stage: ABF": _start("qwen3-235b-a22b", "ABF", 32_768, theta=10_000, trained=4096, factor=8),
    "Qwen3, inference: YaRN x4": _start("qwen3-235b-a22b", "YaRN", 131_072, trained=32_768, factor=4),
    "DeepSeek-V3: YaRN x40": _start("deepseek-v3", "YaRN", 131_072),
}


class RoPEView(View):
    """Clock hands, their wavelengths, and which of them reach angles that training never showed them.

    Keyword arguments set controls: start, method, factor, length; trained, theta, abf_theta, dim, beta_fast, beta_slow,
    truncate.
    """

    _esm = joined("rope.js")

    def __init__(self, **state):
        self.set_trait(
            "controls",
            [
                control("start", "Starting point", [*STARTS], kind="choice"),
                control("method", "Method", [*METHODS], kind="choice"),
                control("factor", "Factor", FACTORS, when=("method", ["position interpolation", "NTK", "YaRN"])),
                control("length", "Length of the text, tokens", sorted(LENGTHS)),
                control("trained", "Original length, tokens", LENGTHS[:-1], more=True),
                control("theta", "Theta", THETAS, more=True),
                control("abf_theta", "Theta after ABF", THETAS, more=True, when=("method", ["ABF"])),
                control("dim", "Dimensions that rotate", [32, 64, 128], more=True),
                control("beta_fast", "beta_fast, turns", BETAS, more=True, when=("method", ["YaRN"])),
                control("beta_slow", "beta_slow, turns", BETAS, more=True, when=("method", ["YaRN"])),
                control(
                    "truncate",
                    "Bounds of the ramp",
                    [True, False],
                    ["whole pairs", "exact"],
                    kind="choice",
                    more=True,
                    when=("method", ["YaRN"]),
                ),
            ],
        )
        first = next(iter(STARTS))
        self.set_trait("state", {"start": first} | STARTS[first])
        super().__init__(**state)

    def settle(self, old: dict, new: dict) -> dict:
        return new | STARTS[new["start"]] if new["start"] != old.get("start") else new

    def compute(self, state: dict) -> tuple[dict, str]:
        trained = RoPEConfig(rope_theta=float(state["theta"]))
        rope = RoPEConfig(rope_theta=float(state["theta"]), scaling=_scaling(state))
        table = hands(rope, state["dim"], state["length"], trained=trained, trained_length=state["trained"])
        before = hands(trained, state["dim"], state["trained"])
        data = table.assign(trained_wavelength=before.wavelength).to_dict("list")
        return data | {"length": state["length"], "trained": state["trained"]}, summary(state, table)


def _scaling(state: dict):
    factor = float(state["factor"])
    if state["method"] == "none" or (factor == 1 and state["method"] != "ABF"):
        return None
    if state["method"] == "YaRN":
        if state["beta_slow"] >= state["beta_fast"]:
            raise ValueError(
                f"beta_slow={state['beta_slow']} must lie below beta_fast={state['beta_fast']}: "
                f"lower the one or raise the other"
            )
        return YaRN(
            factor=factor,
            original_max_position_embeddings=state["trained"],
            beta_fast=state["beta_fast"],
            beta_slow=state["beta_slow"],
            truncate=state["truncate"],
        )
    if state["method"] == "ABF":
        return ABF(rope_theta=float(state["abf_theta"]))
    return {"position interpolation": PositionInterpolation, "NTK": NTK}[state["method"]](factor=factor)


def summary(state: dict, table) -> str:
    """What the picture shows, in words with its numbers."""
    kept, whole = int((table.slowed < 1.001).sum()), int((table.trained_turns >= 1).sum())
    unseen, most = int(table.unseen.sum()), table.slowed.max()
    speeds = "all as fast as before"
    if most > 1.001:
        speeds = f"{kept} of them as fast as before, the slowest slowed {most:.3g} times"
    return (
        f"{len(table)} hands, theta {state['theta']:,}, method {state['method']}: {speeds}. On the "
        f"original {state['trained']:,} tokens {whole} finish a turn. On {state['length']:,} tokens, {unseen} reach "
        f"angles they never had. Wavelengths from {table.wavelength.min():.3g} to {table.wavelength.max():,.0f} tokens."
    )
