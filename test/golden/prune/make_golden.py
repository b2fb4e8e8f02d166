"""Golden values of Wanda and SparseGPT in float64, from the formulas of the papers: python3 make_golden.py > golden.json

Inverse and Cholesky factor come from numpy.linalg; nothing is shared with the project's code. Inputs are not stored: both
sides draw them from the same linear congruential generator.
"""
import json
import numpy as np


def noise(count, seed):
    state, values = seed, []
    for _ in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values.append(np.float32(np.float64(state) / 2**31 - 1))
    return np.array(values, dtype=np.float32)


def correlated(rows, columns, seed):
    """Neighbouring columns depend on one another, and scales differ, so that an update has something to do."""
    x = noise(rows * columns, seed).reshape(rows, columns).astype(np.float64)
    for c in range(1, columns):
        x[:, c] = 0.6 * x[:, c - 1] + 0.8 * x[:, c]
    return x * (0.2 + (np.arange(columns) % 5))


def wanda(w, x, sparsity):
    metric = np.abs(w) * np.linalg.norm(x, axis=0)
    out = w.copy()
    for row in range(w.shape[0]):
        lowest = np.argsort(metric[row], kind="stable")[: round(sparsity * w.shape[1])]
        out[row, lowest] = 0
    return out


def sparsegpt(w, x, sparsity=None, n_zero=None, m=None, block=128, damp=0.01):
    w = w.copy()
    rows, columns = w.shape
    h = x.T @ x
    h = h + damp * np.mean(np.diag(h)) * np.eye(columns)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    done = 0
    for i1 in range(0, columns, block):
        i2 = min(i1 + block, columns)
        mask = np.zeros((rows, i2 - i1), dtype=bool)
        if sparsity is not None:
            score = w[:, i1:i2] ** 2 / np.diag(u)[i1:i2] ** 2
            upto = round(sparsity * rows * columns * i2 / columns)
            mask.reshape(-1)[np.argsort(score.reshape(-1), kind="stable")[: upto - done]] = True
            done = upto
        errors = np.zeros((rows, i2 - i1))
        for i in range(i1, i2):
            if m is not None and i % m == 0:
                score = w[:, i : i + m] ** 2 / np.diag(u)[i : i + m] ** 2
                for row in range(rows):
                    mask[row, i - i1 + np.argsort(score[row], kind="stable")[:n_zero]] = True
            q = np.where(mask[:, i - i1], 0, w[:, i])
            error = (w[:, i] - q) / u[i, i]
            w[:, i:i2] -= np.outer(error, u[i, i:i2])
            w[:, i] = q
            errors[:, i - i1] = error
        w[:, i2:] -= errors @ u[i1:i2, i2:]
    return w


def case(name, method, rows, columns, samples, **options):
    w = noise(rows * columns, 11).reshape(rows, columns).astype(np.float64)
    x = correlated(samples, columns, 5)
    out = (wanda if method == "wanda" else sparsegpt)(w, x, **options)
    error = np.linalg.norm(x @ (out - w).T) / np.linalg.norm(x @ w.T)
    return {"name": name, "method": method, "rows": rows, "columns": columns, "samples": samples, **options,
            "relativeOutputError": error, "weights": [float(f"{v:.10g}") for v in out.reshape(-1)]}


print(json.dumps([
    case("wanda, half of each row", "wanda", 4, 10, 40, sparsity=0.5),
    case("SparseGPT, half", "sparsegpt", 4, 12, 40, sparsity=0.5),
    case("SparseGPT, two blocks of columns", "sparsegpt", 3, 160, 400, sparsity=0.6),
    case("SparseGPT, 2 of 4", "sparsegpt", 3, 16, 60, n_zero=2, m=4),
], indent=1))
