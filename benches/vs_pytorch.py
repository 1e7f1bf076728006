#!/usr/bin/env python3
"""The training step of multi-layer perceptrons, Ironwarp and PyTorch side by side in one run.

    python3 benches/vs_pytorch.py                     on cpu, and on the GPU where there is one
    python3 benches/vs_pytorch.py --device cuda --json result.json

Both sides do the same work: a minibatch is gathered by index from a data set of 16 minibatches that lives on the
device (random rows, random labels), then forward, cross-entropy, backward, Adam; f32, ReLU, no metrics. PyTorch runs in
this process, Ironwarp as `ironwarp bench mlp`. Blocks of the contestants alternate, in turning order; a block counts as
the median of 7 parts, and a contestant as the median of its blocks. PyTorch runs in several variants, and the ratio is
against the fastest; on cpu also against the fastest with as many threads as Ironwarp may use. benches/README.md says
more.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Widths, rows of a minibatch, samples/s over PyTorch's that the cpu device is to reach.
CASES = [
    ([64, 64, 10], 64, 12.0),
    ([784, 128, 10], 64, 3.0),
    ([784, 512, 512, 10], 128, 2.0),
    ([784, 512, 512, 10], 1024, 1.0),
]
MINIBATCHES = 16
PARTS = 7
# Seconds after which a block of PyTorch ends.
LONGEST = 2.0


def fail(message):
    print(f"vs_pytorch: {message}", file=sys.stderr)
    sys.exit(1)


def matmul_flop(dims, batch):
    """FLOP of the matrix products of a step: forward, weight gradients, input gradients of all but the first layer."""
    layers = [2 * batch * i * o for i, o in itertools.pairwise(dims)]
    return 3 * sum(layers) - layers[0]


class Ironwarp:
    """`ironwarp bench mlp`, a process a block."""

    name = "ironwarp"

    def __init__(self, binary, device, dims, batch, threads):
        self.line = [str(binary), "bench", "mlp", "--dims", ",".join(map(str, dims)), "--batch", str(batch)]
        self.line += ["--device", "cuda:0" if device == "cuda" else "cpu", "--json"]
        self.env = {**os.environ, "RAYON_NUM_THREADS": str(threads)}

    def block(self, steps):
        """Seconds a step, the median of 7 parts of the block."""
        line = [*self.line, "--steps", str(steps)]
        run = subprocess.run(line, capture_output=True, text=True, env=self.env)
        if run.returncode != 0:
            fail(f"{' '.join(line)} failed: {run.stderr.strip()}")
        return json.loads(run.stdout.splitlines()[-1])["us_per_step"] * 1e-6


class PyTorch:
    """The same step in eager PyTorch, or compiled, or as a captured CUDA graph."""

    def __init__(self, name, device, dims, batch, threads, fused=False, compiled=None, graph=False):
        import torch
        import torch.nn.functional as F

        torch.manual_seed(7)
        self.torch, self.name, self.threads, self.cuda = torch, name, threads, device == "cuda"
        layers = []
        for n_in, n_out in itertools.pairwise(dims):
            layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1]).to(device)
        options = {"fused": True} if fused else {}
        if graph:
            options["capturable"] = True
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **options)
        rows = batch * MINIBATCHES
        x = (torch.rand(rows, dims[0]) * 2 - 1).to(device)
        y = torch.randint(dims[-1], (rows,)).to(device)
        order = torch.randperm(rows).to(device)
        self.indices = list(order.split(batch))
        self.turn = 0

        def loss_of(inputs, labels):
            return F.cross_entropy(model(inputs), labels)

        if compiled:
            loss_of = torch.compile(loss_of, mode=compiled)

        def step(index):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x[index], y[index])
            loss.backward()
            optimizer.step()
            return loss

        self.step = self.captured(step) if graph else step
        self.run(5)

    def captured(self, step):
        """`step` as a CUDA graph that reads its indices from one tensor."""
        torch = self.torch
        index = self.indices[0].clone()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(index)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step(index)

        def replay(rows):
            index.copy_(rows)
            graph.replay()
            return loss

        return replay

    def run(self, steps):
        self.torch.set_num_threads(self.threads)
        for _ in range(steps):
            loss = self.step(self.indices[self.turn])
            self.turn = (self.turn + 1) % MINIBATCHES
        # Waits for the device.
        value = loss.item()
        if value != value:
            raise RuntimeError("the loss is NaN")

    def block(self, steps):
        """Seconds a step, the median of 7 parts of the block, after a tenth as warm-up: as `ironwarp bench` does it."""
        self.run(min(max(steps // 10, 1), 200))
        each = max(-(-steps // PARTS), 1)
        times = []
        end = time.perf_counter() + LONGEST
        # Where cores are taken away a block may last far longer than planned: it ends early, with the parts it has.
        while steps > 0 and not (len(times) >= 3 and time.perf_counter() > end):
            n = min(each, steps)
            began = time.perf_counter()
            self.run(n)
            times.append((time.perf_counter() - began) / n)
            steps -= n
        return statistics.median(times)


def variants(device, threads):
    """Name and options of PyTorch's contestants."""
    if device == "cpu":
        counts = sorted({threads, 1}, reverse=True)
        return [
            (f"{kind} Adam, {n} thread{'s' * (n > 1)}", {"threads": n, "fused": kind == "fused"})
            for n in counts
            for kind in ("default", "fused")
        ]
    return [
        ("default Adam", {"threads": threads}),
        ("fused Adam", {"threads": threads, "fused": True}),
        ("fused Adam, torch.compile", {"threads": threads, "fused": True, "compiled": "default"}),
        ("fused Adam, torch.compile reduce-overhead", {"threads": threads, "fused": True, "compiled": "reduce-overhead"}),
        ("fused Adam, CUDA graph", {"threads": threads, "fused": True, "graph": True}),
    ]


