"""The programs of `longvid.ssm.triton`; importing this file needs Triton.

A program owns one channel and `BLOCK` neighbouring frequencies at a time. Formulas and names are those of
`longvid.ssm.resolvent`: complex numbers are two real ones, rows of numerators are Re v of cb, cp, qb, qp, then
Re(v w̄') of the same, and P = 1 / D.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _reciprocal(modulus, decay, c, s):
    """P = 1 / D."""
    real = c * c * modulus - 4 * s * s
    imaginary = 4 * s * c * decay
    scale = 1 / (real * real + imaginary * imaginary)
    return real * scale, imaginary * scale


@triton.jit
@no_type_check
def _resolvent_sum(c, s, v_real, v_imaginary, vw_real, vw_imaginary):
    """R_ab from the sums of its two rows of numerators over D."""
    return -4 * s * v_imaginary - 2 * c * vw_real, 4 * s * v_real - 2 * c * vw_imaginary


@triton.jit
@no_type_check
def _times(a_real, a_imaginary, b_real, b_imaginary):
    return a_real * b_real - a_imaginary * b_imaginary, a_real * b_imaginary + a_imaginary * b_real


@triton.jit
@no_type_check
def _resolvents(numerators, modulus, decay, c, s, HALF: tl.constexpr):
    """R_cb, R_cp, R_qb, R_qp of one channel: real and imaginary part, one number a frequency."""
    zero = c * 0
    v0r, v0i, v1r, v1i, v2r, v2i, v3r, v3i = zero, zero, zero, zero, zero, zero, zero, zero
    w0r, w0i, w1r, w1i, w2r, w2i, w3r, w3i = zero, zero, zero, zero, zero, zero, zero, zero
    for n in range(HALF):
        real, imaginary = _reciprocal(tl.load(modulus + n), tl.load(decay + n), c, s)
        row = numerators + n
        v0, v1, v2, v3 = tl.load(row), tl.load(row + HALF), tl.load(row + 2 * HALF), tl.load(row + 3 * HALF)
        row += 4 * HALF
        w0, w1, w2, w3 = tl.load(row), tl.load(row + HALF), tl.load(row + 2 * HALF), tl.load(row + 3 * HALF)
        v0r, v0i, v1r, v1i = v0r + v0 * real, v0i + v0 * imaginary, v1r + v1 * real, v1i + v1 * imaginary
        v2r, v2i, v3r, v3i = v2r + v2 * real, v2i + v2 * imaginary, v3r + v3 * real, v3i + v3 * imaginary
        w0r, w0i, w1r, w1i = w0r + w0 * real, w0i + w0 * imaginary, w1r + w1 * real, w1i + w1 * imaginary
        w2r, w2i, w3r, w3i = w2r + w2 * real, w2i + w2 * imaginary, w3r + w3 * real, w3i + w3 * imaginary
    cb_real, cb_imaginary = _resolvent_sum(c, s, v0r, v0i, w0r, w0i)
    cp_real, cp_imaginary = _resolvent_sum(c, s, v1r, v1i, w1r, w1i)
    qb_real, qb_imaginary = _resolvent_sum(c, s, v2r, v2i, w2r, w2i)
    qp_real, qp_imaginary = _resolvent_sum(c, s, v3r, v3i, w3r, w3i)
    return cb_real, cb_imaginary, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary


@triton.jit
@no_type_check
def _corrections(c, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary):
    """c R_cp / (1 + c R_qp) and c R_qb / (1 + c R_qp)."""
    real, imaginary = 1 + c * qp_real, c * qp_imaginary
    scale = c / (real * real + imaginary * imaginary)
    real, imaginary = real * scale, -imaginary * scale
    by_p = _times(cp_real, cp_imaginary, real, imaginary)
    by_q = _times(qb_real, qb_imaginary, real, imaginary)
    return by_p[0], by_p[1], by_q[0], by_q[1]


@triton.jit
@no_type_check
def forward(numerators, modulus, decay, cosine, sine, result, num_frequencies, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """k̂ (channel, frequency, 2) of float64 coefficients (channel, 8, HALF), (channel, HALF), (channel, HALF).

    Grid: channels, blocks of frequencies.
    """
    channel = tl.program_id(0).to(tl.int64)
    frequency = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = frequency < num_frequencies
    c = tl.load(cosine + frequency, inside, other=1.0)
    s = tl.load(sine + frequency, inside, other=0.0)
    numerators, modulus, decay = numerators + channel * 8 * HALF, modulus + channel * HALF, decay + channel * HALF
    cb_real, cb_imaginary, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary = _resolvents(
        numerators, modulus, decay, c, s, HALF
    )
    p_real, p_imaginary, _, _ = _corrections(c, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary)
    real, imaginary = _times(p_real, p_imaginary, qb_real, qb_imaginary)
    real, imaginary = _times(cb_real - real, cb_imaginary - imaginary, c, s)
    place = result + 2 * (channel * num_frequencies + frequency)
    tl.store(place, real, inside)
    tl.store(place + 1, imaginary, inside)


@triton.jit
@no_type_check
def backward(
    numerators,
    modulus,
    decay,
    cosine,
    sine,
    grad,
    partial,
    num_frequencies,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Gradients to the ten coefficients of each (channel, state), summed over one block of frequencies.

    partial (channel, block, 10, HALF), float64: numerators, modulus, decay. Grid: channels, blocks of frequencies.
    """
    channel = tl.program_id(0).to(tl.int64)
    frequency = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = frequency < num_frequencies
    c = tl.load(cosine + frequency, inside, other=1.0)
    s = tl.load(sine + frequency, inside, other=0.0)
    place = grad + 2 * (channel * num_frequencies + frequency)
    grad_real = tl.load(place, inside, other=0.0).to(tl.float64)
    grad_imaginary = tl.load(place + 1, inside, other=0.0).to(tl.float64)
    numerators, modulus, decay = numerators + channel * 8 * HALF, modulus + channel * HALF, decay + channel * HALF
    _, _, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary = _resolvents(
        numerators, modulus, decay, c, s, HALF
    )
    p_real, p_imaginary, q_real, q_imaginary = _corrections(
        c, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary
    )
    both_real, both_imaginary = _times(p_real, p_imaginary, q_real, q_imaginary)
    # conjugates of the derivatives 1, -q, -p, pq of R_cb, R_cp, R_qb, R_qp, times the gradient
    g0r, g0i = _times(grad_real, grad_imaginary, c, -s)
    g1r, g1i = _times(g0r, g0i, -q_real, q_imaginary)
    g2r, g2i = _times(g0r, g0i, -p_real, p_imaginary)
    g3r, g3i = _times(g0r, g0i, both_real, -both_imaginary)
    out = partial + (channel * tl.num_programs(1) + tl.program_id(1)) * 10 * HALF
    cs, cc = 4 * s * c, c * c
    s4, c2 = 4 * s, -2 * c
    for n in range(HALF):
        real, imaginary = _reciprocal(tl.load(modulus + n), tl.load(decay + n), c, s)
        row = numerators + n
        v0, v1, v2, v3 = tl.load(row), tl.load(row + HALF), tl.load(row + 2 * HALF), tl.load(row + 3 * HALF)
        row += 4 * HALF
        w0, w1, w2, w3 = tl.load(row), tl.load(row + HALF), tl.load(row + 2 * HALF), tl.load(row + 3 * HALF)
        cell = out + n
        # to the rows v, then to the rows vw
        tl.store(cell, tl.sum(s4 * (g0i * real - g0r * imaginary)))
        tl.store(cell + HALF, tl.sum(s4 * (g1i * real - g1r * imaginary)))
        tl.store(cell + 2 * HALF, tl.sum(s4 * (g2i * real - g2r * imaginary)))
        tl.store(cell + 3 * HALF, tl.sum(s4 * (g3i * real - g3r * imaginary)))
        tl.store(cell + 4 * HALF, tl.sum(c2 * (g0r * real + g0i * imaginary)))
        tl.store(cell + 5 * HALF, tl.sum(c2 * (g1r * real + g1i * imaginary)))
        tl.store(cell + 6 * HALF, tl.sum(c2 * (g2r * real + g2i * imaginary)))
        tl.store(cell + 7 * HALF, tl.sum(c2 * (g3r * real + g3i * imaginary)))
        # to P, and through dP = -P² dD to the two coefficients D is linear in
        along_r, along_i = v0 * g0r + v1 * g1r + v2 * g2r + v3 * g3r, v0 * g0i + v1 * g1i + v2 * g2i + v3 * g3i
        across_r, across_i = w0 * g0r + w1 * g1r + w2 * g2r + w3 * g3r, w0 * g0i + w1 * g1i + w2 * g2i + w3 * g3i
        to_real, to_imaginary = s4 * along_i + c2 * across_r, c2 * across_i - s4 * along_r
        square_real, square_imaginary = real * real - imaginary * imaginary, 2 * real * imaginary
        tl.store(cell + 8 * HALF, -tl.sum(cc * (square_real * to_real + square_imaginary * to_imaginary)))
        tl.store(cell + 9 * HALF, tl.sum(cs * (square_real * to_imaginary - square_imaginary * to_real)))
