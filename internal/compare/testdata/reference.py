"""Writes reference.json: what scipy says of the same data, for the tests of this package.

python -m venv v && v/bin/pip install scipy==1.17.1 && v/bin/python reference.py >reference.json
"""

import json
import random

import scipy
from scipy import stats

rng = random.Random(5)
out = {"scipy": scipy.__version__}


def whole(values):
    """Integers, because durations are whole nanoseconds."""
    return [int(v) for v in values]


def ranks(a, b, method):
    return stats.mannwhitneyu(a, b, use_continuity=True, alternative="two-sided", method=method).pvalue


exact, ties = [], []
for n, m in [(3, 3), (5, 9), (12, 12), (15, 20), (20, 20)]:
    for shift in (0, 400, 1500):
        values = rng.sample(range(1, 10_000), n + m)
        a = whole(values[:n])
        b = [v + 20_000 * shift // 2000 * 2 + 1 for v in whole(values[n:])]
        if len(set(a + b)) == n + m:
            exact.append({"a": a, "b": b, "p": ranks(a, b, "exact")})
for n, m in [(40, 60), (200, 150), (100, 400)]:
    for shift in (0, 1, 3):
        a = whole(rng.gauss(20, 4) for _ in range(n))
        b = whole(rng.gauss(20 + shift, 4) for _ in range(m))
        ties.append({"a": a, "b": b, "p": ranks(a, b, "asymptotic")})
out["mann_whitney_exact"] = exact
out["mann_whitney_normal"] = ties

# Exact with ties: every way to divide the values, counted.
permuted = []
for n, m in [(4, 4), (5, 7), (6, 6)]:
    for _ in range(3):
        a = whole(rng.randrange(1, 6) for _ in range(n))
        b = whole(rng.randrange(2, 8) for _ in range(m))
        both = stats.rankdata(a + b)
        from itertools import combinations

        sums = [sum(both[i] for i in c) for c in combinations(range(n + m), n)]
        seen = sum(both[:n])
        low = sum(s <= seen + 1e-9 for s in sums) / len(sums)
        high = sum(s >= seen - 1e-9 for s in sums) / len(sums)
        permuted.append({"a": a, "b": b, "p": min(1.0, 2 * min(low, high))})
out["mann_whitney_ties"] = permuted

tables = [(0, 10, 10, 10), (1, 9, 11, 14), (3, 100, 12, 110), (0, 1000, 6, 1000), (500, 100000, 700, 100000)]
tables += [(8, 12, 1, 7), (1000, 1_000_000, 1100, 1_000_000), (10, 10, 10, 10), (2, 5000, 40, 900)]
out["fisher"] = [
    {"k": [k1, k2], "n": [n1, n2], "p": stats.fisher_exact([[k1, n1 - k1], [k2, n2 - k2]]).pvalue}
    for k1, n1, k2, n2 in tables
]
rates = [(0, 100, 5, 100), (3, 1000, 20, 1500), (100, 2e5, 150, 2e5), (7, 50, 7, 5000), (0, 10, 1, 10)]
out["poisson"] = [
    {"k": [k1, k2], "t": [t1, t2], "p": stats.binomtest(k1, k1 + k2, t1 / (t1 + t2)).pvalue}
    for k1, t1, k2, t2 in rates
]
out["poisson_limits"] = [
    {
        "k": k,
        "lo": stats.chi2.ppf(0.025, 2 * k) / 2 if k else 0.0,
        "hi": stats.chi2.ppf(0.975, 2 * k + 2) / 2,
    }
    for k in (0, 1, 5, 30, 1000)
]
out["wilson"] = []
for k, n in [(0, 10), (3, 40), (40, 40), (500, 100000)]:
    ci = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    out["wilson"].append({"k": k, "n": n, "lo": ci.low, "hi": ci.high})
out["student"] = [
    {"t": t, "df": df, "p": 2 * stats.t.sf(t, df)} for t in (0.1, 1.96, 4, 9) for df in (1, 7.5, 31, 400)
]
welch = []
for n, m, shift in [(12, 15, 0), (30, 9, 5), (50, 50, 2)]:
    a = whole(rng.gauss(100, 10) for _ in range(n))
    b = whole(rng.gauss(100 + shift, 20) for _ in range(m))
    welch.append({"a": a, "b": b, "p": stats.ttest_ind(a, b, equal_var=False).pvalue})
out["welch"] = welch
homogeneous = []
for cells in ([[10, 20], [30, 25]], [[100, 120], [50, 40], [7, 9]], [[500, 100], [20, 300]]):
    p = stats.chi2_contingency(cells, correction=False).pvalue
    homogeneous.append({"cells": cells, "p": p})
out["homogeneity"] = homogeneous
out["holm"] = {"p": [0.01, 0.04, 0.03, 0.005, 0.9], "adjusted": [0.04, 0.09, 0.09, 0.025, 0.9]}
print(json.dumps(out, indent=1))
