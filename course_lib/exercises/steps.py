"""A step of a deterministic sampler, and guidance, each right and with the usual slips: what
the graders of lessons 04, 05 and 09 share. What a slip is told stands in each lesson's words.
"""

# From the two answers to one: (uncond, cond, scale) -> [B, ...].
GUIDED = {
    "right": lambda uncond, cond, scale: uncond + scale * (cond - uncond),
    "paper": lambda uncond, cond, scale: cond + scale * (cond - uncond),
    "signs": lambda uncond, cond, scale: scale * cond + (scale - 1) * uncond,
    "exchanged": lambda uncond, cond, scale: cond + scale * (uncond - cond),
    "cond only": lambda uncond, cond, scale: scale * cond,
    "difference": lambda uncond, cond, scale: scale * (cond - uncond),
    "uncond": lambda uncond, cond, scale: uncond,
}

# DDIM's step from time t to s (Song et al. 2021, eq. 12 without fresh noise):
# (x0, eps, alpha_t, sigma_t, alpha_s, sigma_s, x_t) -> x_s.
MOVES = {
    "right": lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_s * eps,
    "guess": lambda x0, eps, a_t, s_t, a_s, s_s, x: x0,
    "late noise": lambda x0, eps, a_t, s_t, a_s, s_s, x: a_s * x0 + s_t * eps,
    "swapped": lambda x0, eps, a_t, s_t, a_s, s_s, x: s_s * x0 + a_s * eps,
    "stays": lambda x0, eps, a_t, s_t, a_s, s_s, x: a_t * x0 + s_t * eps,
}