def measure(device, dims, batch, target, binary, threads, rounds, seconds):
    """One case on one device."""
    contestants, unavailable = [Ironwarp(binary, device, dims, batch, threads)], {}
    for name, options in variants(device, threads):
        try:
            contestants.append(PyTorch(name, device, dims, batch, **options))
        except Exception as error:  # a variant that this PyTorch or this machine lacks: said, and left out
            unavailable[name] = " ".join(str(error).split())[:300] or type(error).__name__
    steps = {c.name: max(PARTS, int(seconds / c.block(PARTS))) for c in contestants}
    blocks = {c.name: [] for c in contestants}
    for turn in range(rounds):
        # Everybody goes first and last in turn: nobody gets the quiet moments of a loaded machine.
        shift = turn % len(contestants)
        for contestant in contestants[shift:] + contestants[:shift]:
            blocks[contestant.name].append(contestant.block(steps[contestant.name]))
    flop = matmul_flop(dims, batch)

    def figures(name):
        median = statistics.median(blocks[name])
        return {
            "us_per_step": median * 1e6,
            "samples_per_second": batch / median,
            "gflops": flop / median / 1e9,
            "us_per_step_blocks": [round(t * 1e6, 3) for t in blocks[name]],
            "steps_per_block": steps[name],
        }

    pytorch = {name: figures(name) for name in blocks if name != Ironwarp.name}
    if not pytorch:
        fail(f"no variant of PyTorch runs on {device}: {unavailable}")
    ours = figures(Ironwarp.name)
    equal = {c.name for c in contestants[1:] if c.threads == threads}

    def ratio(names):
        best = min(names, key=lambda name: pytorch[name]["us_per_step"])
        pairs = [p / o for p, o in zip(blocks[best], blocks[Ironwarp.name])]
        return {
            "pytorch": best,
            "ratio": pytorch[best]["us_per_step"] / ours["us_per_step"],
            "lowest_round": min(pairs),
            "highest_round": max(pairs),
            # What load takes away is never less than nothing: the fastest blocks are the nearest to a quiet machine.
            "ratio_of_fastest_blocks": min(blocks[best]) / min(blocks[Ironwarp.name]),
        }

    return {
        "dims": dims,
        "batch": batch,
        "flop_per_step": flop,
        "ironwarp": ours,
        "pytorch": pytorch,
        "pytorch_unavailable": unavailable,
        "against_fastest": ratio(pytorch),
        "against_same_threads": ratio(equal) if equal else None,
        "target_ratio_cpu": target,
    }


