"""Cox loss of one huge batch: seconds of value and gradient, peak memory as the batch grows, error of float32.

Each size in a process of its own: ``python tests/benchmarks/cox_loss.py``. Follow-up in whole days (some 20 patients
per day, so ties everywhere), 30 % events, log risks of standard deviation 3, Efron and Breslow, with and without
strata. Wanted: 200,000 patients on two cores, linear memory, within 1e-6 of a NumPy reference in float64.
"""

import subprocess
import sys

import numpy as np

SIZES = (50_000, 100_000, 200_000)
CODE = """
import resource, sys, time
import numpy as np
sys.path.insert(0, sys.argv[4])
import cox_loss
from medlab.networks import losses
from medlab.networks.pipeline import tf

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

y, risk = cox_loss.patients(int(sys.argv[1]))
strata = sys.argv[3] == "strata"
y = y if strata else y[:, :2]
loss = losses.cox(sys.argv[2], strata)

@tf.function(input_signature=[tf.TensorSpec([None, y.shape[1]]), tf.TensorSpec([None, 1])])
def step(y, risk):
    with tf.GradientTape() as tape:
        tape.watch(risk)
        value = loss(y, risk)
    return value, tf.convert_to_tensor(tape.gradient(value, risk))

step(y[:1000], risk[:1000, None])
before, seconds, data = peak(), [], (tf.constant(y), tf.constant(risk[:, None]))
for _ in range(5):
    begin = time.perf_counter()
    value, slope = step(*data)
    slope = slope.numpy()
    seconds.append(time.perf_counter() - begin)
after = peak()
wanted, exact = cox_loss.reference(y, risk.astype(float), sys.argv[2])
slope_error = abs(slope[:, 0] - exact).max() / abs(exact).max()
print(np.median(seconds), after - before, abs(float(value) / wanted - 1), slope_error)
"""


def patients(n, seed=0):
    """Targets (n, 3) with a stratum of ten, and log risks (n,), float32."""
    rng = np.random.default_rng(seed)
    days, event = rng.integers(1, max(2, n // 20), n), rng.random(n) < 0.3
    y = np.column_stack([days, event, rng.integers(0, 10, n)]).astype("float32")
    return y, rng.normal(0, 3, n).astype("float32")


def reference(y, risk, ties):
    """Value and gradient (n,) per event in float64, time after time: sums that need no running logarithm."""
    value, gradient = 0.0, np.zeros(len(y))
    for s in np.unique(y[:, 2]) if y.shape[1] == 3 else [None]:
        rows = np.flatnonzero(y[:, 2] == s) if s is not None else np.arange(len(y))
        rows = rows[np.argsort(-y[rows, 0], kind="stable")]
        groups = np.split(rows, np.flatnonzero(np.diff(y[rows, 0])) + 1)
        total, inverse, sums = 0.0, 0.0, []
        for group in groups:  # from the longest follow-up: the risk set grows
            total += np.exp(risk[group]).sum()
            dead = group[y[group, 1] > 0]
            share = np.arange(len(dead)) / max(len(dead), 1) * (ties == "efron")
            sums.append((dead, share, total - share * np.exp(risk[dead]).sum()))
            value += np.log(sums[-1][2]).sum() - risk[dead].sum()
        for group, (dead, share, denominator) in zip(reversed(groups), reversed(sums), strict=True):
            inverse += (1 / denominator).sum()
            gradient[group] += np.exp(risk[group]) * inverse
            gradient[dead] -= 1 + np.exp(risk[dead]) * (share / denominator).sum()
    events = y[:, 1].sum()
    return value / events, gradient / events


def main():
    folder = __file__.rpartition("/")[0] or "."
    for ties, strata in (("efron", "none"), ("breslow", "none"), ("efron", "strata")):
        for n in SIZES:
            done = subprocess.run([sys.executable, "-c", CODE, str(n), ties, strata, folder], check=True,
                                  capture_output=True, text=True)
            seconds, memory, error, slope = map(float, done.stdout.split())
            print(f"{ties:8} {strata:7} {n:7} patients: {seconds:.3f} s, peak memory +{memory:.0f} MB, relative error "
                  f"of the value {error:.1e}, of the gradient {slope:.1e} of its largest", flush=True)


if __name__ == "__main__":
    main()
