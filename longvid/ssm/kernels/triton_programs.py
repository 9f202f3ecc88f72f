"""Triton programs of `longvid.ssm.kernels.triton`; needs Triton.

`prepare` computes ten real coefficients per (channel, state) from the system; `forward` sums over the states, in one
program per channel and `BLOCK` neighbouring frequencies; `backward` gives the gradient to the ten coefficients, and
`pull_back` that to the system. Formulas and names are those of `longvid.ssm.kernels.resolvent`: complex numbers are two
real ones, rows of the table are Re v of cb, cp, qb, qp, Re(v w̄') of the same, |w'|² and Re w', and P = 1 / D. All
arithmetic is float64.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def _complex(pairs, index, inside):
    """Real and imaginary parts at `index` of an array of complex numbers."""
    real = tl.load(pairs + 2 * index, inside, other=0.0).to(tl.float64)
    return real, tl.load(pairs + 2 * index + 1, inside, other=0.0).to(tl.float64)


@triton.jit
@no_type_check
def _store(pairs, index, inside, real, imaginary):
    tl.store(pairs + 2 * index, real, inside)
    tl.store(pairs + 2 * index + 1, imaginary, inside)


@triton.jit
@no_type_check
def _times(a_real, a_imaginary, b_real, b_imaginary):
    return a_real * b_real - a_imaginary * b_imaginary, a_real * b_imaginary + a_imaginary * b_real


@triton.jit
@no_type_check
def _system(w, p, q, b, c, step, channel, n, inside, w_stride, HALF: tl.constexpr):
    """Δ, w, w' = w Δ, p, q, b and c of one channel; `w_stride`: complex numbers between two channels' w."""
    index = channel * HALF + n
    delta = tl.load(step + channel).to(tl.float64)
    at_w = _complex(w, channel * w_stride + n, inside)
    scaled = at_w[0] * delta, at_w[1] * delta
    at_p, at_q = _complex(p, index, inside), _complex(q, index, inside)
    at_b, at_c = _complex(b, index, inside), _complex(c, index, inside)
    return delta, at_w, scaled, at_p, at_q, at_b, at_c


@triton.jit
@no_type_check
def _store_rows(cell, inside, left, right, step, w, HALF: tl.constexpr):
    """Re v and Re(v w̄') of v = left̄ right Δ, four rows apart."""
    real, imaginary = _times(left[0], -left[1], right[0] * step, right[1] * step)
    tl.store(cell, real, inside)
    tl.store(cell + 4 * HALF, real * w[0] + imaginary * w[1], inside)


@triton.jit
@no_type_check
def prepare(w, p, q, b, c, step, table, w_stride, HALF: tl.constexpr, PADDED: tl.constexpr):
    """Computes the table (channel, 10, HALF), float64. Grid: channels."""
    channel = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, PADDED)
    inside = n < HALF
    delta, _, scaled, at_p, at_q, at_b, at_c = _system(w, p, q, b, c, step, channel, n, inside, w_stride, HALF)
    cell = table + channel * 10 * HALF + n
    _store_rows(cell, inside, at_c, at_b, delta, scaled, HALF)
    _store_rows(cell + HALF, inside, at_c, at_p, delta, scaled, HALF)
    _store_rows(cell + 2 * HALF, inside, at_q, at_b, delta, scaled, HALF)
    _store_rows(cell + 3 * HALF, inside, at_q, at_p, delta, scaled, HALF)
    tl.store(cell + 8 * HALF, scaled[0] * scaled[0] + scaled[1] * scaled[1], inside)
    tl.store(cell + 9 * HALF, scaled[0], inside)


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
    """R_ab from the sums over D of its two rows of numerators."""
    return -4 * s * v_imaginary - 2 * c * vw_real, 4 * s * v_real - 2 * c * vw_imaginary