def show(device, case):
    print(f"\n{device}  [{','.join(map(str, case['dims']))}] batch {case['batch']}")
    rows = [(Ironwarp.name, case["ironwarp"]), *((f"pytorch, {n}", f) for n, f in case["pytorch"].items())]
    for who, f in rows:
        print(
            f"  {who:52} {f['us_per_step']:11.1f} us/step {f['samples_per_second']:13,.0f} samples/s"
            f" {f['gflops']:9.1f} GFLOP/s"
        )
    for who, reason in case["pytorch_unavailable"].items():
        print(f"  pytorch, {who}: did not run: {reason}")
    shown = [("the fastest PyTorch", case["against_fastest"])]
    same = case["against_same_threads"]
    if same and same["pytorch"] != case["against_fastest"]["pytorch"]:
        shown.append(("PyTorch with as many threads", same))
    for label, r in shown:
        line = f"  ratio to {label} ({r['pytorch']}): {r['ratio']:.2f}x"
        line += f" (rounds {r['lowest_round']:.2f} to {r['highest_round']:.2f},"
        line += f" fastest blocks {r['ratio_of_fastest_blocks']:.2f}x)"
        if device == "cpu":
            target = case["target_ratio_cpu"]
            line += f"; target {target:.1f}x: {'met' if r['ratio'] >= target else 'MISSED'}"
            line += " (loaded machine)" * loaded()
        print(line, flush=True)


def output(line):
    """What a command prints, or None."""
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def loaded():
    """Whether others want the cores too: the run's own load is about one process a core at most."""
    return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)


def machine():
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next((l.split(":", 1)[1].strip() for l in info if l.startswith("model name")), model)
    except OSError:
        pass
    return {"cpu": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def find_binary(path):
    binary = pathlib.Path(path) if path else ROOT / "target/release/ironwarp"
    if not binary.is_file():
        fail(f"{binary} is not there: build it with `cargo build --release`, or name one with --binary PATH")
    return binary.resolve()


def find_devices(asked):
    """The devices to measure on: the one asked for, else cpu, and cuda where PyTorch finds a GPU."""
    try:
        import torch
    except ImportError:
        fail("PyTorch is not installed: `python3 -m venv venv && venv/bin/pip install torch`, then venv/bin/python")
    gpu = torch.cuda.is_available()
    if asked == "cuda" and not gpu:
        fail("--device cuda: PyTorch finds no GPU here; nothing was measured")
    return [asked] if asked else ["cpu"] + ["cuda"] * gpu


def pin(cores):
    """Binds this process to the cores; children inherit it: both sides have the same."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def available_cores():
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def arguments(description):
    """A parser of the options that all benches beside PyTorch have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: cpu, and cuda where PyTorch finds a GPU")
    parser.add_argument("--binary", metavar="PATH", help="the ironwarp program (default: target/release/ironwarp)")
    parser.add_argument("--json", metavar="FILE", help="write the result there")
    return parser


def write(result, path):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {path}")


def main():
    parser = arguments(__doc__.split("\n\n")[0])
    parser.add_argument("--threads", type=int, metavar="N", help="cores for both sides on cpu (default: 2)")
    parser.add_argument("--quick", action="store_true", help="short blocks and fewer rounds")
    args = parser.parse_args()
    binary, devices = find_binary(args.binary), find_devices(args.device)
    import torch

    # Full f32 on both sides: no TF32 in PyTorch's matrix products. It is the default; said here all the same.
    torch.set_float32_matmul_precision("highest")
    rounds, seconds = (3, 0.3) if args.quick else (5, 1.5)

    cores = available_cores()
    result = {
        "bench": "vs_pytorch",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "ironwarp": {
            "version": output([str(binary), "--version"]),
            "commit": output(["git", "describe", "--always", "--dirty"]) if ROOT in binary.parents else None,
            "sha256": hashlib.sha256(binary.read_bytes()).hexdigest(),
        },
        "pytorch": {"version": torch.__version__, "python": platform.python_version()},
        "method": f"{rounds} rounds of alternating blocks of about {seconds} s, each the median of {PARTS} parts; medians",
        "load_average_before": os.getloadavg(),
        "devices": {},
    }
    busy = loaded()
    if torch.cuda.is_available():
        result["machine"]["gpu"] = torch.cuda.get_device_name(0)
    facts = {**result["machine"], "torch": torch.__version__, "load": "%.1f" % os.getloadavg()[0]}
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for device in devices:
        threads = len(cores)
        if device == "cpu":
            threads = min(args.threads or 2, len(cores))
        pin(cores[:threads])
        cases = []
        for dims, batch, target in CASES:
            case = measure(device, dims, batch, target, binary, threads, rounds, seconds)
            show(device, case)
            cases.append(case)
        result["devices"][device] = {"threads": threads, "cases": cases}
    result["load_average_after"] = os.getloadavg()
    result["loaded"] = busy or loaded()
    if result["loaded"]:
        print("\nthe machine was loaded: no verdict on the targets, which are of a quiet one")
    if args.json:
        write(result, args.json)


if __name__ == "__main__":
    main()
