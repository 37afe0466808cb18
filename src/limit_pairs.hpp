// Pairs of rows in polar form, what every infinite-width formula is a function of. With rows h = |h|·u and
// h' = |h'|·u':
//     θ the angle of u and u', φ = π − θ, sin θ, cos θ, and the arc sin θ + φ cos θ
// Invariants. θ and φ come from <u, u'> where |<u, u'>| < 0.99, else from |u − u'| and |u + u'|: no small
// angle is the arccosine of a rounded cosine, no small φ a difference; θ is 0 for equal rows and π for
// opposite ones. Norms are mantissa·2^exponent and meet in one product at the end, so that no intermediate
// value over- or underflows.
#pragma once

#include <fntk/device.hpp>

#include <functional>
#include <vector>

namespace fntk {

/// A norm, value·2^exponent; value is 0, or positive and at most 2√d for a row of inputs.
struct Norm {
    double value = 0;
    int exponent = 0;
};

/// factor·|a|·|b|; overflows or underflows only where the result does.
double times_norms(double factor, const Norm& a, const Norm& b);

/// Rows in polar form.
struct Polar {
    Matrix unit;  // f64; a row of zeros stays one
    std::vector<Norm> norm;
};
Polar polar_form(ConstMatrixView rows);

struct Angle {
    double open = 0;  // φ = π − θ
    double sin = 0, cos = 0;
    double arc = 0;  // sin θ + φ cos θ
};

/// Rows i and j of two batches. x: the inputs; h: what the activation sees, U x/√p or x itself.
struct Pair {
    Norm x_i, x_j, h_i, h_j;
    Angle angle;       // of h; a right angle where a row is zero
    double x_cos = 0;  // of x; 0 where a row is zero
};

/// A batch in host memory: X (n × d), and U u/√p (f64, n × p) for its unit rows u, or nothing when h is x.
struct Side {
    ConstMatrixView inputs;
    Matrix projected;
};

/// The batch projected by U (f64, p × d); an empty U stands for h = x.
Side make_side(const Device& device, ConstMatrixView inputs, ConstMatrixView u);

/// The norm of every row.
std::vector<Norm> row_norms(ConstMatrixView rows);
/// |h| of every row of a batch.
std::vector<Norm> hidden_norms(const Side& side);

/// Calls visit(i, j, pair) for every pair of rows, block by block; with `cols` null for those of one batch,
/// j ≤ i only. Both sides are projected, or neither. Takes a few blocks of 512 rows and columns in double.
void for_pairs(const Device& device, const Side& rows, const Side* cols,
               const std::function<void(std::int64_t, std::int64_t, const Pair&)>& visit);

}  // namespace fntk