@triton.jit
@no_type_check
def _resolvents(table, c, s, HALF: tl.constexpr):
    """R_cb, R_cp, R_qb, R_qp of one channel: real and imaginary parts, one number per frequency."""
    zero = c * 0
    v0r, v0i, v1r, v1i, v2r, v2i, v3r, v3i = zero, zero, zero, zero, zero, zero, zero, zero
    w0r, w0i, w1r, w1i, w2r, w2i, w3r, w3i = zero, zero, zero, zero, zero, zero, zero, zero
    for n in range(HALF):
        row = table + n
        real, imaginary = _reciprocal(tl.load(row + 8 * HALF), tl.load(row + 9 * HALF), c, s)
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
def forward(table, cosine, sine, result, num_frequencies, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """k̂ (channel, frequency, 2). Grid: channels, blocks of frequencies."""
    channel = tl.program_id(0).to(tl.int64)
    frequency = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = frequency < num_frequencies
    c = tl.load(cosine + frequency, inside, other=1.0)
    s = tl.load(sine + frequency, inside, other=0.0)
    table += channel * 10 * HALF
    cb_real, cb_imaginary, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary = _resolvents(
        table, c, s, HALF
    )
    p_real, p_imaginary, _, _ = _corrections(c, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary)
    real, imaginary = _times(p_real, p_imaginary, qb_real, qb_imaginary)
    real, imaginary = _times(cb_real - real, cb_imaginary - imaginary, c, s)
    _store(result, channel * num_frequencies + frequency, inside, real, imaginary)


@triton.jit
@no_type_check
def backward(table, cosine, sine, grad, partial, num_frequencies, HALF: tl.constexpr, BLOCK: tl.constexpr):
    """Gradient to the table, summed over one block of frequencies: partial (channel, block, 10, HALF), float64.

    Grid: channels, blocks of frequencies.
    """
    channel = tl.program_id(0).to(tl.int64)
    frequency = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = frequency < num_frequencies
    c = tl.load(cosine + frequency, inside, other=1.0)
    s = tl.load(sine + frequency, inside, other=0.0)
    grad_real, grad_imaginary = _complex(grad, channel * num_frequencies + frequency, inside)
    table += channel * 10 * HALF
    _, _, cp_real, cp_imaginary, qb_real, qb_imaginary, qp_real, qp_imaginary = _resolvents(table, c, s, HALF)
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
        row = table + n
        real, imaginary = _reciprocal(tl.load(row + 8 * HALF), tl.load(row + 9 * HALF), c, s)
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


@triton.jit
@no_type_check
def _pair_gradient(v_grad, vw_grad, left, right, step, w):
    """Gradients to left, right, Δ and w' from those to the two rows of v = left̄ right Δ."""
    u_real, u_imaginary = _times(left[0], -left[1], right[0], right[1])
    real, imaginary = v_grad + vw_grad * w[0], vw_grad * w[1]
    step_grad = real * u_real + imaginary * u_imaginary
    real, imaginary = real * step, imaginary * step
    to_left = real * right[0] + imaginary * right[1], real * right[1] - imaginary * right[0]
    to_right = _times(real, imaginary, left[0], left[1])
    to_w = vw_grad * u_real * step, vw_grad * u_imaginary * step
    return to_left[0], to_left[1], to_right[0], to_right[1], step_grad, to_w[0], to_w[1]


@triton.jit
@no_type_check
def pull_back(
    w,
    p,
    q,
    b,
    c,
    step,
    table_grad,
    w_grad,
    p_grad,
    q_grad,
    b_grad,
    c_grad,
    step_grad,
    w_stride,
    HALF: tl.constexpr,
    PADDED: tl.constexpr,
):
    """Gradients to the system from those to the table; all have an entry per channel, w's too. Grid: channels."""
    channel = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, PADDED)
    inside = n < HALF
    index = channel * HALF + n
    delta, at_w, scaled, at_p, at_q, at_b, at_c = _system(w, p, q, b, c, step, channel, n, inside, w_stride, HALF)
    row = table_grad + channel * 10 * HALF + n
    v0, v1 = tl.load(row, inside, other=0.0), tl.load(row + HALF, inside, other=0.0)
    v2, v3 = tl.load(row + 2 * HALF, inside, other=0.0), tl.load(row + 3 * HALF, inside, other=0.0)
    w0, w1 = tl.load(row + 4 * HALF, inside, other=0.0), tl.load(row + 5 * HALF, inside, other=0.0)
    w2, w3 = tl.load(row + 6 * HALF, inside, other=0.0), tl.load(row + 7 * HALF, inside, other=0.0)
    to_modulus = tl.load(row + 8 * HALF, inside, other=0.0)
    to_decay = tl.load(row + 9 * HALF, inside, other=0.0)
    cb_cr, cb_ci, cb_br, cb_bi, cb_step, cb_wr, cb_wi = _pair_gradient(v0, w0, at_c, at_b, delta, scaled)
    cp_cr, cp_ci, cp_pr, cp_pi, cp_step, cp_wr, cp_wi = _pair_gradient(v1, w1, at_c, at_p, delta, scaled)
    qb_qr, qb_qi, qb_br, qb_bi, qb_step, qb_wr, qb_wi = _pair_gradient(v2, w2, at_q, at_b, delta, scaled)
    qp_qr, qp_qi, qp_pr, qp_pi, qp_step, qp_wr, qp_wi = _pair_gradient(v3, w3, at_q, at_p, delta, scaled)
    _store(c_grad, index, inside, cb_cr + cp_cr, cb_ci + cp_ci)
    _store(q_grad, index, inside, qb_qr + qp_qr, qb_qi + qp_qi)
    _store(b_grad, index, inside, cb_br + qb_br, cb_bi + qb_bi)
    _store(p_grad, index, inside, cp_pr + qp_pr, cp_pi + qp_pi)
    real = 2 * to_modulus * scaled[0] + to_decay + cb_wr + cp_wr + qb_wr + qp_wr
    imaginary = 2 * to_modulus * scaled[1] + cb_wi + cp_wi + qb_wi + qp_wi
    _store(w_grad, index, inside, real * delta, imaginary * delta)
    to_step = cb_step + cp_step + qb_step + qp_step + real * at_w[0] + imaginary * at_w[1]
    tl.store(step_grad + channel, tl.sum(tl.where(inside, to_step, 0.0)))
